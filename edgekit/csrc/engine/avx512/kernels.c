#include "../kernels.h"

#include "../avx2/functions.h"
#include "functions.h"

/* Weights of 4 and 8 bits in blocks of 32 are where wider vectors and VNNI pay; the rest is AVX2's,
 * which every processor with AVX-512 has. */
const ek_kernels ek_engine_avx512 = {
    .name = "avx512-vnni",
    .groups = {[EK_TYPE_Q8_0] = ek_avx512_group_q8_0,
               [EK_TYPE_Q4_0] = ek_avx512_group_q4_0,
               [EK_TYPE_Q4_K] = ek_avx2_group_q4_k,
               [EK_TYPE_Q6_K] = ek_avx2_group_q6_k},
    .rows = {[EK_TYPE_F32] = ek_avx2_rows_f32,
             [EK_TYPE_F16] = ek_avx2_rows_f16,
             [EK_TYPE_BF16] = ek_avx2_rows_bf16},
    .quantize_32 = ek_avx2_quantize_32,
    .quantize_256 = ek_avx2_quantize_256,
    .rms_norm = ek_avx2_rms_norm,
    .silu_gate = ek_avx2_silu_gate,
    .half_to_float = ek_avx2_half_to_float,
    .attend = ek_avx2_attend,
};
