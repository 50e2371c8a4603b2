#include "edgekit/kernels.h"
#include "fixed_point.h"

/* Nearest integer, halves away from zero, of a float that is far from what int32 holds. */
static int32_t rounded(float x) {
    const int32_t whole = (int32_t)x;
    const float fraction = x - (float)whole;
    return whole + (fraction >= 0.5F ? 1 : 0) - (fraction <= -0.5F ? 1 : 0);
}

ek_status ek_quantize_f32_s8(const ek_quantize_params *params, const float *input, int8_t *output) {
    const float limit = 1024.0F;
    for (int32_t i = 0; i < params->elements; i++) {
        float x = input[i] / params->scale;
        x = x > limit ? limit : (x < -limit ? -limit : x);
        /* Nothing compares with a NaN, which is stored as zero, not as the zero point. */
        output[i] = x == x ? ek_saturate_s8(rounded(x) + params->zero_point) : 0;
    }
    return EK_STATUS_OK;
}

ek_status ek_dequantize_s8_f32(const ek_quantize_params *params, const int8_t *input,
                               float *output) {
    for (int32_t i = 0; i < params->elements; i++) {
        output[i] = params->scale * (float)(input[i] - params->zero_point);
    }
    return EK_STATUS_OK;
}

static inline int32_t requantized(const ek_requantize_params *params, int32_t x) {
    return ek_rescale(x - params->input_zero_point, params->multiplier, params->shift) +
           params->output_zero_point;
}

ek_status ek_requantize_s16_s8(const ek_requantize_params *params, const int16_t *input,
                               int8_t *output) {
    for (int32_t i = 0; i < params->elements; i++) {
        output[i] = ek_saturate_s8(requantized(params, input[i]));
    }
    return EK_STATUS_OK;
}

ek_status ek_requantize_s16_s32(const ek_requantize_params *params, const int16_t *input,
                                int32_t *output) {
    for (int32_t i = 0; i < params->elements; i++) {
        output[i] = requantized(params, input[i]);
    }
    return EK_STATUS_OK;
}
