/* F32, F16 and BF16 rows: lane i of an accumulator takes the columns i mod 8. */
#include "blocks.h"

#include <math.h>

#include "../scalar_math.h"

enum { ROWS = 4, TOKENS = 3, AHEAD_BYTES = 512 };

/* Eight weights from column `i` on. */
typedef __m256 (*load_eight)(const uint8_t *row, int32_t i);

EK_INLINE __m256 load_f32(const uint8_t *row, int32_t i) {
    return _mm256_castsi256_ps(ek_load(row + (int64_t)i * 4));
}

EK_INLINE __m256 load_f16(const uint8_t *row, int32_t i) {
    return ek_load_halves(row + (int64_t)i * 2);
}

EK_INLINE __m256 load_bf16(const uint8_t *row, int32_t i) {
    __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)(row + (int64_t)i * 2));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

/* The columns after the last eight: lane by lane, as the portable kernel does. */
static float finish_row(__m256 sums, const uint8_t *row, int32_t element_bytes, const float *x,
                        int32_t first, int32_t columns, load_eight load) {
    float lanes[8];
    float weights[8];
    uint8_t rest[32] = {0};
    _mm256_storeu_ps(lanes, sums);
    memcpy(rest, row + (int64_t)first * element_bytes, (size_t)((columns - first) * element_bytes));
    _mm256_storeu_ps(weights, load(rest, 0));
    for (int32_t i = first; i < columns; i++) {
        lanes[i % 8] = fmaf(weights[i - first], x[i], lanes[i % 8]);
    }
    return ek_sum8(lanes);
}

EK_INLINE void run_tile(const uint8_t *rows, int32_t element_bytes, const float *x, int32_t columns,
                        int row_count, int tokens, float *out, int64_t out_stride,
                        load_eight load) {
    int64_t row_bytes = (int64_t)columns * element_bytes;
    __m256 sums[ROWS][TOKENS];
    for (int r = 0; r < row_count; r++) {
        for (int t = 0; t < tokens; t++) {
            sums[r][t] = _mm256_setzero_ps();
        }
    }
    int32_t i = 0;
    for (; i + 8 <= columns; i += 8) {
        __m256 values[TOKENS];
        for (int t = 0; t < tokens; t++) {
            values[t] = _mm256_loadu_ps(x + (int64_t)t * columns + i);
        }
        for (int r = 0; r < row_count; r++) {
            const uint8_t *row = rows + r * row_bytes;
            __m256 weights = load(row, i);
            if (tokens == 1 && element_bytes == 2) {
                _mm_prefetch((const char *)row + (int64_t)i * element_bytes + AHEAD_BYTES,
                             _MM_HINT_T0);
            }
            for (int t = 0; t < tokens; t++) {
                sums[r][t] = _mm256_fmadd_ps(weights, values[t], sums[r][t]);
            }
        }
    }
    for (int r = 0; r < row_count; r++) {
        for (int t = 0; t < tokens; t++) {
            out[t * out_stride + r] =
                i == columns ? ek_sum_lanes(sums[r][t])
                             : finish_row(sums[r][t], rows + r * row_bytes, element_bytes,
                                          x + (int64_t)t * columns, i, columns, load);
        }
    }
}

EK_INLINE void run_rows(const uint8_t *rows, int32_t element_bytes, int row_count, const float *x,
                        int32_t columns, int32_t tokens, float *out, int64_t out_stride,
                        load_eight load) {
    int32_t t = 0;
    for (; t + TOKENS <= tokens; t += TOKENS) {
        run_tile(rows, element_bytes, x + (int64_t)t * columns, columns, row_count, TOKENS,
                 out + t * out_stride, out_stride, load);
    }
    for (; t < tokens; t++) {
        run_tile(rows, element_bytes, x + (int64_t)t * columns, columns, row_count, 1,
                 out + t * out_stride, out_stride, load);
    }
}

EK_INLINE void run_all(const uint8_t *rows, int32_t element_bytes, int32_t row_count,
                       const float *x, int32_t columns, int32_t tokens, float *out,
                       int64_t out_stride, load_eight load) {
    int64_t row_bytes = (int64_t)columns * element_bytes;
    int32_t r = 0;
    for (; r + ROWS <= row_count; r += ROWS) {
        run_rows(rows + r * row_bytes, element_bytes, ROWS, x, columns, tokens, out + r, out_stride,
                 load);
    }
    for (; r < row_count; r++) {
        run_rows(rows + r * row_bytes, element_bytes, 1, x, columns, tokens, out + r, out_stride,
                 load);
    }
}

void ek_avx2_rows_f32(const uint8_t *rows, int32_t row_count, const float *x, int32_t columns,
                      int32_t tokens, float *out, int64_t out_stride) {
    run_all(rows, 4, row_count, x, columns, tokens, out, out_stride, load_f32);
}

void ek_avx2_rows_f16(const uint8_t *rows, int32_t row_count, const float *x, int32_t columns,
                      int32_t tokens, float *out, int64_t out_stride) {
    run_all(rows, 2, row_count, x, columns, tokens, out, out_stride, load_f16);
}

void ek_avx2_rows_bf16(const uint8_t *rows, int32_t row_count, const float *x, int32_t columns,
                       int32_t tokens, float *out, int64_t out_stride) {
    run_all(rows, 2, row_count, x, columns, tokens, out, out_stride, load_bf16);
}
