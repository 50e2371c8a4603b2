/* What the table of AVX-512 kernels holds beside those of AVX2. */
#ifndef EDGEKIT_ENGINE_AVX512_FUNCTIONS_H
#define EDGEKIT_ENGINE_AVX512_FUNCTIONS_H

#include "../kernels.h"

void ek_avx512_group_q8_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x,
                          float *out, int64_t out_stride);
void ek_avx512_group_q4_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x,
                          float *out, int64_t out_stride);

#endif
