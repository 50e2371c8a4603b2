/* Q8_0 and Q4_0: each 32-bit lane is a row. See kernels.h for the arithmetic.
 *
 * A step computes one block of up to two groups and four tokens: unpacked weights serve all tokens,
 * and activations, broadcast to all lanes, serve both groups.
 */
#include "blocks.h"

enum { TILE = 4, PAIR = 2, AHEAD_BYTES = 512 };

typedef struct tile {
    const uint8_t *groups[PAIR];
    const int8_t *values[TILE];
    const int32_t *sums[TILE];
    const float *scales[TILE];
} tile;

/* Whole sums of one block, for each group and token. */
typedef void (*block_sums)(const tile *at, const uint8_t *const words[], int32_t b, int groups,
                           int tokens, __m256i sums[PAIR][TILE]);

/* Products of pairs are at most 15 x 127 x 2 = 3,810: sums of eight of them fit 16 bits. */
EK_INLINE void sums_q4_0(const tile *at, const uint8_t *const words[], int32_t b, int groups,
                         int tokens, __m256i sums[PAIR][TILE]) {
    const __m256i nibbles = _mm256_set1_epi8(15);
    for (int w = 0; w < 4; w++) {
        __m256i low[PAIR];
        __m256i high[PAIR];
        for (int g = 0; g < groups; g++) {
            __m256i both = ek_load(words[g] + w * 32);
            low[g] = _mm256_and_si256(both, nibbles);
            high[g] = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibbles);
        }
        for (int t = 0; t < tokens; t++) {
            const int8_t *values = at->values[t] + b * 32 + w * 4;
            __m256i x = ek_broadcast_word(values);
            for (int g = 0; g < groups; g++) {
                __m256i product = _mm256_maddubs_epi16(low[g], x);
                sums[g][t] = w == 0 ? product : _mm256_add_epi16(sums[g][t], product);
                EK_KEEP(sums[g][t]);
            }
            x = ek_broadcast_word(values + 16);
            for (int g = 0; g < groups; g++) {
                sums[g][t] = _mm256_add_epi16(sums[g][t], _mm256_maddubs_epi16(high[g], x));
                EK_KEEP(sums[g][t]);
            }
        }
    }
    for (int t = 0; t < tokens; t++) {
        __m256i correction = _mm256_set1_epi32(at->sums[t][b]);
        for (int g = 0; g < groups; g++) {
            __m256i whole = _mm256_madd_epi16(sums[g][t], _mm256_set1_epi16(1));
            sums[g][t] = _mm256_sub_epi32(whole, correction);
        }
    }
}

/* maddubs takes an unsigned and a signed factor: |weight| and the activation with the weight's
 * sign. A pair is at most 128 x 127 x 2 = 32,512. */
EK_INLINE void sums_q8_0(const tile *at, const uint8_t *const words[], int32_t b, int groups,
                         int tokens, __m256i sums[PAIR][TILE]) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (int w = 0; w < 8; w++) {
        __m256i weights[PAIR];
        __m256i magnitudes[PAIR];
        for (int g = 0; g < groups; g++) {
            weights[g] = ek_load(words[g] + w * 32);
            magnitudes[g] = _mm256_abs_epi8(weights[g]);
        }
        for (int t = 0; t < tokens; t++) {
            __m256i x = ek_broadcast_word(at->values[t] + b * 32 + w * 4);
            for (int g = 0; g < groups; g++) {
                __m256i turned = _mm256_sign_epi8(x, weights[g]);
                __m256i pairs = _mm256_maddubs_epi16(magnitudes[g], turned);
                __m256i whole = _mm256_madd_epi16(pairs, ones);
                sums[g][t] = w == 0 ? whole : _mm256_add_epi32(sums[g][t], whole);
                EK_KEEP(sums[g][t]);
            }
        }
    }
}

EK_INLINE void run_tile(const tile *at, int32_t blocks, int32_t block_bytes, int groups, int tokens,
                        float *out, int64_t out_stride, block_sums add) {
    __m256 totals[PAIR][TILE];
    for (int t = 0; t < tokens; t++) {
        for (int g = 0; g < groups; g++) {
            totals[g][t] = _mm256_setzero_ps();
        }
    }
    for (int32_t b = 0; b < blocks; b++) {
        const uint8_t *words[PAIR];
        __m256i sums[PAIR][TILE];
        for (int g = 0; g < groups; g++) {
            const uint8_t *block = at->groups[g] + (int64_t)b * block_bytes * EK_ROW_GROUP;
            for (int32_t line = 0; line < block_bytes * EK_ROW_GROUP; line += 64) {
                _mm_prefetch((const char *)block + AHEAD_BYTES + line, _MM_HINT_T0);
            }
            words[g] = block + 2 * EK_ROW_GROUP;
        }
        add(at, words, b, groups, tokens, sums);
        for (int g = 0; g < groups; g++) {
            __m256 weight_scales = ek_load_halves(words[g] - 2 * EK_ROW_GROUP);
            for (int t = 0; t < tokens; t++) {
                __m256 scale = _mm256_broadcast_ss(&at->scales[t][b]);
                scale = _mm256_mul_ps(weight_scales, scale);
                __m256 sum = _mm256_cvtepi32_ps(sums[g][t]);
                totals[g][t] = _mm256_fmadd_ps(sum, scale, totals[g][t]);
            }
        }
    }
    for (int t = 0; t < tokens; t++) {
        for (int g = 0; g < groups; g++) {
            _mm256_storeu_ps(out + t * out_stride + g * EK_ROW_GROUP, totals[g][t]);
        }
    }
}

EK_INLINE void run_tokens(tile *at, const ek_blocks *x, int32_t block_bytes, int groups, float *out,
                          int64_t out_stride, block_sums add) {
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
            run_tile(at, blocks, block_bytes, groups, TILE, rows, out_stride, add);
        } else {
            run_tile(at, blocks, block_bytes, groups, 1, rows, out_stride, add);
        }
        first += tokens;
    }
}

EK_INLINE void run_groups(const uint8_t *groups, int32_t group_count, const ek_blocks *x,
                          float *out, int64_t out_stride, int32_t block_bytes, block_sums add) {
    int64_t group_bytes = (int64_t)(x->columns / 32) * block_bytes * EK_ROW_GROUP;
    int32_t g = 0;
    tile at;
    for (; g + PAIR <= group_count; g += PAIR) {
        at.groups[0] = groups + g * group_bytes;
        at.groups[1] = at.groups[0] + group_bytes;
        run_tokens(&at, x, block_bytes, PAIR, out + (int64_t)g * EK_ROW_GROUP, out_stride, add);
    }
    if (g < group_count) {
        at.groups[0] = groups + g * group_bytes;
        run_tokens(&at, x, block_bytes, 1, out + (int64_t)g * EK_ROW_GROUP, out_stride, add);
    }
}

void ek_avx2_group_q4_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                        int64_t out_stride) {
    run_groups(groups, group_count, x, out, out_stride, EK_Q4_0_BYTES, sums_q4_0);
}

void ek_avx2_group_q8_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                        int64_t out_stride) {
    run_groups(groups, group_count, x, out, out_stride, EK_Q8_0_BYTES, sums_q8_0);
}
