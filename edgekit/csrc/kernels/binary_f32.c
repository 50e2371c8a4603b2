#include "axes.h"
#include "edgekit/kernels.h"
#include "float_functions.h"

/* Defines ek_NAME_f32, which computes EXPRESSION of x and y. */
#define EK_BINARY(NAME, EXPRESSION)                                                                \
    ek_status ek_##NAME##_f32(const ek_binary_f32_params *params, const float *first,              \
                              const float *second, float *output) {                                \
        const int32_t last = EK_KERNEL_AXES - 1;                                                   \
        const int32_t first_step = params->first_strides[last];                                    \
        const int32_t second_step = params->second_strides[last];                                  \
        int32_t place[EK_KERNEL_AXES] = {0}, a = 0, b = 0;                                         \
        do {                                                                                       \
            for (int32_t n = 0; n < params->dims[last]; n++) {                                     \
                const float x = first[a + n * first_step], y = second[b + n * second_step];        \
                *output++ =                                                                        \
                    ek_clamp_f32((EXPRESSION), params->activation_min, params->activation_max);    \
            }                                                                                      \
        } while (ek_next_place(params->dims, last, place, params->first_strides, &a,               \
                               params->second_strides, &b));                                       \
        return EK_STATUS_OK;                                                                       \
    }

EK_BINARY(add, x + y)
EK_BINARY(sub, x - y)
EK_BINARY(mul, x *y)
EK_BINARY(div, x / y)
EK_BINARY(pow, ek_pow_of(x, y))
EK_BINARY(squared_difference, (x - y) * (x - y))
/* With a NaN the result is NaN. */
EK_BINARY(maximum, x >= y || x != x ? x : y)
EK_BINARY(minimum, x <= y || x != x ? x : y)
EK_BINARY(prelu, x < 0.0F ? x * y : x)
