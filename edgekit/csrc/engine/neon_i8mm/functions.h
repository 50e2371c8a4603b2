/* What the table of kernels with the matrix product of ARMv8.6 holds beside those of NEON. */
#ifndef EDGEKIT_ENGINE_NEON_I8MM_FUNCTIONS_H
#define EDGEKIT_ENGINE_NEON_I8MM_FUNCTIONS_H

#include "../kernels.h"

void ek_neon_i8mm_group_q8_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x,
                             float *out, int64_t out_stride);
void ek_neon_i8mm_group_q4_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x,
                             float *out, int64_t out_stride);

#endif
