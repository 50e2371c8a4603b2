/* Q8_0 and Q4_0 with VNNI: a register holds two words of each of eight rows, a lane is half of a
 * row's sum. See kernels.h for the arithmetic.
 *
 * A step computes one block of up to two groups and four tokens: unpacked weights serve all tokens,
 * and activations serve both groups.
 */
#include "../avx2/blocks.h"
#include "functions.h"

enum { TILE = 4, PAIR = 2, WORD_PAIRS = 4, PAIR_BYTES = 64, AHEAD_BYTES = 512 };

typedef struct tile {
    const uint8_t *groups[PAIR];
    const int8_t *values[TILE];
    const int32_t *sums[TILE];
    const float *scales[TILE];
} tile;

/* What unsigned weights add to a sum, in units of the block's sum of activations times eight. */
enum { NIBBLE_OFFSET = 1, BYTE_OFFSET = 16 };

/* Adds the products of one block, weights taken as unsigned, to halves of sums that start at 0. */
typedef void (*block_sums)(const uint8_t *words, __m512i x[][WORD_PAIRS], int tokens,
                           __m512i sums[TILE]);

/* Words 2 w and 2 w + 1 of a block of activations, each in eight lanes. */
EK_INLINE void spread(const int8_t *block, __m512i pairs[WORD_PAIRS]) {
    __m512i words = _mm512_castsi256_si512(ek_load(block));
    for (int w = 0; w < WORD_PAIRS; w++) {
        __m256i first = _mm256_set1_epi32(2 * w);
        __m512i lanes =
            _mm512_inserti64x4(_mm512_castsi256_si512(first), _mm256_set1_epi32(2 * w + 1), 1);
        pairs[w] = _mm512_permutexvar_epi32(lanes, words);
    }
}

/* Low nibbles are the weights of the first four words, high ones those of the last four. */
EK_INLINE void sums_q4_0(const uint8_t *words, __m512i x[][WORD_PAIRS], int tokens,
                         __m512i sums[TILE]) {
    const __m512i nibbles = _mm512_set1_epi8(15);
    for (int w = 0; w < WORD_PAIRS / 2; w++) {
        __m512i both = _mm512_loadu_si512(words + w * PAIR_BYTES);
        __m512i low = _mm512_and_si512(both, nibbles);
        __m512i high = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibbles);
        for (int t = 0; t < tokens; t++) {
            sums[t] = _mm512_dpbusd_epi32(sums[t], low, x[t][w]);
            sums[t] = _mm512_dpbusd_epi32(sums[t], high, x[t][w + WORD_PAIRS / 2]);
        }
    }
}

/* A weight with its upper bit turned is the weight plus 128, without a sign. */
EK_INLINE void sums_q8_0(const uint8_t *words, __m512i x[][WORD_PAIRS], int tokens,
                         __m512i sums[TILE]) {
    const __m512i sign = _mm512_set1_epi8((char)0x80);
    for (int w = 0; w < WORD_PAIRS; w++) {
        __m512i weights = _mm512_xor_si512(_mm512_loadu_si512(words + w * PAIR_BYTES), sign);
        for (int t = 0; t < tokens; t++) {
            sums[t] = _mm512_dpbusd_epi32(sums[t], weights, x[t][w]);
        }
    }
}

EK_INLINE void prefetch(const uint8_t *block, int32_t size_bytes) {
    for (int32_t line = 0; line < size_bytes; line += 64) {
        _mm_prefetch((const char *)block + AHEAD_BYTES + line, _MM_HINT_T0);
    }
}

/* One block of one group: the sums of its eight rows, scaled, onto the totals of every token. */
EK_INLINE void add_block(const tile *at, const uint8_t *block, int32_t b, __m512i x[][WORD_PAIRS],
                         int tokens, __m256 totals[TILE], int offset, block_sums add) {
    __m256 weight_scales = ek_load_halves(block);
    __m512i sums[TILE];
    for (int t = 0; t < tokens; t++) {
        sums[t] = _mm512_setzero_si512();
    }
    add(block + 2 * EK_ROW_GROUP, x, tokens, sums);
    for (int t = 0; t < tokens; t++) {
        __m256i whole = _mm256_add_epi32(_mm512_castsi512_si256(sums[t]),
                                         _mm512_extracti64x4_epi64(sums[t], 1));
        whole = _mm256_sub_epi32(whole, _mm256_set1_epi32(offset * at->sums[t][b]));
        __m256 scale = _mm256_mul_ps(weight_scales, _mm256_broadcast_ss(&at->scales[t][b]));
        totals[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), scale, totals[t]);
    }
}

EK_INLINE void run_tile(const tile *at, int32_t blocks, int32_t block_bytes, int groups, int tokens,
                        float *out, int64_t out_stride, int offset, block_sums add) {
    __m256 totals[PAIR][TILE];
    for (int g = 0; g < groups; g++) {
        for (int t = 0; t < tokens; t++) {
            totals[g][t] = _mm256_setzero_ps();
        }
    }
    for (int32_t b = 0; b < blocks; b++) {
        __m512i x[TILE][WORD_PAIRS];
        for (int t = 0; t < tokens; t++) {
            spread(at->values[t] + b * 32, x[t]);
        }
        for (int g = 0; g < groups; g++) {
            const uint8_t *block = at->groups[g] + (int64_t)b * block_bytes * EK_ROW_GROUP;
            prefetch(block, block_bytes * EK_ROW_GROUP);
            add_block(at, block, b, x, tokens, totals[g], offset, add);
        }
    }
    for (int g = 0; g < groups; g++) {
        for (int t = 0; t < tokens; t++) {
            _mm256_storeu_ps(out + t * out_stride + g * EK_ROW_GROUP, totals[g][t]);
        }
    }
}

EK_INLINE void run_tokens(tile *at, const ek_blocks *x, int32_t block_bytes, int groups, float *out,
                          int64_t out_stride, int offset, block_sums add) {
    int32_t blocks = x->columns / 32;
    for (int32_t first = 0; first < x->tokens;) {
        int tokens = x->tokens - first >= TILE ? TILE : 1;
        for (int t = 0; t < tokens; t++) {
            int64_t start = (int64_t)(first + t) * blocks;
            at->values[t] = x->values + start * 32;
            at->sums[t] = x->sums + start;
            at->scales[t] = x->scales + start;
        }
        float *rows = out + first * out_stride;
        if (tokens == TILE) {
            run_tile(at, blocks, block_bytes, groups, TILE, rows, out_stride, offset, add);
        } else {
            run_tile(at, blocks, block_bytes, groups, 1, rows, out_stride, offset, add);
        }
        first += tokens;
    }
}

EK_INLINE void run_groups(const uint8_t *groups, int32_t group_count, const ek_blocks *x,
                          float *out, int64_t out_stride, int32_t block_bytes, int offset,
                          block_sums add) {
    int64_t group_bytes = (int64_t)(x->columns / 32) * block_bytes * EK_ROW_GROUP;
    tile at;
    for (int32_t g = 0; g < group_count; g += PAIR) {
        float *rows = out + (int64_t)g * EK_ROW_GROUP;
        at.groups[0] = groups + g * group_bytes;
        at.groups[1] = at.groups[0] + group_bytes;
        if (g + PAIR <= group_count) {
            run_tokens(&at, x, block_bytes, PAIR, rows, out_stride, offset, add);
        } else {
            run_tokens(&at, x, block_bytes, 1, rows, out_stride, offset, add);
        }
    }
}

void ek_avx512_group_q4_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x,
                          float *out, int64_t out_stride) {
    run_groups(groups, group_count, x, out, out_stride, EK_Q4_0_BYTES, NIBBLE_OFFSET, sums_q4_0);
}

void ek_avx512_group_q8_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x,
                          float *out, int64_t out_stride) {
    run_groups(groups, group_count, x, out, out_stride, EK_Q8_0_BYTES, BYTE_OFFSET, sums_q8_0);
}
