/* Damages GGUF files at random and opens them: the parser must refuse or accept, never crash.
 *
 *   cc -fsanitize=address,undefined ... tests/fuzz_gguf.c edgekit/csrc/engine/... -o fuzz_gguf
 *   fuzz_gguf SCRATCH_FILE CPU_SECONDS SEED FILE...
 *
 * Only headers are damaged: the seeds are cut after HEADER_BYTES, the rest of the file is a hole.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "edgekit/llm.h"

enum { HEADER_BYTES = 1 << 16, MAX_SEEDS = 64 };

typedef struct seed {
    uint8_t *bytes;
    size_t size;
    off_t file_size;
} seed;

static uint64_t random_state;

static uint64_t next_random(void) { /* xorshift64* (Vigna, arXiv 1402.6246) */
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 2685821657736338717u;
}

static size_t below(size_t limit) { return limit == 0 ? 0 : (size_t)(next_random() % limit); }

static seed read_seed(const char *path) {
    seed found = {malloc(HEADER_BYTES), 0, 0};
    FILE *file = fopen(path, "rb");
    if (file == NULL || found.bytes == NULL) {
        fprintf(stderr, "%s cannot be read\n", path);
        exit(2);
    }
    found.size = fread(found.bytes, 1, HEADER_BYTES, file);
    fseek(file, 0, SEEK_END);
    found.file_size = ftell(file);
    fclose(file);
    return found;
}

static void damage(uint8_t *bytes, size_t *size, off_t *file_size, const seed *other) {
    static const uint64_t INTERESTING[] = {0,
                                           1,
                                           0x7F,
                                           0x80,
                                           0xFF,
                                           0x7FFFFFFF,
                                           0x80000000,
                                           0xFFFFFFFF,
                                           0xFFFFFFFFFFFFFFFF,
                                           0x7FFFFFFFFFFFFFFF,
                                           0x8000000000000000,
                                           0x100000000,
                                           31,
                                           32,
                                           33,
                                           255,
                                           256};
    /* Mostly near the start, where small files have all of their header. */
    size_t at = below(below(4) == 0 || *size < 4096 ? *size : 4096);
    size_t left = *size - at;
    uint64_t value = INTERESTING[below(sizeof INTERESTING / sizeof INTERESTING[0])];
    size_t width = (size_t)1 << below(4);
    switch (below(8)) {
    case 0:
        bytes[at] ^= (uint8_t)(1u << below(8));
        break;
    case 1:
        bytes[at] = (uint8_t)next_random();
        break;
    case 2:
    case 3:
        memcpy(bytes + at, &value, width < left ? width : left);
        break;
    case 4: /* copy a piece to another place */
        width = below(64);
        if (width < left) {
            memmove(bytes + below(*size - width), bytes + at, width);
        }
        break;
    case 5: /* a piece of another file */
        width = below(128);
        if (width < left && width < other->size) {
            memcpy(bytes + at, other->bytes + below(other->size - width), width);
        }
        break;
    case 6: /* cut */
        if (below(4) == 0) {
            *size = at;
            *file_size = (off_t)at;
        }
        break;
    default: /* drop or repeat a few bytes */
        width = below(16);
        if (width < left) {
            memmove(bytes + at, bytes + at + width, left - width);
        }
    }
}

int main(int count, char **arguments) {
    static seed seeds[MAX_SEEDS];
    static uint8_t bytes[HEADER_BYTES];
    int seed_count = count - 4;
    if (seed_count < 1 || seed_count > MAX_SEEDS) {
        fprintf(stderr, "usage: fuzz_gguf SCRATCH_FILE CPU_SECONDS SEED FILE...\n");
        return 2;
    }
    double limit_s = atof(arguments[2]);
    random_state = strtoull(arguments[3], NULL, 10) * 2 + 1;
    for (int i = 0; i < seed_count; i++) {
        seeds[i] = read_seed(arguments[4 + i]);
    }
    long runs = 0;
    long opened = 0;
    long cut = 0; /* vocabularies that cut a text */
    while ((double)clock() / CLOCKS_PER_SEC < limit_s) {
        const seed *chosen = &seeds[below((size_t)seed_count)];
        size_t size = chosen->size;
        off_t file_size = chosen->file_size;
        memcpy(bytes, chosen->bytes, size);
        for (size_t i = below(6) + 1; i > 0 && size > 0; i--) {
            damage(bytes, &size, &file_size, &seeds[below((size_t)seed_count)]);
        }
        int file = open(arguments[1], O_CREAT | O_TRUNC | O_WRONLY, 0600);
        if (file < 0 || write(file, bytes, size) != (ssize_t)size ||
            ftruncate(file, file_size) != 0) {
            fprintf(stderr, "%s cannot be written\n", arguments[1]);
            return 2;
        }
        close(file);
        ek_llm_model *model = NULL;
        char message[EK_LLM_MESSAGE_BYTES];
        ek_status status = ek_llm_open(arguments[1], &model, message, sizeof message);
        if ((status == EK_STATUS_OK) != (model != NULL) ||
            (status != EK_STATUS_OK && message[0] == 0)) {
            fprintf(stderr, "status %d without a model or a message\n", (int)status);
            return 1;
        }
        if (model != NULL) {
            ek_llm_options options = {.context = 32, .batch = 4};
            ek_llm_budget budget;
            char text[64];
            size_t length;
            opened++;
            ek_llm_plan(model, &options, &budget, message, sizeof message);
            options.memory_bytes = budget.total_bytes / 2;
            ek_llm_plan(model, &options, &budget, message, sizeof message);
            ek_llm_token_text(model, (int32_t)below(1000), text, sizeof text, &length);
            ek_llm_close(model);
        }
        ek_llm_tokenizer *tokenizer = NULL;
        if (ek_llm_tokenizer_open(arguments[1], &tokenizer, message, sizeof message) ==
            EK_STATUS_OK) {
            static const char TEXT[] = "the and  <tool>\n日本 12345";
            int32_t tokens[64];
            size_t token_count;
            cut += ek_llm_tokenize(tokenizer, TEXT, sizeof TEXT - 1, EK_LLM_PARSE_SPECIAL, tokens,
                                   64, &token_count) == EK_STATUS_OK;
            ek_llm_tokenizer_close(tokenizer);
        } else if (message[0] == 0) {
            fprintf(stderr, "a vocabulary is refused without a message\n");
            return 1;
        }
        runs++;
    }
    unlink(arguments[1]);
    printf("%ld files, %ld accepted, %ld vocabularies\n", runs, opened, cut);
    return 0;
}
