#include "edgekit/kernels.h"

/* Defines ek_cast_NAME, which stores EXPRESSION of x. */
#define EK_CAST(NAME, FROM, TO, EXPRESSION)                                                        \
    ek_status ek_cast_##NAME(const ek_cast_params *params, const FROM *input, TO *output) {        \
        for (int32_t i = 0; i < params->elements; i++) {                                           \
            const FROM x = input[i];                                                               \
            output[i] = (TO)(EXPRESSION);                                                          \
        }                                                                                          \
        return EK_STATUS_OK;                                                                       \
    }

EK_CAST(f32_s8, float, int8_t, x >= -128.0F && x < 128.0F ? x : 0.0F)
EK_CAST(f32_u8, float, uint8_t, x >= 0.0F && x < 256.0F ? x : 0.0F)
EK_CAST(f32_s32, float, int32_t, x >= -2147483648.0F && x < 2147483648.0F ? x : 0.0F)
EK_CAST(f32_s64, float, int64_t,
        x >= -9223372036854775808.0F && x < 9223372036854775808.0F ? x : 0.0F)
EK_CAST(s8_f32, int8_t, float, x)
EK_CAST(u8_f32, uint8_t, float, x)
EK_CAST(s32_f32, int32_t, float, x)
EK_CAST(s64_f32, int64_t, float, x)
EK_CAST(s8_s32, int8_t, int32_t, x)
EK_CAST(u8_s32, uint8_t, int32_t, x)
EK_CAST(s32_s64, int32_t, int64_t, x)
EK_CAST(s64_s32, int64_t, int32_t, x)
