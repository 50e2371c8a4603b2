#include "kernels.h"

#include <stddef.h>

#if defined(EK_ENGINE_NEON) && defined(__linux__)
#include <sys/auxv.h>
#endif

const ek_kernels ek_engine_portable = {
    .name = "portable",
    .groups = {[EK_TYPE_Q8_0] = ek_group_q8_0,
               [EK_TYPE_Q4_0] = ek_group_q4_0,
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

#if defined(EK_ENGINE_NEON)
static const ek_kernels *best_of_arm(void) {
#if defined(__linux__)
    /* HWCAP_ASIMDDP and HWCAP2_I8MM, arch/arm64/include/uapi/asm/hwcap.h */
    enum { ASIMD_DOT_PRODUCT = 1 << 20, INT8_MATRIX_PRODUCT = 1 << 13 };
    if (!(getauxval(AT_HWCAP) & ASIMD_DOT_PRODUCT)) {
        return &ek_engine_portable;
    }
    return getauxval(AT_HWCAP2) & INT8_MATRIX_PRODUCT ? &ek_engine_neon_i8mm : &ek_engine_neon;
#else
    return &ek_engine_neon; /* Apple: every processor since 2018 */
#endif
}
#endif

#if defined(EK_ENGINE_AVX2)
static const ek_kernels *best_of_x86(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
        !__builtin_cpu_supports("f16c")) {
        return &ek_engine_portable;
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vnni")) {
        return &ek_engine_avx512;
    }
    return &ek_engine_avx2;
}
#endif

const ek_kernels *ek_engine_best(void) {
#if defined(EK_ENGINE_NEON)
    return best_of_arm();
#elif defined(EK_ENGINE_AVX2)
    return best_of_x86();
#else
    return &ek_engine_portable;
#endif
}
