/* SentencePiece of the BPE kind (Kudo and Richardson, EMNLP 2018, section 3): the best score first,
 * then the leftmost; bytes stand for what has no token. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"
#include "utf8.h"

/* U+2581 stands for a space. */
static const uint8_t SPACE[] = {0xE2, 0x96, 0x81};
enum { SPACE_BYTES = sizeof SPACE };

typedef struct spm {
    const ek_vocabulary *vocabulary;
    const uint8_t *text;
} spm;

static int propose(const void *context, const ek_symbol *left, const ek_symbol *right,
                   ek_candidate *found) {
    const spm *own = context;
    (void)right;
    found->token = ek_vocabulary_find(own->vocabulary, own->text + left->start, found->bytes);
    if (found->token == EK_NO_TOKEN) {
        return 0;
    }
    found->order = -(double)own->vocabulary->scores[found->token];
    return 1;
}

static ek_status encode_word(const spm *own, size_t start, size_t end, ek_merger *merger,
                             ek_token_sink *sink) {
    const ek_vocabulary *vocabulary = own->vocabulary;
    size_t count = 0;
    ek_status status = ek_merger_reserve(merger, end - start);
    if (status != EK_STATUS_OK) {
        return status;
    }
    for (size_t at = start; at < end;) {
        uint32_t character = 0;
        size_t bytes = ek_utf8_read(own->text + at, end - at, &character);
        merger->symbols[count++] =
            (ek_symbol){.start = (uint32_t)at,
                        .bytes = (uint32_t)bytes,
                        .token = ek_vocabulary_find(vocabulary, own->text + at, bytes)};
        at += bytes;
    }
    status = ek_merger_run(merger, count, propose, own);
    for (size_t i = 0; status == EK_STATUS_OK && i < count; i++) {
        const ek_symbol *symbol = &merger->symbols[i];
        if (symbol->bytes > 0 && symbol->token != EK_NO_TOKEN) {
            ek_token_put(sink, symbol->token);
            continue;
        }
        for (uint32_t byte = 0; byte < symbol->bytes; byte++) {
            ek_token_put(sink, vocabulary->bytes[own->text[symbol->start + byte]]);
        }
    }
    return status;
}

static int is_space(const uint8_t *text, size_t bytes, size_t at) {
    return bytes - at >= SPACE_BYTES && memcmp(text + at, SPACE, SPACE_BYTES) == 0;
}

/* Spaces and what follows up to the next space. */
static size_t word_end(const uint8_t *text, size_t bytes, size_t at) {
    while (is_space(text, bytes, at)) {
        at += SPACE_BYTES;
    }
    while (at < bytes && !is_space(text, bytes, at)) {
        at++;
    }
    return at;
}

/* Writes `text` with stand-ins for its spaces; returns the bytes written. */
static size_t put_spaces(uint8_t *out, const uint8_t *text, size_t bytes, int with_prefix) {
    size_t size = 0;
    if (with_prefix) {
        memcpy(out, SPACE, SPACE_BYTES);
        size = SPACE_BYTES;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == ' ') {
            memcpy(out + size, SPACE, SPACE_BYTES);
            size += SPACE_BYTES;
        } else {
            out[size++] = text[i];
        }
    }
    return size;
}

ek_status ek_spm_encode(const ek_vocabulary *vocabulary, const uint8_t *text, size_t bytes,
                        int with_prefix, ek_merger *merger, ek_token_sink *sink) {
    uint8_t *spaced = malloc((bytes + 1) * SPACE_BYTES);
    if (spaced == NULL) {
        return EK_STATUS_OUT_OF_MEMORY;
    }
    spm own = {vocabulary, spaced};
    size_t size = put_spaces(spaced, text, bytes, with_prefix);
    ek_status status = EK_STATUS_OK;
    for (size_t at = 0; status == EK_STATUS_OK && at < size;) {
        size_t end = vocabulary->is_by_word ? word_end(spaced, size, at) : size;
        status = encode_word(&own, at, end, merger, sink);
        at = end;
    }
    free(spaced);
    return status;
}
