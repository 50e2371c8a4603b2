/* Special tokens are found first, the longest before shorter ones; what lies between is cut by the
 * model of the vocabulary. */
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "edgekit/llm.h"
#include "utf8.h"

enum { MOST_CHARACTERS = 1 << 24 };

struct ek_llm_tokenizer {
    ek_vocabulary vocabulary;
};

/* A piece of the text, or a special token. */
typedef struct part {
    uint32_t start;
    uint32_t bytes;
    int32_t token; /* EK_NO_TOKEN: text */
} part;

typedef struct part_list {
    part *items;
    size_t count;
    size_t capacity;
} part_list;

void ek_token_put(ek_token_sink *sink, int32_t token) {
    if (sink->count < sink->capacity) {
        sink->tokens[sink->count] = token;
    }
    sink->count++;
}

static int append(part_list *list, uint32_t start, uint32_t bytes, int32_t token) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity * 2 + 16;
        part *items = realloc(list->items, capacity * sizeof *items);
        if (items == NULL) {
            return 0;
        }
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = (part){start, bytes, token};
    return 1;
}

/* Cuts a mark out of one part. */
static int cut_part(part_list *out, const uint8_t *text, const part *whole, const uint8_t *mark,
                    size_t mark_bytes, int32_t token) {
    uint32_t start = whole->start;
    uint32_t end = whole->start + whole->bytes;
    if (whole->token != EK_NO_TOKEN) {
        return append(out, whole->start, whole->bytes, whole->token);
    }
    for (const uint8_t *found;
         (found = memmem(text + start, end - start, mark, mark_bytes)) != NULL;) {
        uint32_t at = (uint32_t)(found - text);
        if ((at > start && !append(out, start, at - start, EK_NO_TOKEN)) ||
            !append(out, at, (uint32_t)mark_bytes, token)) {
            return 0;
        }
        start = at + (uint32_t)mark_bytes;
    }
    return start == end || append(out, start, end - start, EK_NO_TOKEN);
}

/* User-defined tokens are always cut out, the others where they are meant. */
static ek_status partition(const ek_vocabulary *vocabulary, const uint8_t *text, size_t bytes,
                           int with_control, part_list *parts) {
    part_list other = {0};
    int is_enough = bytes == 0 || append(parts, 0, (uint32_t)bytes, EK_NO_TOKEN);
    for (int32_t i = 0; is_enough && i < vocabulary->special_count; i++) {
        int32_t token = vocabulary->special[i];
        const uint8_t *mark = vocabulary->texts + vocabulary->starts[token];
        size_t mark_bytes = vocabulary->starts[token + 1] - vocabulary->starts[token];
        if ((!with_control && vocabulary->kinds[token] != EK_TOKEN_USER_DEFINED) ||
            memmem(text, bytes, mark, mark_bytes) == NULL) {
            continue;
        }
        other.count = 0;
        for (size_t k = 0; is_enough && k < parts->count; k++) {
            is_enough = cut_part(&other, text, &parts->items[k], mark, mark_bytes, token);
        }
        part_list cut = other;
        other = *parts;
        *parts = cut;
    }
    free(other.items);
    return is_enough ? EK_STATUS_OK : EK_STATUS_OUT_OF_MEMORY;
}

static ek_status encode_parts(const ek_vocabulary *vocabulary, const uint8_t *text,
                              const part_list *parts, ek_merger *merger, ek_token_sink *sink) {
    ek_status status = EK_STATUS_OK;
    int after_special = 1;
    for (size_t i = 0; status == EK_STATUS_OK && i < parts->count; i++) {
        const part *own = &parts->items[i];
        if (own->token != EK_NO_TOKEN) {
            ek_token_put(sink, own->token);
            after_special = 1;
        } else if (vocabulary->rule == NULL) {
            int with_prefix = vocabulary->add_space_prefix && after_special;
            status =
                ek_spm_encode(vocabulary, text + own->start, own->bytes, with_prefix, merger, sink);
            after_special = 0;
        } else {
            status = ek_bpe_encode(vocabulary, text + own->start, own->bytes, merger, sink);
        }
    }
    return status;
}

ek_status ek_llm_tokenizer_open(const char *path, ek_llm_tokenizer **tokenizer, char *message,
                                size_t message_bytes) {
    ek_message said = {message, message_bytes};
    ek_gguf gguf;
    if (message != NULL && message_bytes > 0) {
        message[0] = 0;
    }
    if (path == NULL || tokenizer == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    *tokenizer = NULL;
    ek_status status = ek_gguf_open(path, &gguf, &said);
    if (status != EK_STATUS_OK) {
        return status;
    }
    ek_llm_tokenizer *opened = calloc(1, sizeof *opened);
    status = opened == NULL
                 ? ek_report(&said, EK_STATUS_OUT_OF_MEMORY, "no memory for the vocabulary")
                 : ek_vocabulary_read(&gguf, &opened->vocabulary, &said);
    ek_gguf_close(&gguf);
    if (status != EK_STATUS_OK) {
        free(opened);
        return status;
    }
    *tokenizer = opened;
    return EK_STATUS_OK;
}

void ek_llm_tokenizer_close(ek_llm_tokenizer *tokenizer) {
    if (tokenizer != NULL) {
        ek_vocabulary_free(&tokenizer->vocabulary);
        free(tokenizer);
    }
}

ek_status ek_llm_tokenize(const ek_llm_tokenizer *tokenizer, const char *text, size_t bytes,
                          int32_t flags, int32_t *tokens, size_t capacity, size_t *count) {
    if (tokenizer == NULL || count == NULL || (text == NULL && bytes > 0) ||
        (tokens == NULL && capacity > 0)) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    *count = 0;
    if ((flags & ~(EK_LLM_ADD_SPECIAL | EK_LLM_PARSE_SPECIAL)) != 0) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    const ek_vocabulary *own = &tokenizer->vocabulary;
    const uint8_t *data = (const uint8_t *)text;
    if (bytes > (size_t)MOST_CHARACTERS * 4) {
        return EK_STATUS_TOO_LARGE;
    }
    int64_t characters = ek_utf8_count(data, bytes);
    if (characters < 0 || characters > MOST_CHARACTERS) {
        return characters < 0 ? EK_STATUS_INVALID_ARGUMENT : EK_STATUS_TOO_LARGE;
    }
    ek_token_sink sink = {tokens, capacity, 0};
    ek_merger merger = {0};
    part_list parts = {0};
    if ((flags & EK_LLM_ADD_SPECIAL) != 0 && own->add_bos && own->bos != EK_NO_TOKEN) {
        ek_token_put(&sink, own->bos);
    }
    ek_status status = partition(own, data, bytes, (flags & EK_LLM_PARSE_SPECIAL) != 0, &parts);
    if (status == EK_STATUS_OK) {
        status = encode_parts(own, data, &parts, &merger, &sink);
    }
    if ((flags & EK_LLM_ADD_SPECIAL) != 0 && own->add_eos && own->eos != EK_NO_TOKEN) {
        ek_token_put(&sink, own->eos);
    }
    free(parts.items);
    ek_merger_free(&merger);
    *count = status == EK_STATUS_OK ? sink.count : 0;
    return status;
}

int32_t ek_llm_is_end(const ek_llm_tokenizer *tokenizer, int32_t token) {
    return tokenizer != NULL && token >= 0 && token < tokenizer->vocabulary.count &&
           tokenizer->vocabulary.ends[token];
}
