#include "../kernels.h"

#include "functions.h"

/* One token's product is bound by memory: only several tokens gain from the matrix product. */
const ek_kernels ek_engine_neon_i8mm = {
    .name = "neon-i8mm",
    .groups = {[EK_TYPE_Q8_0] = ek_neon_i8mm_group_q8_0,
               [EK_TYPE_Q4_0] = ek_neon_i8mm_group_q4_0,
               [EK_TYPE_Q4_K] = ek_group_q4_k,
               [EK_TYPE_Q6_K] = ek_group_q6_k},
    .rows =
        {[EK_TYPE_F32] = ek_rows_f32, [EK_TYPE_F16] = ek_rows_f16, [EK_TYPE_BF16] = ek_rows_bf16},
    .quantize_32 = ek_quantize_32,
    .quantize_256 = ek_quantize_256,
    .rms_norm = ek_rms_norm,
    .silu_gate = ek_silu_gate,
    .half_to_float = ek_half_to_float_many,
    .attend = ek_attend,
};
