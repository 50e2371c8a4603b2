/* The merges of byte-level BPE: pairs of texts in the file, pairs of tokens in memory. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

enum { SHOWN_BYTES = 40 };

static int shown(size_t bytes) { return bytes < SHOWN_BYTES ? (int)bytes : SHOWN_BYTES; }

static ek_status read_pair(const ek_vocabulary *vocabulary, uint8_t *merge, size_t bytes,
                           ek_pair *pair, const ek_message *message) {
    /* A piece may itself begin with a space in odd files; the separator is the first after it. */
    uint8_t *space = bytes > 1 ? memchr(merge + 1, ' ', bytes - 1) : NULL;
    if (space == NULL) {
        return ek_report(message, EK_STATUS_CORRUPT, "'%.*s' is no merge of two pieces",
                         shown(bytes), (const char *)merge);
    }
    size_t left_bytes = (size_t)(space - merge);
    size_t right_bytes = bytes - left_bytes - 1;
    pair->left = ek_vocabulary_find(vocabulary, merge, left_bytes);
    pair->right = ek_vocabulary_find(vocabulary, space + 1, right_bytes);
    memmove(space, space + 1, right_bytes);
    pair->token = ek_vocabulary_find(vocabulary, merge, bytes - 1);
    if (pair->left == EK_NO_TOKEN || pair->right == EK_NO_TOKEN || pair->token == EK_NO_TOKEN) {
        return ek_report(message, EK_STATUS_CORRUPT,
                         "the merge of '%.*s' after %d bytes of it makes no token of two tokens",
                         shown(bytes - 1), (const char *)merge, (int)left_bytes);
    }
    return EK_STATUS_OK;
}

ek_status ek_vocabulary_read_merges(const ek_gguf *gguf, ek_vocabulary *vocabulary,
                                    const ek_message *message) {
    uint8_t *texts = NULL;
    uint32_t *starts = NULL;
    int32_t count = 0;
    ek_status status =
        ek_vocabulary_read_strings(gguf, "tokenizer.ggml.merges", &texts, &starts, &count, message);
    if (status == EK_STATUS_OK) {
        vocabulary->pairs = malloc(((size_t)count + 1) * sizeof *vocabulary->pairs);
        if (vocabulary->pairs == NULL) {
            status = ek_report(message, EK_STATUS_OUT_OF_MEMORY, "no memory for the merges");
        }
    }
    for (int32_t i = 0; status == EK_STATUS_OK && i < count; i++) {
        status = read_pair(vocabulary, texts + starts[i], starts[i + 1] - starts[i],
                           &vocabulary->pairs[i], message);
    }
    free(texts);
    free(starts);
    if (status != EK_STATUS_OK) {
        return status;
    }
    vocabulary->pair_count = count;
    for (int byte = 0; byte < 256; byte++) {
        uint8_t letter[2];
        size_t bytes = ek_bpe_letter((uint8_t)byte, letter);
        vocabulary->bytes[byte] = ek_vocabulary_find(vocabulary, letter, bytes);
    }
    status = ek_slots_index_pairs(vocabulary);
    return status == EK_STATUS_OK ? status
                                  : ek_report(message, status, "the merges cannot be indexed");
}
