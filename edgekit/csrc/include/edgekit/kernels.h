/* Kernels of neural networks, freestanding: no allocation, no global state, all memory from the
 * caller. int8 arithmetic is TensorFlow Lite Micro's, bit for bit.
 *
 * Every kernel takes a constant parameter struct, then pointers. Images are (N, H, W, C). Quantized
 * values stand for scale * (stored - zero point); `input_offset` is minus the zero point of the
 * input, `output_offset` the zero point of the output. A real factor is held as
 * multiplier * 2^(shift - 31) with multiplier in [2^30, 2^31) or 0 and shift in [-31, 30].
 *
 * All return EK_STATUS_OK or EK_STATUS_NULL_ARGUMENT; nothing is written then.
 */
#ifndef EDGEKIT_KERNELS_H
#define EDGEKIT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "edgekit/status.h"
#include "edgekit/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A window that slides over an image. Padding at the far sides follows from the output size. */
typedef struct ek_window {
    int32_t batch;
    int32_t input_height, input_width, input_channels;
    int32_t output_height, output_width, output_channels;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t dilation_height, dilation_width;
    int32_t pad_top, pad_left;
} ek_window;

/* Convolution. weights (C_out, KH, KW, C_in / groups), bias (C_out,) or NULL. */
typedef struct ek_conv2d_s8_params {
    ek_window window;
    int32_t groups;
    int32_t input_offset, output_offset;
    int32_t activation_min, activation_max;
    const int32_t *multipliers; /* (C_out,) */
    const int32_t *shifts;      /* (C_out,) */
} ek_conv2d_s8_params;

EK_API ek_status ek_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input,
                              const int8_t *weights, const int32_t *bias, int8_t *output);

/* Depthwise convolution. weights (1, KH, KW, C_out), C_out = C_in * depth_multiplier. */
typedef struct ek_depthwise_conv2d_s8_params {
    ek_window window;
    int32_t depth_multiplier;
    int32_t input_offset, output_offset;
    int32_t activation_min, activation_max;
    const int32_t *multipliers; /* (C_out,) */
    const int32_t *shifts;      /* (C_out,) */
} ek_depthwise_conv2d_s8_params;

EK_API ek_status ek_depthwise_conv2d_s8(const ek_depthwise_conv2d_s8_params *params,
                                        const int8_t *input, const int8_t *weights,
                                        const int32_t *bias, int8_t *output);

/* Dense layer. input (rows, C_in), weights (C_out, C_in), bias (C_out,) or NULL. */
typedef struct ek_fully_connected_s8_params {
    int32_t rows, input_channels, output_channels;
    int32_t input_offset, weights_offset, output_offset;
    int32_t activation_min, activation_max;
    const int32_t *multipliers; /* (C_out,), or (1,) where not per_channel */
    const int32_t *shifts;
    int32_t per_channel;
} ek_fully_connected_s8_params;

EK_API ek_status ek_fully_connected_s8(const ek_fully_connected_s8_params *params,
                                       const int8_t *input, const int8_t *weights,
                                       const int32_t *bias, int8_t *output);

/* Pooling; padding does not count. */
typedef struct ek_pool2d_s8_params {
    ek_window window;
    int32_t activation_min, activation_max;
} ek_pool2d_s8_params;

EK_API ek_status ek_average_pool2d_s8(const ek_pool2d_s8_params *params, const int8_t *input,
                                      int8_t *output);
EK_API ek_status ek_max_pool2d_s8(const ek_pool2d_s8_params *params, const int8_t *input,
                                  int8_t *output);

/* Sum of two tensors of one shape; output may be one of the inputs. */
typedef struct ek_add_s8_params {
    int32_t elements;
    int32_t first_offset, second_offset, output_offset;
    int32_t first_multiplier, first_shift;
    int32_t second_multiplier, second_shift;
    int32_t output_multiplier, output_shift;
    int32_t activation_min, activation_max;
} ek_add_s8_params;

EK_API ek_status ek_add_s8(const ek_add_s8_params *params, const int8_t *first,
                           const int8_t *second, int8_t *output);

/* Softmax along the last axis; output scale 1/256, zero point -128; output may be the input. */
typedef struct ek_softmax_s8_params {
    int32_t rows, columns;
    int32_t multiplier, shift;
    int32_t least_difference; /* below the maximum by more than this: zero */
} ek_softmax_s8_params;

EK_API ek_status ek_softmax_s8(const ek_softmax_s8_params *params, const int8_t *input,
                               int8_t *output);

#ifdef __cplusplus
}
#endif

#endif
