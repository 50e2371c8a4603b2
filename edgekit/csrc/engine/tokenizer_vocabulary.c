/* The vocabulary of a GGUF file (docs/gguf.md of ggml-org/ggml, "Tokenizer"): what read_vocabulary
 * of edgekit/runtime/language/vocabulary.py reads, with the same defaults and refusals. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"
#include "utf8.h"

#define KEY "tokenizer.ggml."
#define WIDE_BAR "\xEF\xBD\x9C"
#define SPACE "\xE2\x96\x81"

enum { NAME_BYTES = 64, LIST_BYTES = 400 };

/* Tokens that end a generation, whatever kind the file gives them; then those that are control
 * tokens only, as llama.cpp (src/llama-vocab.cpp) has them. */
static const char *const CONTROL_TEXTS[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<eos>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<" WIDE_BAR "end" SPACE "of" SPACE "sentence" WIDE_BAR ">",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<" WIDE_BAR "fim" SPACE "begin" WIDE_BAR ">",
    "<PRE>",
    SPACE "<PRE>",
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<" WIDE_BAR "fim" SPACE "hole" WIDE_BAR ">",
    "<SUF>",
    SPACE "<SUF>",
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<" WIDE_BAR "fim" SPACE "end" WIDE_BAR ">",
    "<MID>",
    SPACE "<MID>",
};
enum { CONTROL_COUNT = sizeof CONTROL_TEXTS / sizeof CONTROL_TEXTS[0], END_COUNT = 28 };

typedef struct source {
    const ek_gguf *gguf;
    const ek_message *message;
    ek_status status; /* of the first key that is not what it should be */
} source;

static void refuse(source *s, const char *key, const char *expected) {
    if (s->status == EK_STATUS_OK) {
        s->status = ek_report(s->message, EK_STATUS_CORRUPT, "%s is not %s", key, expected);
    }
}

static int read_truth(source *s, const char *key, int otherwise) {
    const ek_gguf_value *value = ek_gguf_find_value(s->gguf, key);
    if (value != NULL && value->type != EK_GGUF_BOOL) {
        refuse(s, key, "true or false");
    }
    return value == NULL ? otherwise : value->bits != 0;
}

/* The number of a special token; one that is out of range counts as missing. */
static int32_t read_special(source *s, const char *key, int32_t count, int32_t otherwise) {
    const ek_gguf_value *value = ek_gguf_find_value(s->gguf, key);
    int64_t number = otherwise;
    if (value != NULL) {
        switch (value->type) {
        case EK_GGUF_INT8:
            number = (int8_t)value->bits;
            break;
        case EK_GGUF_INT16:
            number = (int16_t)value->bits;
            break;
        case EK_GGUF_INT32:
            number = (int32_t)value->bits;
            break;
        case EK_GGUF_UINT8:
        case EK_GGUF_UINT16:
        case EK_GGUF_UINT32:
        case EK_GGUF_UINT64:
        case EK_GGUF_INT64:
            number = value->bits > INT32_MAX ? EK_NO_TOKEN : (int64_t)value->bits;
            break;
        default:
            refuse(s, key, "a whole number");
        }
    }
    if (number >= 0 && number < count) {
        return (int32_t)number;
    }
    return otherwise < count ? otherwise : EK_NO_TOKEN;
}

/* The first `count` of an array of four-byte numbers; NULL where the key is missing or wrong. */
static void *read_numbers(source *s, const char *key, int is_float, int32_t count) {
    const ek_gguf_value *array = ek_gguf_find_value(s->gguf, key);
    if (array == NULL) {
        return NULL;
    }
    int fits = is_float
                   ? array->element_type == EK_GGUF_FLOAT32
                   : array->element_type == EK_GGUF_INT32 || array->element_type == EK_GGUF_UINT32;
    if (array->type != EK_GGUF_ARRAY || !fits || array->count < (uint64_t)count) {
        refuse(s, key, "an array with a number for every token");
        return NULL;
    }
    void *numbers = malloc((size_t)count * 4);
    if (numbers == NULL || !ek_read_at(s->gguf->file, numbers, (size_t)count * 4, array->offset)) {
        s->status = ek_report(s->message, numbers == NULL ? EK_STATUS_OUT_OF_MEMORY : EK_STATUS_IO,
                              "%s cannot be read", key);
        free(numbers);
        return NULL;
    }
    return numbers;
}

static size_t text_bytes(const ek_vocabulary *own, int32_t token) {
    return own->starts[token + 1] - own->starts[token];
}

/* "llama" or "gpt2", and the word rule of the latter. */
static ek_status read_model(const ek_gguf *gguf, ek_vocabulary *own, const ek_message *message) {
    char name[NAME_BYTES] = "";
    char rules[LIST_BYTES];
    const ek_gguf_value *model = ek_gguf_find_value(gguf, KEY "model");
    if (model == NULL) {
        return ek_report(message, EK_STATUS_CORRUPT, "there is no vocabulary");
    }
    if (!ek_gguf_read_string(gguf, model, name, sizeof name) ||
        (strcmp(name, "llama") != 0 && strcmp(name, "gpt2") != 0)) {
        return ek_report(message, EK_STATUS_UNSUPPORTED,
                         "the tokenizer '%.40s' is not read (read: llama, gpt2)", name);
    }
    if (strcmp(name, "llama") == 0) {
        return EK_STATUS_OK;
    }
    const ek_gguf_value *pre = ek_gguf_find_value(gguf, KEY "pre");
    snprintf(name, sizeof name, "default");
    if (pre != NULL && !ek_gguf_read_string(gguf, pre, name, sizeof name)) {
        name[0] = 0;
    }
    own->rule = ek_word_rule_find(name);
    if (own->rule != NULL) {
        return EK_STATUS_OK;
    }
    ek_word_rule_list(rules, sizeof rules);
    return ek_report(message, EK_STATUS_UNSUPPORTED,
                     "the word rule '%.40s' of the vocabulary is not known (known: %s)", name,
                     rules);
}

static ek_status read_tokens(const ek_gguf *gguf, ek_vocabulary *own, const ek_message *message) {
    int32_t repeated = EK_NO_TOKEN;
    ek_status status = ek_vocabulary_read_strings(gguf, KEY "tokens", &own->texts, &own->starts,
                                                  &own->count, message);
    if (status != EK_STATUS_OK) {
        return status;
    }
    if (own->count == 0) {
        return ek_report(message, EK_STATUS_CORRUPT, "the vocabulary is empty");
    }
    own->kinds = calloc((size_t)own->count, 1);
    own->ends = calloc((size_t)own->count, 1);
    if (own->kinds == NULL || own->ends == NULL) {
        return ek_report(message, EK_STATUS_OUT_OF_MEMORY, "no memory for the vocabulary");
    }
    status = ek_slots_index_texts(own, &repeated);
    if (repeated != EK_NO_TOKEN) {
        return ek_report(message, status, "the vocabulary repeats a token: %d", (int)repeated);
    }
    return status == EK_STATUS_OK ? status
                                  : ek_report(message, status, "the tokens cannot be indexed");
}

static void read_kinds(source *s, ek_vocabulary *own) {
    uint32_t *stored = read_numbers(s, KEY "token_type", 0, own->count);
    for (int32_t i = 0; i < own->count; i++) {
        uint32_t kind = stored == NULL ? EK_TOKEN_NORMAL : stored[i];
        own->kinds[i] = (uint8_t)(kind <= EK_TOKEN_BYTE ? kind : EK_TOKEN_UNDEFINED);
    }
    free(stored);
    for (size_t i = 0; i < CONTROL_COUNT; i++) {
        const char *text = CONTROL_TEXTS[i];
        int32_t token = ek_vocabulary_find(own, (const uint8_t *)text, strlen(text));
        if (token != EK_NO_TOKEN) {
            own->kinds[token] = EK_TOKEN_CONTROL;
            own->ends[token] = i < END_COUNT;
        }
    }
}

static void read_special_tokens(source *s, ek_vocabulary *own) {
    int is_spm = own->rule == NULL;
    int32_t count = own->count;
    own->bos = read_special(s, KEY "bos_token_id", count, is_spm ? 1 : 11);
    own->eos = read_special(s, KEY "eos_token_id", count, is_spm ? 2 : 11);
    own->unknown = read_special(s, KEY "unknown_token_id", count, is_spm ? 0 : EK_NO_TOKEN);
    const int32_t ends[] = {own->eos, read_special(s, KEY "eot_token_id", count, EK_NO_TOKEN),
                            read_special(s, KEY "eom_token_id", count, EK_NO_TOKEN)};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (ends[i] != EK_NO_TOKEN) {
            own->ends[ends[i]] = 1;
        }
    }
    own->add_bos = read_truth(s, KEY "add_bos_token", is_spm || own->rule->begins_with_bos);
    own->add_eos = read_truth(s, KEY "add_eos_token", 0);
    own->add_space_prefix = read_truth(s, KEY "add_space_prefix", is_spm);
}

/* A token of which more than the beginning is a stand-in for spaces. */
static int has_inner_space(const uint8_t *text, size_t bytes) {
    size_t at = 0;
    while (bytes - at >= 3 && memcmp(text + at, SPACE, 3) == 0) {
        at += 3;
    }
    return memmem(text + at, bytes - at, SPACE, 3) != NULL;
}

static void prepare_spm(source *s, ek_vocabulary *own) {
    own->scores = read_numbers(s, KEY "scores", 1, own->count);
    if (own->scores == NULL && s->status == EK_STATUS_OK) {
        own->scores = calloc((size_t)own->count, sizeof *own->scores);
        if (own->scores == NULL) {
            s->status = ek_report(s->message, EK_STATUS_OUT_OF_MEMORY, "no memory for scores");
        }
    }
    own->is_by_word = 1;
    for (int32_t i = 0; s->status == EK_STATUS_OK && i < own->count; i++) {
        if (!isfinite(own->scores[i])) {
            refuse(s, KEY "scores", "finite everywhere");
        }
        if (has_inner_space(own->texts + own->starts[i], text_bytes(own, i))) {
            own->is_by_word = 0;
        }
    }
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        uint8_t letter = (uint8_t)byte;
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        int32_t token = ek_vocabulary_find(own, (const uint8_t *)text, 6);
        if (token == EK_NO_TOKEN && byte < 128) {
            token = ek_vocabulary_find(own, &letter, 1);
        }
        /* Vocabularies that were made for letters only have no byte tokens at all. */
        own->bytes[byte] = token == EK_NO_TOKEN ? own->unknown : token;
        if (own->bytes[byte] == EK_NO_TOKEN && s->status == EK_STATUS_OK) {
            s->status = ek_report(s->message, EK_STATUS_CORRUPT,
                                  "the vocabulary has no token for byte %d, nor <unk>", byte);
        }
    }
}

typedef struct mark {
    size_t bytes;
    int32_t token;
} mark;

static int compare_marks(const void *left, const void *right) {
    const mark *one = left;
    const mark *other = right;
    if (one->bytes != other->bytes) {
        return one->bytes > other->bytes ? -1 : 1;
    }
    return one->token < other->token ? -1 : 1;
}

/* Tokens that are found in a text before it is cut. */
static void collect_special(source *s, ek_vocabulary *own) {
    mark *marks = malloc((size_t)own->count * sizeof *marks);
    own->special = malloc((size_t)own->count * sizeof *own->special);
    if (marks == NULL || own->special == NULL) {
        free(marks);
        s->status = ek_report(s->message, EK_STATUS_OUT_OF_MEMORY, "no memory for the vocabulary");
        return;
    }
    size_t count = 0;
    for (int32_t i = 0; i < own->count; i++) {
        uint8_t kind = own->kinds[i];
        int is_special =
            kind == EK_TOKEN_CONTROL || kind == EK_TOKEN_UNKNOWN || kind == EK_TOKEN_USER_DEFINED;
        /* One that is no UTF-8 is in no text. */
        if (is_special && ek_utf8_count(own->texts + own->starts[i], text_bytes(own, i)) > 0) {
            marks[count++] = (mark){text_bytes(own, i), i};
        }
    }
    qsort(marks, count, sizeof *marks, compare_marks);
    for (size_t i = 0; i < count; i++) {
        own->special[i] = marks[i].token;
    }
    own->special_count = (int32_t)count;
    free(marks);
}

ek_status ek_vocabulary_read(const ek_gguf *gguf, ek_vocabulary *vocabulary,
                             const ek_message *message) {
    memset(vocabulary, 0, sizeof *vocabulary);
    source s = {gguf, message, read_model(gguf, vocabulary, message)};
    if (s.status == EK_STATUS_OK) {
        s.status = read_tokens(gguf, vocabulary, message);
    }
    if (s.status == EK_STATUS_OK) {
        read_kinds(&s, vocabulary);
        read_special_tokens(&s, vocabulary);
    }
    if (s.status == EK_STATUS_OK) {
        collect_special(&s, vocabulary);
    }
    if (s.status == EK_STATUS_OK && vocabulary->rule == NULL) {
        prepare_spm(&s, vocabulary);
    } else if (s.status == EK_STATUS_OK) {
        s.status = ek_vocabulary_read_merges(gguf, vocabulary, message);
    }
    if (s.status != EK_STATUS_OK) {
        ek_vocabulary_free(vocabulary);
    }
    return s.status;
}

void ek_vocabulary_free(ek_vocabulary *vocabulary) {
    free(vocabulary->texts);
    free(vocabulary->starts);
    free(vocabulary->kinds);
    free(vocabulary->ends);
    free(vocabulary->scores);
    free(vocabulary->by_text.items);
    free(vocabulary->pairs);
    free(vocabulary->by_pair.items);
    free(vocabulary->special);
    memset(vocabulary, 0, sizeof *vocabulary);
}
