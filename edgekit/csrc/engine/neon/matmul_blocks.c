/* Q8_0 and Q4_0 with the dot product of ARMv8.2: each 32-bit lane is a row, a vector has four.
 * See kernels.h for the arithmetic.
 *
 * A step computes one block of one group and up to four tokens: unpacked weights serve all tokens.
 */
#include <arm_neon.h>
#include <string.h>

#include "functions.h"

#define EK_INLINE static inline __attribute__((always_inline))

enum { TILE = 4, HALVES = 2 };

typedef struct tile {
    const int8_t *values[TILE];
    const int32_t *sums[TILE];
    const float *scales[TILE];
} tile;

/* Whole sums of one block, for each token and half of the group. */
typedef void (*block_sums)(const tile *at, const uint8_t *words, int32_t b, int tokens,
                           int32x4_t sums[TILE][HALVES]);

EK_INLINE int8x16_t broadcast_word(const int8_t *bytes) {
    int32_t word;
    memcpy(&word, bytes, sizeof word);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

EK_INLINE void sums_q8_0(const tile *at, const uint8_t *words, int32_t b, int tokens,
                         int32x4_t sums[TILE][HALVES]) {
    for (int t = 0; t < tokens; t++) {
        sums[t][0] = sums[t][1] = vdupq_n_s32(0);
    }
    for (int w = 0; w < 8; w++) {
        int8x16_t first = vld1q_s8((const int8_t *)words + w * 32);
        int8x16_t second = vld1q_s8((const int8_t *)words + w * 32 + 16);
        for (int t = 0; t < tokens; t++) {
            int8x16_t x = broadcast_word(at->values[t] + b * 32 + w * 4);
            sums[t][0] = vdotq_s32(sums[t][0], first, x);
            sums[t][1] = vdotq_s32(sums[t][1], second, x);
        }
    }
}

EK_INLINE void sums_q4_0(const tile *at, const uint8_t *words, int32_t b, int tokens,
                         int32x4_t sums[TILE][HALVES]) {
    const uint8x16_t nibbles = vdupq_n_u8(15);
    for (int t = 0; t < tokens; t++) {
        /* Each nibble is 8 too large. */
        sums[t][0] = sums[t][1] = vdupq_n_s32(-at->sums[t][b]);
    }
    for (int w = 0; w < 4; w++) {
        int8x16_t low[HALVES];
        int8x16_t high[HALVES];
        for (int h = 0; h < HALVES; h++) {
            uint8x16_t both = vld1q_u8(words + w * 32 + h * 16);
            low[h] = vreinterpretq_s8_u8(vandq_u8(both, nibbles));
            high[h] = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
        }
        for (int t = 0; t < tokens; t++) {
            const int8_t *values = at->values[t] + b * 32 + w * 4;
            int8x16_t x = broadcast_word(values);
            int8x16_t later = broadcast_word(values + 16);
            for (int h = 0; h < HALVES; h++) {
                sums[t][h] = vdotq_s32(sums[t][h], low[h], x);
                sums[t][h] = vdotq_s32(sums[t][h], high[h], later);
            }
        }
    }
}

EK_INLINE void run_tile(const tile *at, const uint8_t *group, int32_t blocks, int32_t block_bytes,
                        int tokens, float *out, int64_t out_stride, block_sums add) {
    float32x4_t totals[TILE][HALVES];
    for (int t = 0; t < tokens; t++) {
        totals[t][0] = totals[t][1] = vdupq_n_f32(0.0f);
    }
    for (int32_t b = 0; b < blocks; b++) {
        const uint8_t *block = group + (int64_t)b * block_bytes * EK_ROW_GROUP;
        int32x4_t sums[TILE][HALVES];
        add(at, block + 2 * EK_ROW_GROUP, b, tokens, sums);
        for (int h = 0; h < HALVES; h++) {
            uint16x4_t halves = vreinterpret_u16_u8(vld1_u8(block + h * 8));
            float32x4_t weight_scales = vcvt_f32_f16(vreinterpret_f16_u16(halves));
            for (int t = 0; t < tokens; t++) {
                float32x4_t scale = vmulq_f32(weight_scales, vdupq_n_f32(at->scales[t][b]));
                totals[t][h] = vfmaq_f32(totals[t][h], vcvtq_f32_s32(sums[t][h]), scale);
            }
        }
    }
    for (int t = 0; t < tokens; t++) {
        vst1q_f32(out + t * out_stride, totals[t][0]);
        vst1q_f32(out + t * out_stride + 4, totals[t][1]);
    }
}

EK_INLINE void run_groups(const uint8_t *groups, int32_t group_count, const ek_blocks *x,
                          float *out, int64_t out_stride, int32_t block_bytes, block_sums add) {
    int32_t blocks = x->columns / 32;
    int64_t group_bytes = (int64_t)blocks * block_bytes * EK_ROW_GROUP;
    for (int32_t g = 0; g < group_count; g++) {
        for (int32_t first = 0; first < x->tokens;) {
            tile at;
            int tokens = x->tokens - first >= TILE ? TILE : 1;
            for (int t = 0; t < tokens; t++) {
                int64_t start = (int64_t)(first + t) * blocks;
                at.values[t] = x->values + start * 32;
                at.sums[t] = x->sums + start;
                at.scales[t] = x->scales + start;
            }
            float *rows = out + first * out_stride + (int64_t)g * EK_ROW_GROUP;
            if (tokens == TILE) {
                run_tile(&at, groups + g * group_bytes, blocks, block_bytes, TILE, rows, out_stride,
                         add);
            } else {
                run_tile(&at, groups + g * group_bytes, blocks, block_bytes, 1, rows, out_stride,
                         add);
            }
            first += tokens;
        }
    }
}

void ek_neon_group_q4_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                        int64_t out_stride) {
    run_groups(groups, group_count, x, out, out_stride, EK_Q4_0_BYTES, sums_q4_0);
}

void ek_neon_group_q8_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                        int64_t out_stride) {
    run_groups(groups, group_count, x, out, out_stride, EK_Q8_0_BYTES, sums_q8_0);
}
