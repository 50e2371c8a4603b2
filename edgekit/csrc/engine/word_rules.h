/* Rules that cut a text into words before its letters are merged (byte-level BPE).
 *
 * Each is the hand-written twin of a regular expression of edgekit/runtime/language/bpe.py; a
 * vocabulary names its rule in tokenizer.ggml.pre.
 */
#ifndef EDGEKIT_ENGINE_WORD_RULES_H
#define EDGEKIT_ENGINE_WORD_RULES_H

#include <stddef.h>
#include <stdint.h>

typedef enum ek_word_shape {
    EK_WORDS_GPT2,  /* a space before letters, numbers, others */
    EK_WORDS_PLAIN, /* any sign before letters; line ends after others */
    EK_WORDS_CASED, /* likewise, capitals before small letters */
    EK_WORDS_CASED_SHORT
    /* likewise, with 's, 't, 're, ... at their end */
} ek_word_shape;

typedef struct ek_word_rule {
    const char *name;
    ek_word_shape shape;
    size_t most_numbers;   /* in one word; not of EK_WORDS_GPT2 */
    int numbers_first;     /* each number is cut out before anything else */
    int whole_words_first; /* a word that is a token stays whole, whatever the merges say */
    int begins_with_bos;   /* although files may not say so */
} ek_word_rule;

typedef struct ek_character {
    uint32_t number;
    uint32_t start; /* in the text */
    uint8_t classes;
} ek_character;

/* NULL: not known. */
const ek_word_rule *ek_word_rule_find(const char *name);
/* Names of all rules with commas between, terminated. */
void ek_word_rule_list(char *text, size_t bytes);
/* End of the segment that begins at `at` < `count`: words never go on in the next one. */
size_t ek_word_segment_end(const ek_word_rule *rule, const ek_character *characters, size_t count,
                           size_t at);
/* End of the word that begins at `at`, within the segment that ends at `count` > `at`. */
size_t ek_word_end(const ek_word_rule *rule, const ek_character *characters, size_t count,
                   size_t at);

#endif
