/* Kernels that bring elements to another scale or another type. Part of kernels.h. */
#ifndef EDGEKIT_KERNELS_CONVERSIONS_H
#define EDGEKIT_KERNELS_CONVERSIONS_H

/* From one scale to another: as ek_requantize_s16_s8, between other types. */
EK_KERNEL ek_status ek_requantize_s8_s16(const ek_requantize_params *params, const int8_t *input,
                                         int16_t *output);
EK_KERNEL ek_status ek_requantize_s8_s32(const ek_requantize_params *params, const int8_t *input,
                                         int32_t *output);
EK_KERNEL ek_status ek_requantize_u8_s8(const ek_requantize_params *params, const uint8_t *input,
                                        int8_t *output);
EK_KERNEL ek_status ek_requantize_u8_s16(const ek_requantize_params *params, const uint8_t *input,
                                         int16_t *output);
EK_KERNEL ek_status ek_requantize_u8_s32(const ek_requantize_params *params, const uint8_t *input,
                                         int32_t *output);
EK_KERNEL ek_status ek_requantize_s16_s16(const ek_requantize_params *params, const int16_t *input,
                                          int16_t *output);
EK_KERNEL ek_status ek_requantize_s32_s8(const ek_requantize_params *params, const int32_t *input,
                                         int8_t *output);
EK_KERNEL ek_status ek_requantize_s32_s16(const ek_requantize_params *params, const int32_t *input,
                                          int16_t *output);
EK_KERNEL ek_status ek_requantize_s32_s32(const ek_requantize_params *params, const int32_t *input,
                                          int32_t *output);

/* From and to real numbers, with one scale. */
EK_KERNEL ek_status ek_quantize_f32_s16(const ek_quantize_params *params, const float *input,
                                        int16_t *output);
EK_KERNEL ek_status ek_quantize_f32_s32(const ek_quantize_params *params, const float *input,
                                        int32_t *output);
EK_KERNEL ek_status ek_dequantize_u8_f32(const ek_quantize_params *params, const uint8_t *input,
                                         float *output);
EK_KERNEL ek_status ek_dequantize_s16_f32(const ek_quantize_params *params, const int16_t *input,
                                          float *output);
EK_KERNEL ek_status ek_dequantize_s32_f32(const ek_quantize_params *params, const int32_t *input,
                                          float *output);

/* (outer, channels, inner), with a scale and a zero point for each channel. */
typedef struct ek_dequantize_channels_params {
    int32_t outer;
    int32_t channels;
    int32_t inner;
    const float *scales;
    const int32_t *zero_points;
} ek_dequantize_channels_params;

EK_KERNEL ek_status ek_dequantize_channels_s8_f32(const ek_dequantize_channels_params *params,
                                                  const int8_t *input, float *output);

/* Stored values as C converts them; floats are cut to whole numbers, 0 for what does not fit. */
typedef struct ek_cast_params {
    int32_t elements;
} ek_cast_params;

EK_KERNEL ek_status ek_cast_f32_s32(const ek_cast_params *params, const float *input,
                                    int32_t *output);
EK_KERNEL ek_status ek_cast_f32_s64(const ek_cast_params *params, const float *input,
                                    int64_t *output);
EK_KERNEL ek_status ek_cast_f32_s8(const ek_cast_params *params, const float *input,
                                   int8_t *output);
EK_KERNEL ek_status ek_cast_f32_u8(const ek_cast_params *params, const float *input,
                                   uint8_t *output);
EK_KERNEL ek_status ek_cast_s32_f32(const ek_cast_params *params, const int32_t *input,
                                    float *output);
EK_KERNEL ek_status ek_cast_s64_f32(const ek_cast_params *params, const int64_t *input,
                                    float *output);
EK_KERNEL ek_status ek_cast_s8_f32(const ek_cast_params *params, const int8_t *input,
                                   float *output);
EK_KERNEL ek_status ek_cast_u8_f32(const ek_cast_params *params, const uint8_t *input,
                                   float *output);
EK_KERNEL ek_status ek_cast_s32_s64(const ek_cast_params *params, const int32_t *input,
                                    int64_t *output);
EK_KERNEL ek_status ek_cast_s64_s32(const ek_cast_params *params, const int64_t *input,
                                    int32_t *output);
EK_KERNEL ek_status ek_cast_s8_s32(const ek_cast_params *params, const int8_t *input,
                                   int32_t *output);
EK_KERNEL ek_status ek_cast_u8_s32(const ek_cast_params *params, const uint8_t *input,
                                   int32_t *output);

#endif
