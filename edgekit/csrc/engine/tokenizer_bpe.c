/* Byte-level BPE (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019,
 * section 2.2): a text is cut into words, and the bytes of a word are merged in the order of the
 * merges. */
#include <stdlib.h>

#include "tokenizer.h"
#include "unicode_classes.h"
#include "utf8.h"

typedef struct bpe {
    const ek_vocabulary *vocabulary;
    const uint8_t *text;
    ek_merger *merger;
    ek_token_sink *sink;
    uint8_t *letters; /* of one word, where whole words are looked up */
} bpe;

/* Bytes that are not printable are code points from 256 on, in the order of the bytes
 * (openai/gpt-2, src/encoder.py, bytes_to_unicode). */
size_t ek_bpe_letter(uint8_t byte, uint8_t *letter) {
    uint32_t number = byte;
    if (byte < 33) {
        number = 256u + byte;
    } else if (byte >= 127 && byte < 161) {
        number = 256u + 33u + (byte - 127u);
    } else if (byte == 173) {
        number = 256u + 33u + 34u;
    }
    if (number < 128) {
        letter[0] = (uint8_t)number;
        return 1;
    }
    letter[0] = (uint8_t)(0xC0 | number >> 6);
    letter[1] = (uint8_t)(0x80 | (number & 0x3F));
    return 2;
}

static int propose(const void *context, const ek_symbol *left, const ek_symbol *right,
                   ek_candidate *found) {
    const ek_vocabulary *vocabulary = context;
    const ek_pair *pair = ek_vocabulary_find_pair(vocabulary, left->token, right->token);
    if (pair == NULL) {
        return 0;
    }
    found->order = (double)(pair - vocabulary->pairs);
    found->token = pair->token;
    return 1;
}

static int32_t find_whole(const bpe *own, size_t start, size_t end) {
    size_t size = 0;
    for (size_t at = start; at < end; at++) {
        size += ek_bpe_letter(own->text[at], own->letters + size);
    }
    return ek_vocabulary_find(own->vocabulary, own->letters, size);
}

static ek_status encode_word(const bpe *own, size_t start, size_t end) {
    if (own->vocabulary->rule->whole_words_first) {
        int32_t token = find_whole(own, start, end);
        if (token != EK_NO_TOKEN) {
            ek_token_put(own->sink, token);
            return EK_STATUS_OK;
        }
    }
    size_t count = 0;
    ek_status status = ek_merger_reserve(own->merger, end - start);
    if (status != EK_STATUS_OK) {
        return status;
    }
    ek_symbol *symbols = own->merger->symbols;
    for (size_t at = start; at < end; at++) {
        int32_t token = own->vocabulary->bytes[own->text[at]];
        if (token != EK_NO_TOKEN) {
            symbols[count++] = (ek_symbol){.start = (uint32_t)at, .bytes = 1, .token = token};
        }
    }
    status = ek_merger_run(own->merger, count, propose, own->vocabulary);
    for (size_t i = 0; status == EK_STATUS_OK && i < count; i++) {
        if (symbols[i].bytes > 0) {
            ek_token_put(own->sink, symbols[i].token);
        }
    }
    return status;
}

static size_t read_characters(const uint8_t *text, size_t bytes, ek_character *characters) {
    size_t count = 0;
    for (size_t at = 0; at < bytes; count++) {
        ek_character *own = &characters[count];
        own->start = (uint32_t)at;
        at += ek_utf8_read(text + at, bytes - at, &own->number);
        own->classes = ek_unicode_classes(own->number);
        if (own->number == '\n' || own->number == '\r') {
            own->classes |= EK_CLASS_LINE;
        }
    }
    characters[count] = (ek_character){.start = (uint32_t)bytes, .classes = EK_CLASS_END};
    return count;
}

static ek_status encode_words(const bpe *own, const ek_character *characters, size_t count) {
    const ek_word_rule *rule = own->vocabulary->rule;
    ek_status status = EK_STATUS_OK;
    for (size_t at = 0; at < count;) {
        size_t segment = ek_word_segment_end(rule, characters, count, at);
        while (status == EK_STATUS_OK && at < segment) {
            size_t end = ek_word_end(rule, characters, segment, at);
            status = encode_word(own, characters[at].start, characters[end].start);
            at = end;
        }
        if (status != EK_STATUS_OK) {
            return status;
        }
    }
    return status;
}

ek_status ek_bpe_encode(const ek_vocabulary *vocabulary, const uint8_t *text, size_t bytes,
                        ek_merger *merger, ek_token_sink *sink) {
    ek_character *characters = malloc((bytes + 1) * sizeof *characters);
    uint8_t *letters = malloc(bytes * 2 + 1);
    bpe own = {vocabulary, text, merger, sink, letters};
    ek_status status = EK_STATUS_OUT_OF_MEMORY;
    if (characters != NULL && letters != NULL) {
        status = encode_words(&own, characters, read_characters(text, bytes, characters));
    }
    free(characters);
    free(letters);
    return status;
}
