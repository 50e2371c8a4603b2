/* Q4_K and Q6_K, eight rows side by side: the definition that the variants are compared with. */
#include <math.h>
#include <string.h>

#include "kernels.h"

typedef struct k_token {
    const int8_t *x;     /* 256 activations */
    const int16_t *sums; /* of 16 each */
    float scale;
} k_token;

/* Adds one block of 256 columns to the totals of eight rows. */
typedef void (*k_block)(const uint8_t *block, const k_token *token, float totals[8]);

static float read_scale(const uint8_t *scales, int lane) {
    uint16_t half;
    memcpy(&half, scales + lane * 2, sizeof half);
    return ek_half_to_float(half);
}

/* Byte `index` of what was one row's bytes before they were interleaved by words of four. */
static uint8_t byte_of(const uint8_t *words, int lane, int index) {
    return words[index / 4 * 32 + lane * 4 + index % 4];
}

static void add_q4_k(const uint8_t *block, const k_token *token, float totals[8]) {
    const uint8_t *packed = block + 4 * EK_ROW_GROUP;
    const uint8_t *quants = packed + 12 * EK_ROW_GROUP;
    for (int lane = 0; lane < 8; lane++) {
        int32_t sum = 0;
        int32_t minima = 0;
        for (int j = 0; j < 8; j++) {
            int low = byte_of(packed, lane, j < 4 ? j : j + 4);
            int high = byte_of(packed, lane, j < 4 ? j + 4 : j);
            int s = j < 4 ? low & 63 : (low & 15) | (byte_of(packed, lane, j - 4) >> 6) << 4;
            int m = j < 4 ? high & 63 : (low >> 4) | (high >> 6) << 4;
            int32_t part = 0;
            for (int i = 0; i < 32; i++) {
                int pair = byte_of(quants, lane, j / 2 * 32 + i);
                part += (j % 2 == 0 ? pair & 15 : pair >> 4) * token->x[j * 32 + i];
            }
            sum += s * part;
            minima += m * (token->sums[j * 2] + token->sums[j * 2 + 1]);
        }
        float step = read_scale(block, lane) * token->scale;
        float minimum = read_scale(block + 2 * EK_ROW_GROUP, lane) * token->scale;
        totals[lane] = fmaf((float)sum, step, totals[lane]);
        totals[lane] = fmaf((float)-minima, minimum, totals[lane]);
    }
}

static void add_q6_k(const uint8_t *block, const k_token *token, float totals[8]) {
    const uint8_t *low = block + 2 * EK_ROW_GROUP;
    for (int lane = 0; lane < 8; lane++) {
        int32_t sum = 0;
        for (int j = 0; j < 16; j++) {
            int32_t part = -32 * token->sums[j]; /* each weight is 32 too large */
            for (int i = j * 16; i < j * 16 + 16; i++) {
                int quarter = i % 128 / 32;
                int at = i / 128 * 64 + quarter % 2 * 32 + i % 32;
                int bits = byte_of(low, lane, at) >> (quarter / 2 * 4) & 15;
                int upper = byte_of(low, lane, 128 + i / 128 * 32 + i % 32) >> (quarter * 2) & 3;
                part += (bits | upper << 4) * token->x[i];
            }
            sum += (int8_t)byte_of(low, lane, 192 + j) * part;
        }
        float step = read_scale(block, lane) * token->scale;
        totals[lane] = fmaf((float)sum, step, totals[lane]);
    }
}

static void multiply(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                     int64_t out_stride, int32_t block_bytes, k_block add) {
    int32_t blocks = x->columns / 256;
    const int16_t *sums = (const int16_t *)(const void *)x->sums;
    for (int32_t g = 0; g < group_count; g++) {
        const uint8_t *group = groups + (int64_t)g * blocks * block_bytes * EK_ROW_GROUP;
        for (int32_t t = 0; t < x->tokens; t++) {
            float totals[8] = {0};
            for (int32_t b = 0; b < blocks; b++) {
                int64_t at = (int64_t)t * blocks + b;
                k_token token = {x->values + at * 256, sums + at * 16, x->scales[at]};
                add(group + (int64_t)b * block_bytes * EK_ROW_GROUP, &token, totals);
            }
            memcpy(out + t * out_stride + (int64_t)g * EK_ROW_GROUP, totals, sizeof totals);
        }
    }
}

void ek_group_q4_k(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                   int64_t out_stride) {
    multiply(groups, group_count, x, out, out_stride, EK_Q4_K_BYTES, add_q4_k);
}

void ek_group_q6_k(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                   int64_t out_stride) {
    multiply(groups, group_count, x, out, out_stride, EK_Q6_K_BYTES, add_q6_k);
}
