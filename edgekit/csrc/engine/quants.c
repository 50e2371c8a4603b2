#include "quants.h"

#include <stddef.h>
#include <string.h>

_Static_assert(EK_Q4_K_BYTES == 2 + 2 + 12 + 128, "Q4_K");
_Static_assert(EK_Q6_K_BYTES == 128 + 64 + 16 + 2, "Q6_K");

/* Numbers and names of ggml.h; gaps are types that ggml has removed. */
static const ek_type TYPES[] = {
    [EK_TYPE_F32] = {"F32", 1, 4, EK_FORM_FLOAT, 1},
    [EK_TYPE_F16] = {"F16", 1, 2, EK_FORM_FLOAT, 1},
    [EK_TYPE_Q4_0] = {"Q4_0", 32, EK_Q4_0_BYTES, EK_FORM_BLOCKS_32, 1},
    [3] = {"Q4_1", 32, 20, EK_FORM_BLOCKS_32, 0},
    [6] = {"Q5_0", 32, 22, EK_FORM_BLOCKS_32, 0},
    [7] = {"Q5_1", 32, 24, EK_FORM_BLOCKS_32, 0},
    [EK_TYPE_Q8_0] = {"Q8_0", 32, EK_Q8_0_BYTES, EK_FORM_BLOCKS_32, 1},
    [9] = {"Q8_1", 32, 36, EK_FORM_BLOCKS_32, 0},
    [10] = {"Q2_K", 256, 84, EK_FORM_BLOCKS_256, 0},
    [11] = {"Q3_K", 256, 110, EK_FORM_BLOCKS_256, 0},
    [EK_TYPE_Q4_K] = {"Q4_K", 256, EK_Q4_K_BYTES, EK_FORM_BLOCKS_256, 1},
    [13] = {"Q5_K", 256, 176, EK_FORM_BLOCKS_256, 0},
    [EK_TYPE_Q6_K] = {"Q6_K", 256, EK_Q6_K_BYTES, EK_FORM_BLOCKS_256, 1},
    [15] = {"Q8_K", 256, 292, EK_FORM_BLOCKS_256, 0},
    [16] = {"IQ2_XXS", 256, 66, EK_FORM_BLOCKS_256, 0},
    [17] = {"IQ2_XS", 256, 74, EK_FORM_BLOCKS_256, 0},
    [18] = {"IQ3_XXS", 256, 98, EK_FORM_BLOCKS_256, 0},
    [19] = {"IQ1_S", 256, 50, EK_FORM_BLOCKS_256, 0},
    [20] = {"IQ4_NL", 32, 18, EK_FORM_BLOCKS_32, 0},
    [21] = {"IQ3_S", 256, 110, EK_FORM_BLOCKS_256, 0},
    [22] = {"IQ2_S", 256, 82, EK_FORM_BLOCKS_256, 0},
    [23] = {"IQ4_XS", 256, 136, EK_FORM_BLOCKS_256, 0},
    [24] = {"I8", 1, 1, EK_FORM_FLOAT, 0},
    [25] = {"I16", 1, 2, EK_FORM_FLOAT, 0},
    [26] = {"I32", 1, 4, EK_FORM_FLOAT, 0},
    [27] = {"I64", 1, 8, EK_FORM_FLOAT, 0},
    [28] = {"F64", 1, 8, EK_FORM_FLOAT, 0},
    [29] = {"IQ1_M", 256, 56, EK_FORM_BLOCKS_256, 0},
    [EK_TYPE_BF16] = {"BF16", 1, 2, EK_FORM_FLOAT, 1},
    [34] = {"TQ1_0", 256, 54, EK_FORM_BLOCKS_256, 0},
    [35] = {"TQ2_0", 256, 66, EK_FORM_BLOCKS_256, 0},
    [39] = {"MXFP4", 32, 17, EK_FORM_BLOCKS_32, 0},
};

const ek_type *ek_type_find(uint32_t number) {
    if (number >= sizeof TYPES / sizeof TYPES[0] || TYPES[number].name == NULL) {
        return NULL;
    }
    return &TYPES[number];
}

/* Where the words of a block of `type` lie: [first, first + words * 4), the rest is kept aside. */
typedef struct word_range {
    int32_t first_byte;
    int32_t words;
    int32_t block_bytes;
    int32_t block_columns;
} word_range;

#define Q4_0_WORDS ((word_range){2, 4, EK_Q4_0_BYTES, 32})
#define Q8_0_WORDS ((word_range){2, 8, EK_Q8_0_BYTES, 32})
#define Q4_K_WORDS ((word_range){4, 35, EK_Q4_K_BYTES, 256})
/* The scale is at the end. */
#define Q6_K_WORDS ((word_range){0, 52, EK_Q6_K_BYTES, 256})

static inline word_range words_of(uint32_t type) {
    switch (type) {
    case EK_TYPE_Q4_0:
        return Q4_0_WORDS;
    case EK_TYPE_Q8_0:
        return Q8_0_WORDS;
    case EK_TYPE_Q4_K:
        return Q4_K_WORDS;
    default:
        return Q6_K_WORDS;
    }
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define EK_HAS_SHUFFLE 1
#endif
#endif

#if defined(EK_HAS_SHUFFLE)
typedef uint32_t words4 __attribute__((vector_size(16)));

/* Four words of each of four rows, to four rows of each word, 32 bytes from word to word. */
static inline void transpose_words(const uint8_t *const rows[4], int32_t at, uint8_t *out) {
    words4 r[4];
    for (int i = 0; i < 4; i++) {
        memcpy(&r[i], rows[i] + at, sizeof r[i]);
    }
    words4 low01 = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
    words4 low23 = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
    words4 high01 = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
    words4 high23 = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    const words4 words[4] = {__builtin_shufflevector(low01, low23, 0, 1, 4, 5),
                             __builtin_shufflevector(low01, low23, 2, 3, 6, 7),
                             __builtin_shufflevector(high01, high23, 0, 1, 4, 5),
                             __builtin_shufflevector(high01, high23, 2, 3, 6, 7)};
    for (int i = 0; i < 4; i++) {
        memcpy(out + i * 4 * EK_ROW_GROUP, &words[i], sizeof words[i]);
    }
}
#else
static inline void transpose_words(const uint8_t *const rows[4], int32_t at, uint8_t *out) {
    for (int word = 0; word < 4; word++) {
        for (int row = 0; row < 4; row++) {
            memcpy(out + word * 4 * EK_ROW_GROUP + row * 4, rows[row] + at + word * 4, 4);
        }
    }
}
#endif

/* A group's block: the scales, kind by kind and eight rows each; then the words, eight rows each.
 */
static inline void interleave(word_range range, const uint8_t *rows, int32_t columns,
                              uint8_t *out) {
    int32_t blocks = columns / range.block_columns;
    int32_t aside_bytes = range.block_bytes - range.words * 4;
    int32_t aside_at = range.first_byte == 0 ? range.words * 4 : 0;
    for (int32_t b = 0; b < blocks; b++) {
        uint8_t *group = out + (size_t)b * (size_t)range.block_bytes * EK_ROW_GROUP;
        uint8_t *words = group + aside_bytes * EK_ROW_GROUP;
        const uint8_t *lanes[EK_ROW_GROUP];
        for (int32_t lane = 0; lane < EK_ROW_GROUP; lane++) {
            const uint8_t *block =
                rows + ((size_t)lane * (size_t)blocks + (size_t)b) * (size_t)range.block_bytes;
            for (int32_t i = 0; i < aside_bytes; i += 2) {
                memcpy(group + i * EK_ROW_GROUP + lane * 2, block + aside_at + i, 2);
            }
            lanes[lane] = block + range.first_byte;
        }
        const int32_t whole = range.words / 4 * 4;
        for (int32_t i = 0; i < whole; i += 4) {
            transpose_words(lanes, i * 4, words + i * 4 * EK_ROW_GROUP);
            transpose_words(lanes + 4, i * 4, words + i * 4 * EK_ROW_GROUP + 16);
        }
        for (int32_t i = whole; i < range.words; i++) {
            for (int32_t lane = 0; lane < EK_ROW_GROUP; lane++) {
                memcpy(words + i * 4 * EK_ROW_GROUP + lane * 4, lanes[lane] + i * 4, 4);
            }
        }
    }
}

void ek_interleave_rows(uint32_t type, const uint8_t *rows, int32_t columns, uint8_t *out) {
    switch (type) { /* with sizes that the compiler knows */
    case EK_TYPE_Q4_0:
        interleave(words_of(EK_TYPE_Q4_0), rows, columns, out);
        break;
    case EK_TYPE_Q8_0:
        interleave(words_of(EK_TYPE_Q8_0), rows, columns, out);
        break;
    case EK_TYPE_Q4_K:
        interleave(words_of(EK_TYPE_Q4_K), rows, columns, out);
        break;
    default:
        interleave(words_of(EK_TYPE_Q6_K), rows, columns, out);
    }
}

void ek_extract_row(uint32_t type, const uint8_t *group, int32_t columns, int32_t row,
                    uint8_t *out) {
    word_range range = words_of(type);
    int32_t aside_bytes = range.block_bytes - range.words * 4;
    int32_t aside_at = range.first_byte == 0 ? range.words * 4 : 0;
    for (int32_t b = 0; b < columns / range.block_columns; b++) {
        const uint8_t *block = group + (size_t)b * (size_t)range.block_bytes * EK_ROW_GROUP;
        const uint8_t *words = block + aside_bytes * EK_ROW_GROUP;
        uint8_t *plain = out + (size_t)b * (size_t)range.block_bytes;
        for (int32_t i = 0; i < aside_bytes; i += 2) {
            memcpy(plain + aside_at + i, block + i * EK_ROW_GROUP + row * 2, 2);
        }
        for (int32_t i = 0; i < range.words; i++) {
            memcpy(plain + range.first_byte + i * 4, words + i * 4 * EK_ROW_GROUP + row * 4, 4);
        }
    }
}
