/* Q8_0 and Q4_0, eight rows side by side: the definition that the variants are compared with. */
#include <math.h>
#include <string.h>

#include "kernels.h"

static float read_scale(const uint8_t *block, int lane) {
    uint16_t half;
    memcpy(&half, block + lane * 2, sizeof half);
    return ek_half_to_float(half);
}

/* Sums of one block of 32 columns, one for each row. */
typedef void (*block_sums)(const uint8_t *words, const int8_t *x, int32_t correction,
                           int32_t sums[8]);

static void sums_q8_0(const uint8_t *words, const int8_t *x, int32_t correction, int32_t sums[8]) {
    (void)correction;
    for (int w = 0; w < 8; w++) {
        for (int lane = 0; lane < 8; lane++) {
            for (int j = 0; j < 4; j++) {
                int8_t weight = (int8_t)words[w * 32 + lane * 4 + j];
                sums[lane] += weight * x[w * 4 + j];
            }
        }
    }
}

static void sums_q4_0(const uint8_t *words, const int8_t *x, int32_t correction, int32_t sums[8]) {
    for (int lane = 0; lane < 8; lane++) {
        sums[lane] = -correction; /* each nibble is 8 too large */
    }
    for (int w = 0; w < 4; w++) {
        for (int lane = 0; lane < 8; lane++) {
            for (int j = 0; j < 4; j++) {
                uint8_t pair = words[w * 32 + lane * 4 + j];
                sums[lane] += (pair & 15) * x[w * 4 + j] + (pair >> 4) * x[16 + w * 4 + j];
            }
        }
    }
}

static void multiply(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                     int64_t out_stride, int32_t block_bytes, block_sums add) {
    int32_t blocks = x->columns / 32;
    for (int32_t g = 0; g < group_count; g++) {
        const uint8_t *group = groups + (int64_t)g * blocks * block_bytes * EK_ROW_GROUP;
        for (int32_t t = 0; t < x->tokens; t++) {
            float totals[8] = {0};
            for (int32_t b = 0; b < blocks; b++) {
                const uint8_t *block = group + (int64_t)b * block_bytes * EK_ROW_GROUP;
                int64_t at = (int64_t)t * blocks + b;
                int32_t sums[8] = {0};
                add(block + 2 * EK_ROW_GROUP, x->values + at * 32, x->sums[at], sums);
                for (int lane = 0; lane < 8; lane++) {
                    float scale = read_scale(block, lane) * x->scales[at];
                    totals[lane] = fmaf((float)sums[lane], scale, totals[lane]);
                }
            }
            memcpy(out + t * out_stride + (int64_t)g * EK_ROW_GROUP, totals, sizeof totals);
        }
    }
}

void ek_group_q8_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                   int64_t out_stride) {
    multiply(groups, group_count, x, out, out_stride, EK_Q8_0_BYTES, sums_q8_0);
}

void ek_group_q4_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                   int64_t out_stride) {
    multiply(groups, group_count, x, out, out_stride, EK_Q4_0_BYTES, sums_q4_0);
}
