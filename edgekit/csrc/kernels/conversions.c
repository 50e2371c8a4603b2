#include "edgekit/kernels.h"
#include "fixed_point.h"

static inline int32_t clamped(int64_t x, int32_t low, int32_t high) {
    return (int32_t)(x < low ? low : (x > high ? high : x));
}

/* Defines ek_requantize_NAME. */
#define EK_REQUANTIZE(NAME, FROM, TO, LOW, HIGH)                                                   \
    ek_status ek_requantize_##NAME(const ek_requantize_params *params, const FROM *input,          \
                                   TO *output) {                                                   \
        for (int32_t i = 0; i < params->elements; i++) {                                           \
            const int32_t centred = ek_wrapping_add(input[i], -params->input_zero_point);          \
            const int64_t x = ek_rescale(centred, params->multiplier, params->shift);              \
            output[i] = (TO)clamped(x + params->output_zero_point, LOW, HIGH);                     \
        }                                                                                          \
        return EK_STATUS_OK;                                                                       \
    }

EK_REQUANTIZE(s8_s16, int8_t, int16_t, INT16_MIN, INT16_MAX)
EK_REQUANTIZE(s8_s32, int8_t, int32_t, INT32_MIN, INT32_MAX)
EK_REQUANTIZE(u8_s8, uint8_t, int8_t, INT8_MIN, INT8_MAX)
EK_REQUANTIZE(u8_s16, uint8_t, int16_t, INT16_MIN, INT16_MAX)
EK_REQUANTIZE(u8_s32, uint8_t, int32_t, INT32_MIN, INT32_MAX)
EK_REQUANTIZE(s16_s16, int16_t, int16_t, INT16_MIN, INT16_MAX)
EK_REQUANTIZE(s32_s8, int32_t, int8_t, INT8_MIN, INT8_MAX)
EK_REQUANTIZE(s32_s16, int32_t, int16_t, INT16_MIN, INT16_MAX)
EK_REQUANTIZE(s32_s32, int32_t, int32_t, INT32_MIN, INT32_MAX)

/* Nearest integer, halves away from zero, within what an int32 and the type hold. */
static int32_t stored(const ek_quantize_params *params, float real, int32_t low, int32_t high) {
    const float x = real / params->scale;
    if (!(x > -2147483648.0F && x < 2147483648.0F)) {
        /* Nothing compares with a NaN, which is stored as zero, not as the zero point. */
        return x > 0.0F ? high : (x < 0.0F ? low : 0);
    }
    const int32_t whole = (int32_t)x;
    const float fraction = x - (float)whole;
    const int64_t nearest =
        (int64_t)whole + (fraction >= 0.5F ? 1 : 0) - (fraction <= -0.5F ? 1 : 0);
    return clamped(nearest + params->zero_point, low, high);
}

ek_status ek_quantize_f32_s16(const ek_quantize_params *params, const float *input,
                              int16_t *output) {
    for (int32_t i = 0; i < params->elements; i++) {
        output[i] = (int16_t)stored(params, input[i], INT16_MIN, INT16_MAX);
    }
    return EK_STATUS_OK;
}

ek_status ek_quantize_f32_s32(const ek_quantize_params *params, const float *input,
                              int32_t *output) {
    for (int32_t i = 0; i < params->elements; i++) {
        output[i] = stored(params, input[i], INT32_MIN, INT32_MAX);
    }
    return EK_STATUS_OK;
}

/* Defines ek_dequantize_NAME_f32. */
#define EK_DEQUANTIZE(NAME, FROM)                                                                  \
    ek_status ek_dequantize_##NAME##_f32(const ek_quantize_params *params, const FROM *input,      \
                                         float *output) {                                          \
        for (int32_t i = 0; i < params->elements; i++) {                                           \
            output[i] = params->scale * (float)((int64_t)input[i] - params->zero_point);           \
        }                                                                                          \
        return EK_STATUS_OK;                                                                       \
    }

EK_DEQUANTIZE(u8, uint8_t)
EK_DEQUANTIZE(s16, int16_t)
EK_DEQUANTIZE(s32, int32_t)

ek_status ek_dequantize_channels_s8_f32(const ek_dequantize_channels_params *params,
                                        const int8_t *input, float *output) {
    for (int32_t outer = 0; outer < params->outer; outer++) {
        for (int32_t channel = 0; channel < params->channels; channel++) {
            const float scale = params->scales[channel];
            const int32_t zero_point = params->zero_points[channel];
            for (int32_t inner = 0; inner < params->inner; inner++) {
                *output++ = scale * (float)(*input++ - zero_point);
            }
        }
    }
    return EK_STATUS_OK;
}
