/* F32, F16 and BF16 rows: the definition that the variants are compared with. */
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "scalar_math.h"

static float read_f32(const uint8_t *row, int32_t i) {
    float value;
    memcpy(&value, row + (int64_t)i * 4, sizeof value);
    return value;
}

static float read_f16(const uint8_t *row, int32_t i) {
    uint16_t half;
    memcpy(&half, row + (int64_t)i * 2, sizeof half);
    return ek_half_to_float(half);
}

static float read_bf16(const uint8_t *row, int32_t i) {
    uint16_t upper;
    memcpy(&upper, row + (int64_t)i * 2, sizeof upper);
    uint32_t bits = (uint32_t)upper << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void multiply(const uint8_t *rows, int64_t row_bytes, int32_t row_count, const float *x,
                     int32_t columns, int32_t tokens, float *out, int64_t out_stride,
                     float (*read)(const uint8_t *row, int32_t i)) {
    for (int32_t r = 0; r < row_count; r++) {
        const uint8_t *row = rows + r * row_bytes;
        for (int32_t t = 0; t < tokens; t++) {
            const float *values = x + (int64_t)t * columns;
            float lanes[8] = {0};
            for (int32_t i = 0; i < columns; i++) {
                lanes[i % 8] = fmaf(read(row, i), values[i], lanes[i % 8]);
            }
            out[t * out_stride + r] = ek_sum8(lanes);
        }
    }
}

void ek_rows_f32(const uint8_t *rows, int32_t row_count, const float *x, int32_t columns,
                 int32_t tokens, float *out, int64_t out_stride) {
    multiply(rows, (int64_t)columns * 4, row_count, x, columns, tokens, out, out_stride, read_f32);
}

void ek_rows_f16(const uint8_t *rows, int32_t row_count, const float *x, int32_t columns,
                 int32_t tokens, float *out, int64_t out_stride) {
    multiply(rows, (int64_t)columns * 2, row_count, x, columns, tokens, out, out_stride, read_f16);
}

void ek_rows_bf16(const uint8_t *rows, int32_t row_count, const float *x, int32_t columns,
                  int32_t tokens, float *out, int64_t out_stride) {
    multiply(rows, (int64_t)columns * 2, row_count, x, columns, tokens, out, out_stride, read_bf16);
}
