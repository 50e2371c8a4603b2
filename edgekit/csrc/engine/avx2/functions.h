/* What the table of AVX2 kernels holds. */
#ifndef EDGEKIT_ENGINE_AVX2_FUNCTIONS_H
#define EDGEKIT_ENGINE_AVX2_FUNCTIONS_H

#include "../kernels.h"

void ek_avx2_group_q8_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                        int64_t out_stride);
void ek_avx2_group_q4_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                        int64_t out_stride);
void ek_avx2_group_q4_k(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                        int64_t out_stride);
void ek_avx2_group_q6_k(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                        int64_t out_stride);
void ek_avx2_rows_f32(const uint8_t *rows, int32_t row_count, const float *x, int32_t columns,
                      int32_t tokens, float *out, int64_t out_stride);
void ek_avx2_rows_f16(const uint8_t *rows, int32_t row_count, const float *x, int32_t columns,
                      int32_t tokens, float *out, int64_t out_stride);
void ek_avx2_rows_bf16(const uint8_t *rows, int32_t row_count, const float *x, int32_t columns,
                       int32_t tokens, float *out, int64_t out_stride);
void ek_avx2_quantize_32(const float *x, int32_t columns, int8_t *values, float *scales,
                         int32_t *sums);
void ek_avx2_quantize_256(const float *x, int32_t columns, int8_t *values, float *scales,
                          int16_t *sums);
void ek_avx2_rms_norm(const float *x, const float *weight, int32_t count, float epsilon,
                      float *out);
void ek_avx2_silu_gate(float *gate, const float *up, int32_t count);
void ek_avx2_half_to_float(const uint16_t *halves, int64_t count, float *out);
void ek_avx2_attend(const float *query, const ek_tile *tile, ek_softmax *state, float *out);

#endif
