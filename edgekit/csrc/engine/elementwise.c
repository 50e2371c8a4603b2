/* What happens between the matrices: the definition that the variants are compared with. */
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "scalar_math.h"

static float largest(const float *x, int32_t count) {
    float found = 0.0f;
    for (int32_t i = 0; i < count; i++) {
        float magnitude = fabsf(x[i]);
        found = magnitude > found ? magnitude : found;
    }
    return found;
}

static int8_t rounded(float value) {
    float shifted = value + EK_ROUND_MAGIC;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (int8_t)(bits - EK_ROUND_MAGIC_BITS);
}

/* The scale of one block, its values, and their sums by `part`. */
static float quantize_block(const float *x, int32_t count, int8_t *values) {
    float limit = largest(x, count);
    float inverse = limit > 0.0f ? 127.0f / limit : 0.0f;
    for (int32_t i = 0; i < count; i++) {
        values[i] = rounded(x[i] * inverse);
    }
    return limit / 127.0f;
}

static int32_t sum_of(const int8_t *values, int32_t count) {
    int32_t sum = 0;
    for (int32_t i = 0; i < count; i++) {
        sum += values[i];
    }
    return sum;
}

void ek_quantize_32(const float *x, int32_t columns, int8_t *values, float *scales, int32_t *sums) {
    for (int32_t b = 0; b < columns / 32; b++) {
        scales[b] = quantize_block(x + b * 32, 32, values + b * 32);
        sums[b] = 8 * sum_of(values + b * 32, 32);
    }
}

void ek_quantize_256(const float *x, int32_t columns, int8_t *values, float *scales,
                     int16_t *sums) {
    for (int32_t b = 0; b < columns / 256; b++) {
        scales[b] = quantize_block(x + b * 256, 256, values + b * 256);
    }
    for (int32_t b = 0; b < columns / 16; b++) {
        sums[b] = (int16_t)sum_of(values + b * 16, 16);
    }
}

void ek_rms_norm(const float *x, const float *weight, int32_t count, float epsilon, float *out) {
    float lanes[8] = {0};
    for (int32_t i = 0; i < count; i++) {
        lanes[i % 8] = fmaf(x[i], x[i], lanes[i % 8]);
    }
    float scale = 1.0f / sqrtf(ek_sum8(lanes) / (float)count + epsilon);
    for (int32_t i = 0; i < count; i++) {
        out[i] = x[i] * scale * weight[i];
    }
}

void ek_silu_gate(float *gate, const float *up, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        gate[i] = ek_silu(gate[i]) * up[i];
    }
}

void ek_half_to_float_many(const uint16_t *halves, int64_t count, float *out) {
    for (int64_t i = 0; i < count; i++) {
        out[i] = ek_half_to_float(halves[i]);
    }
}
