#include "word_rules.h"

#include <stdio.h>
#include <string.h>

#include "unicode_classes.h"

enum { UNLIMITED = 0, LONG_S = 0x17F };

static const ek_word_rule RULES[] = {
    {"gpt-2", EK_WORDS_GPT2, UNLIMITED, 0, 0, 0},  {"phi-2", EK_WORDS_GPT2, UNLIMITED, 0, 0, 0},
    {"mpt", EK_WORDS_GPT2, UNLIMITED, 0, 0, 0},    {"olmo", EK_WORDS_GPT2, UNLIMITED, 0, 0, 0},
    {"jais", EK_WORDS_GPT2, UNLIMITED, 0, 0, 0},   {"starcoder", EK_WORDS_GPT2, UNLIMITED, 1, 0, 0},
    {"refact", EK_WORDS_GPT2, UNLIMITED, 1, 0, 0}, {"command-r", EK_WORDS_GPT2, UNLIMITED, 1, 0, 0},
    {"smollm", EK_WORDS_GPT2, UNLIMITED, 1, 0, 0}, {"codeshell", EK_WORDS_GPT2, UNLIMITED, 1, 0, 0},
    {"llama-bpe", EK_WORDS_PLAIN, 3, 0, 1, 1},     {"llama3", EK_WORDS_PLAIN, 3, 0, 1, 1},
    {"llama-v3", EK_WORDS_PLAIN, 3, 0, 1, 1},      {"falcon3", EK_WORDS_PLAIN, 3, 0, 1, 1},
    {"pixtral", EK_WORDS_PLAIN, 3, 0, 1, 1},       {"dbrx", EK_WORDS_PLAIN, 3, 0, 0, 0},
    {"smaug-bpe", EK_WORDS_PLAIN, 3, 0, 0, 0},     {"qwen2", EK_WORDS_PLAIN, 1, 0, 0, 0},
    {"stablelm2", EK_WORDS_PLAIN, 1, 0, 0, 0},     {"deepseek-r1-qwen", EK_WORDS_PLAIN, 1, 0, 0, 0},
    {"megrez", EK_WORDS_PLAIN, 1, 0, 0, 0},        {"tekken", EK_WORDS_CASED, 1, 0, 1, 1},
    {"gpt-4o", EK_WORDS_CASED_SHORT, 3, 0, 0, 0},  {"llama4", EK_WORDS_CASED_SHORT, 3, 0, 0, 0},
};
enum { RULE_COUNT = sizeof RULES / sizeof RULES[0] };

const ek_word_rule *ek_word_rule_find(const char *name) {
    for (size_t i = 0; i < RULE_COUNT; i++) {
        if (strcmp(RULES[i].name, name) == 0) {
            return &RULES[i];
        }
    }
    return NULL;
}

void ek_word_rule_list(char *text, size_t bytes) {
    size_t size = 0;
    text[0] = 0;
    for (size_t i = 0; i < RULE_COUNT && size < bytes; i++) {
        int wrote = snprintf(text + size, bytes - size, "%s%s", i > 0 ? ", " : "", RULES[i].name);
        size += wrote > 0 ? (size_t)wrote : 0;
    }
}

typedef struct span {
    const ek_character *characters;
    size_t count;
} span;

static uint8_t classes_at(const span *s, size_t at) {
    return at < s->count ? s->characters[at].classes : EK_CLASS_END;
}

static uint32_t number_at(const span *s, size_t at) {
    return at < s->count ? s->characters[at].number : 0;
}

static int is_at(const span *s, size_t at, int classes) {
    return (classes_at(s, at) & classes) != 0;
}

/* Neither space, letter nor number. */
static int is_other_at(const span *s, size_t at) {
    return !is_at(s, at, EK_CLASS_SPACE | EK_CLASS_NUMBER | EK_CLASS_LETTER | EK_CLASS_END);
}

static size_t skip_classes(const span *s, size_t at, int classes) {
    while (is_at(s, at, classes)) {
        at++;
    }
    return at;
}

static size_t skip_others(const span *s, size_t at) {
    while (is_other_at(s, at)) {
        at++;
    }
    return at;
}

/* Without regard to case s is also the long s. */
static uint32_t letter_at(const span *s, size_t at, int any_case) {
    uint32_t number = number_at(s, at);
    if (!any_case) {
        return number;
    }
    return number == LONG_S ? 's' : number >= 'A' && number <= 'Z' ? number + 32 : number;
}

/* 's, 't, 're, 've, 'm, 'll, 'd; `at` where none of them is. */
static size_t skip_short(const span *s, size_t at, int any_case) {
    if (number_at(s, at) != '\'') {
        return at;
    }
    uint32_t first = letter_at(s, at + 1, any_case);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') {
        return at + 2;
    }
    uint32_t second = letter_at(s, at + 2, any_case);
    int is_pair =
        ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l');
    return is_pair ? at + 3 : at;
}

/* Spaces; the last of several stays for the word that follows. */
static size_t end_of_spaces(const span *s, size_t at) {
    size_t end = skip_classes(s, at, EK_CLASS_SPACE);
    return end < s->count && end - at > 1 ? end - 1 : end;
}

static size_t end_gpt2(const span *s, size_t at) {
    size_t end = skip_short(s, at, 0);
    if (end > at) {
        return end;
    }
    size_t start = at + (number_at(s, at) == ' ');
    if (is_at(s, start, EK_CLASS_LETTER)) {
        return skip_classes(s, start, EK_CLASS_LETTER);
    }
    if (is_at(s, start, EK_CLASS_NUMBER)) {
        return skip_classes(s, start, EK_CLASS_NUMBER);
    }
    return is_other_at(s, start) ? skip_others(s, start) : end_of_spaces(s, at);
}

/* Numbers, signs with the line ends after them (and slashes), spaces up to a line end, spaces. */
static size_t end_of_rest(const span *s, size_t at, size_t most_numbers, int with_slashes) {
    if (is_at(s, at, EK_CLASS_NUMBER)) {
        size_t end = skip_classes(s, at, EK_CLASS_NUMBER);
        return end - at > most_numbers ? at + most_numbers : end;
    }
    size_t start = at + (number_at(s, at) == ' ');
    if (is_other_at(s, start)) {
        size_t end = skip_others(s, start);
        while (is_at(s, end, EK_CLASS_LINE) || (with_slashes && number_at(s, end) == '/')) {
            end++;
        }
        return end;
    }
    for (size_t end = skip_classes(s, at, EK_CLASS_SPACE); end > at; end--) {
        if (is_at(s, end - 1, EK_CLASS_LINE)) {
            return end;
        }
    }
    return end_of_spaces(s, at);
}

/* Whether a sign may stand before the letters of a word. */
static int is_prefix_at(const span *s, size_t at) {
    return !is_at(s, at, EK_CLASS_LINE | EK_CLASS_LETTER | EK_CLASS_NUMBER | EK_CLASS_END);
}

static size_t end_plain(const span *s, size_t at, size_t most_numbers) {
    size_t end = skip_short(s, at, 1);
    if (end > at) {
        return end;
    }
    size_t start = at + (size_t)is_prefix_at(s, at);
    if (is_at(s, start, EK_CLASS_LETTER)) {
        return skip_classes(s, start, EK_CLASS_LETTER);
    }
    return end_of_rest(s, at, most_numbers, 0);
}

/* Capitals, then one small letter at least. Letters without case and marks are both, so that the
 * capitals may have to give some back. 0: no such word. */
static size_t end_of_small_letters(const span *s, size_t at) {
    size_t capitals = skip_classes(s, at, EK_CLASS_UPPER);
    for (size_t start = capitals + 1; start > at; start--) {
        if (is_at(s, start - 1, EK_CLASS_LOWER)) {
            return skip_classes(s, start - 1, EK_CLASS_LOWER);
        }
    }
    return 0;
}

/* One capital at least, then small letters. 0: no such word. */
static size_t end_of_capitals(const span *s, size_t at) {
    size_t capitals = skip_classes(s, at, EK_CLASS_UPPER);
    return capitals == at ? 0 : skip_classes(s, capitals, EK_CLASS_LOWER);
}

static size_t end_cased(const span *s, size_t at, size_t most_numbers, int with_short) {
    size_t after_prefix = at + (size_t)is_prefix_at(s, at);
    size_t end = end_of_small_letters(s, after_prefix);
    end = end == 0 ? end_of_small_letters(s, at) : end;
    end = end == 0 ? end_of_capitals(s, after_prefix) : end;
    end = end == 0 ? end_of_capitals(s, at) : end;
    if (end == 0) {
        return end_of_rest(s, at, most_numbers, 1);
    }
    return with_short ? skip_short(s, end, 1) : end;
}

size_t ek_word_segment_end(const ek_word_rule *rule, const ek_character *characters, size_t count,
                           size_t at) {
    if (!rule->numbers_first) {
        return count;
    }
    size_t end = at;
    while (end < count && (characters[end].classes & EK_CLASS_NUMBER) == 0) {
        end++;
    }
    return end > at ? end : at + 1;
}

size_t ek_word_end(const ek_word_rule *rule, const ek_character *characters, size_t count,
                   size_t at) {
    span s = {characters, count};
    switch (rule->shape) {
    case EK_WORDS_GPT2:
        return end_gpt2(&s, at);
    case EK_WORDS_PLAIN:
        return end_plain(&s, at, rule->most_numbers);
    default:
        return end_cased(&s, at, rule->most_numbers, rule->shape == EK_WORDS_CASED_SHORT);
    }
}
