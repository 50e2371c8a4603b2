#include "edgekit/kernels.h"
#include "float_functions.h"

/* Defines ek_NAME_f32, which computes EXPRESSION of x. */
#define EK_UNARY(NAME, EXPRESSION)                                                                 \
    ek_status ek_##NAME##_f32(const ek_unary_f32_params *params, const float *input,               \
                              float *output) {                                                     \
        for (int32_t i = 0; i < params->elements; i++) {                                           \
            const float x = input[i];                                                              \
            output[i] = (EXPRESSION);                                                              \
        }                                                                                          \
        return EK_STATUS_OK;                                                                       \
    }

/* The largest whole number that is not above x; from 2**23 on every float is whole. */
static inline float floor_of(float x) {
    if (!(ek_abs_of(x) < 8388608.0F)) {
        return x;
    }
    const float whole = (float)(int32_t)x;
    return whole > x ? whole - 1.0F : whole;
}

/* ln(1 + exp(x)) without overflow; the second term by its series where it is small. */
static inline float softplus_of(float x) {
    const float power = ek_exp_of(-ek_abs_of(x));
    const float rest = power < 1.0e-3F ? power - 0.5F * power * power : ek_log_of(1.0F + power);
    return (x > 0.0F ? x : 0.0F) + rest;
}

static inline float gelu_tanh_of(float x) {
    return 0.5F * x * (1.0F + ek_tanh_of(0.797884561F * (x + 0.044715F * x * x * x)));
}

EK_UNARY(clip, ek_clamp_f32(x, params->first, params->second))
EK_UNARY(sigmoid, ek_sigmoid_of(x))
EK_UNARY(tanh, ek_tanh_of(x))
EK_UNARY(leaky_relu, x > 0.0F ? x : x * params->first)
EK_UNARY(elu, x < 0.0F ? params->first * (ek_exp_of(x) - 1.0F) : x)
EK_UNARY(hard_swish, x *ek_clamp_f32(x + 3.0F, 0.0F, 6.0F) / 6.0F)
EK_UNARY(hard_sigmoid, ek_clamp_f32(params->first *x + params->second, 0.0F, 1.0F))
EK_UNARY(exp, ek_exp_of(x))
EK_UNARY(log, ek_log_of(x))
EK_UNARY(sqrt, ek_sqrt_of(x))
EK_UNARY(rsqrt, 1.0F / ek_sqrt_of(x))
EK_UNARY(erf, ek_erf_of(x))
EK_UNARY(gelu, 0.5F * x * (1.0F + ek_erf_of(0.707106781F * x)))
EK_UNARY(gelu_tanh, gelu_tanh_of(x))
EK_UNARY(softplus, softplus_of(x))
EK_UNARY(floor, floor_of(x))
EK_UNARY(abs, ek_abs_of(x))
EK_UNARY(neg, -x)
EK_UNARY(square, x *x)
