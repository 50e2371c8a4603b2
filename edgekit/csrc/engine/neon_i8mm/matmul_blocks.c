/* Q8_0 and Q4_0 for several tokens with the matrix product of ARMv8.6 (SMMLA): two rows times two
 * tokens, eight columns at a time. See kernels.h for the arithmetic.
 *
 * Tokens that do not fill a tile go to the dot products of ../neon: the sums are whole numbers, so
 * that a token's result is the same either way.
 */
#include <arm_neon.h>

#include "../neon/functions.h"
#include "functions.h"

#define EK_INLINE static inline __attribute__((always_inline))

enum { TILE = 4, TOKEN_PAIRS = TILE / 2, ROW_PAIRS = EK_ROW_GROUP / 2, OCTETS = 4 };

typedef struct tile {
    const int8_t *values[TILE];
    const int32_t *sums[TILE];
    const float *scales[TILE];
} tile;

/* Lanes of a sum: first row with both tokens, second row with both tokens. */
typedef int32x4_t pair_sums[ROW_PAIRS][TOKEN_PAIRS];

/* What unsigned weights add to a sum, in units of the block's sum of activations times eight. */
enum { NIBBLE_OFFSET = 1, NO_OFFSET = 0 };

typedef void (*block_sums)(const uint8_t *words, int8x16_t x[TOKEN_PAIRS][OCTETS], pair_sums sums);

/* Two words of four rows, side by side, to eight columns of two rows each. */
EK_INLINE void pair_rows(int8x16_t word, int8x16_t next, int8x16_t pairs[2]) {
    int32x4_t first = vreinterpretq_s32_s8(word);
    int32x4_t second = vreinterpretq_s32_s8(next);
    pairs[0] = vreinterpretq_s8_s32(vzip1q_s32(first, second));
    pairs[1] = vreinterpretq_s8_s32(vzip2q_s32(first, second));
}

EK_INLINE void multiply(const int8x16_t weights[2], const int8x16_t x[TOKEN_PAIRS][OCTETS],
                        int octet, int first_pair, pair_sums sums) {
    for (int r = 0; r < 2; r++) {
        for (int p = 0; p < TOKEN_PAIRS; p++) {
            int32x4_t *sum = &sums[first_pair + r][p];
            *sum = vmmlaq_s32(*sum, weights[r], x[p][octet]);
        }
    }
}

EK_INLINE void sums_q8_0(const uint8_t *words, int8x16_t x[TOKEN_PAIRS][OCTETS], pair_sums sums) {
    for (int octet = 0; octet < OCTETS; octet++) {
        for (int half = 0; half < 2; half++) {
            const int8_t *at = (const int8_t *)words + octet * 64 + half * 16;
            int8x16_t pairs[2];
            pair_rows(vld1q_s8(at), vld1q_s8(at + 32), pairs);
            multiply(pairs, x, octet, half * 2, sums);
        }
    }
}

/* Low nibbles are the weights of the first half of the columns, high ones those of the second. */
EK_INLINE void sums_q4_0(const uint8_t *words, int8x16_t x[TOKEN_PAIRS][OCTETS], pair_sums sums) {
    const uint8x16_t nibbles = vdupq_n_u8(15);
    for (int octet = 0; octet < OCTETS / 2; octet++) {
        for (int half = 0; half < 2; half++) {
            uint8x16_t word = vld1q_u8(words + octet * 64 + half * 16);
            uint8x16_t next = vld1q_u8(words + octet * 64 + half * 16 + 32);
            int8x16_t pairs[2];
            pair_rows(vreinterpretq_s8_u8(vandq_u8(word, nibbles)),
                      vreinterpretq_s8_u8(vandq_u8(next, nibbles)), pairs);
            multiply(pairs, x, octet, half * 2, sums);
            pair_rows(vreinterpretq_s8_u8(vshrq_n_u8(word, 4)),
                      vreinterpretq_s8_u8(vshrq_n_u8(next, 4)), pairs);
            multiply(pairs, x, octet + OCTETS / 2, half * 2, sums);
        }
    }
}

EK_INLINE void load_tokens(const tile *at, int32_t b, int8x16_t x[TOKEN_PAIRS][OCTETS]) {
    for (int p = 0; p < TOKEN_PAIRS; p++) {
        for (int octet = 0; octet < OCTETS; octet++) {
            int32_t column = b * 32 + octet * 8;
            x[p][octet] = vcombine_s8(vld1_s8(at->values[2 * p] + column),
                                      vld1_s8(at->values[2 * p + 1] + column));
        }
    }
}

/* Sums of four rows for each token of a pair. */
EK_INLINE void split_tokens(pair_sums sums, int half, int pair, int32x4_t tokens[2]) {
    tokens[0] = vuzp1q_s32(sums[half * 2][pair], sums[half * 2 + 1][pair]);
    tokens[1] = vuzp2q_s32(sums[half * 2][pair], sums[half * 2 + 1][pair]);
}

EK_INLINE void add_block(const tile *at, const uint8_t *block, int32_t b, int offset,
                         block_sums add, float32x4_t totals[TILE][2]) {
    int8x16_t x[TOKEN_PAIRS][OCTETS];
    pair_sums sums;
    load_tokens(at, b, x);
    for (int r = 0; r < ROW_PAIRS; r++) {
        for (int p = 0; p < TOKEN_PAIRS; p++) {
            sums[r][p] = vdupq_n_s32(0);
        }
    }
    add(block + 2 * EK_ROW_GROUP, x, sums);
    for (int half = 0; half < 2; half++) {
        uint16x4_t halves = vreinterpret_u16_u8(vld1_u8(block + half * 8));
        float32x4_t weight_scales = vcvt_f32_f16(vreinterpret_f16_u16(halves));
        for (int t = 0; t < TILE; t++) {
            int32x4_t tokens[2];
            split_tokens(sums, half, t / 2, tokens);
            int32x4_t whole = vsubq_s32(tokens[t % 2], vdupq_n_s32(offset * at->sums[t][b]));
            float32x4_t scale = vmulq_f32(weight_scales, vdupq_n_f32(at->scales[t][b]));
            totals[t][half] = vfmaq_f32(totals[t][half], vcvtq_f32_s32(whole), scale);
        }
    }
}

EK_INLINE void run_tile(const tile *at, const uint8_t *group, int32_t blocks, int32_t block_bytes,
                        int offset, block_sums add, float *out, int64_t out_stride) {
    float32x4_t totals[TILE][2];
    for (int t = 0; t < TILE; t++) {
        totals[t][0] = totals[t][1] = vdupq_n_f32(0.0f);
    }
    for (int32_t b = 0; b < blocks; b++) {
        add_block(at, group + (int64_t)b * block_bytes * EK_ROW_GROUP, b, offset, add, totals);
    }
    for (int t = 0; t < TILE; t++) {
        vst1q_f32(out + t * out_stride, totals[t][0]);
        vst1q_f32(out + t * out_stride + 4, totals[t][1]);
    }
}

EK_INLINE void run_groups(const uint8_t *groups, int32_t group_count, const ek_blocks *x,
                          float *out, int64_t out_stride, int32_t block_bytes, int offset,
                          block_sums add, ek_group_kernel others) {
    int32_t blocks = x->columns / 32;
    int64_t group_bytes = (int64_t)blocks * block_bytes * EK_ROW_GROUP;
    int32_t tiled = x->tokens - x->tokens % TILE;
    for (int32_t first = 0; first < tiled; first += TILE) {
        tile at;
        for (int t = 0; t < TILE; t++) {
            int64_t start = (int64_t)(first + t) * blocks;
            at.values[t] = x->values + start * 32;
            at.sums[t] = x->sums + start;
            at.scales[t] = x->scales + start;
        }
        for (int32_t g = 0; g < group_count; g++) {
            run_tile(&at, groups + g * group_bytes, blocks, block_bytes, offset, add,
                     out + first * out_stride + (int64_t)g * EK_ROW_GROUP, out_stride);
        }
    }
    if (tiled < x->tokens) {
        int64_t start = (int64_t)tiled * blocks;
        ek_blocks rest = {x->values + start * 32, x->scales + start, x->sums + start,
                          x->tokens - tiled, x->columns};
        others(groups, group_count, &rest, out + tiled * out_stride, out_stride);
    }
}

void ek_neon_i8mm_group_q4_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x,
                             float *out, int64_t out_stride) {
    run_groups(groups, group_count, x, out, out_stride, EK_Q4_0_BYTES, NIBBLE_OFFSET, sums_q4_0,
               ek_neon_group_q4_0);
}

void ek_neon_i8mm_group_q8_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x,
                             float *out, int64_t out_stride) {
    run_groups(groups, group_count, x, out, out_stride, EK_Q8_0_BYTES, NO_OFFSET, sums_q8_0,
               ek_neon_group_q8_0);
}
