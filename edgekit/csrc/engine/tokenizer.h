/* From text to tokens: the vocabulary of a GGUF file and what cuts texts with it.
 *
 * The twin of edgekit/runtime/language/{vocabulary,tokenizer,spm,bpe}.py; a test compares them.
 */
#ifndef EDGEKIT_ENGINE_TOKENIZER_H
#define EDGEKIT_ENGINE_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "gguf.h"
#include "report.h"
#include "word_rules.h"

enum { EK_NO_TOKEN = -1 };

/* Token types of tokenizer.ggml.token_type (docs/gguf.md of ggml-org/ggml, "Tokenizer"). */
enum {
    EK_TOKEN_UNDEFINED = 0,
    EK_TOKEN_NORMAL = 1,
    EK_TOKEN_UNKNOWN = 2,
    EK_TOKEN_CONTROL = 3,
    EK_TOKEN_USER_DEFINED = 4,
    EK_TOKEN_UNUSED = 5,
    EK_TOKEN_BYTE = 6
};

/* Open addressing, at most half full. Whoever looks something up compares by himself. */
typedef struct ek_slots {
    int32_t *items; /* item + 1; 0: free */
    uint64_t mask;
} ek_slots;

/* A pair of tokens that becomes one. */
typedef struct ek_pair {
    int32_t left;
    int32_t right;
    int32_t token;
} ek_pair;

typedef struct ek_vocabulary {
    const ek_word_rule *rule; /* NULL: SentencePiece */
    int32_t count;
    uint8_t *texts;
    uint32_t *starts; /* count + 1 */
    uint8_t *kinds;
    uint8_t *ends; /* 1: ends a generation */
    float *scores; /* SentencePiece */
    ek_slots by_text;
    ek_pair *pairs; /* byte-level BPE, the first merged first */
    int32_t pair_count;
    ek_slots by_pair;
    int32_t *special; /* the longest first */
    int32_t special_count;
    int32_t bytes[256]; /* token of each byte; EK_NO_TOKEN (BPE): bytes that are left out */
    int32_t bos;
    int32_t eos;
    int32_t unknown;
    int add_bos;
    int add_eos;
    int add_space_prefix;
    int is_by_word; /* SentencePiece: no token goes on after the end of a word */
} ek_vocabulary;

/* Where tokens go; those beyond the capacity are only counted. */
typedef struct ek_token_sink {
    int32_t *tokens;
    size_t capacity;
    size_t count;
} ek_token_sink;

/* A piece of a word, in a chain that merging shortens. */
typedef struct ek_symbol {
    uint32_t start;
    uint32_t bytes; /* 0: merged into the one before */
    int32_t token;
    int32_t before; /* -1: none */
    int32_t after;
} ek_symbol;

typedef struct ek_candidate {
    double order; /* the lowest first, of equal ones the leftmost */
    int32_t left;
    int32_t right;
    int32_t token;
    uint32_t bytes; /* of both */
} ek_candidate;

/* Scratch of one call; zeros to begin with. */
typedef struct ek_merger {
    ek_symbol *symbols;
    size_t symbol_capacity;
    ek_candidate *heap;
    size_t heap_capacity;
    size_t heap_count;
} ek_merger;

/* Whether two neighbours merge: fills in order and token. */
typedef int (*ek_propose)(const void *context, const ek_symbol *left, const ek_symbol *right,
                          ek_candidate *found);

/* Vocabulary. On failure nothing is held. */
ek_status ek_vocabulary_read(const ek_gguf *gguf, ek_vocabulary *vocabulary,
                             const ek_message *message);
void ek_vocabulary_free(ek_vocabulary *vocabulary);
/* The merges of byte-level BPE, and the tokens of single bytes. */
ek_status ek_vocabulary_read_merges(const ek_gguf *gguf, ek_vocabulary *vocabulary,
                                    const ek_message *message);
/* Strings of an array, in one block with the place of each; empty ones become [EMPTY_number].
 * Without the key there are none. What was allocated is the caller's, on failure too. */
ek_status ek_vocabulary_read_strings(const ek_gguf *gguf, const char *key, uint8_t **texts,
                                     uint32_t **starts, int32_t *count, const ek_message *message);
/* EK_NO_TOKEN where no token has this text. */
int32_t ek_vocabulary_find(const ek_vocabulary *vocabulary, const uint8_t *text, size_t bytes);
/* NULL where the two do not merge. Its place in `pairs` is its rank. */
const ek_pair *ek_vocabulary_find_pair(const ek_vocabulary *vocabulary, int32_t left,
                                       int32_t right);

/* EK_STATUS_OUT_OF_MEMORY, or EK_STATUS_CORRUPT: too many items in one place of the table, as only
 * a file made for that has. */
ek_status ek_slots_make(ek_slots *slots, size_t items);
ek_status ek_slots_index_texts(ek_vocabulary *vocabulary, int32_t *repeated);
ek_status ek_slots_index_pairs(ek_vocabulary *vocabulary);

/* Room for the symbols of one word. */
ek_status ek_merger_reserve(ek_merger *merger, size_t symbols);
/* Merges the first `count` symbols as far as they go. */
ek_status ek_merger_run(ek_merger *merger, size_t count, ek_propose propose, const void *context);
void ek_merger_free(ek_merger *merger);

void ek_token_put(ek_token_sink *sink, int32_t token);
/* The tokens of a text without special tokens. */
ek_status ek_spm_encode(const ek_vocabulary *vocabulary, const uint8_t *text, size_t bytes,
                        int with_prefix, ek_merger *merger, ek_token_sink *sink);
ek_status ek_bpe_encode(const ek_vocabulary *vocabulary, const uint8_t *text, size_t bytes,
                        ek_merger *merger, ek_token_sink *sink);
/* GPT-2's printable letter of a byte, in UTF-8 (one or two bytes). */
size_t ek_bpe_letter(uint8_t byte, uint8_t *letter);

#endif
