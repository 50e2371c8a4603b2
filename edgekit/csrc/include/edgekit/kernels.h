/* Kernels of quantized operators, exact to the bit: TensorFlow Lite Micro's arithmetic.
 *
 * Every kernel takes one constant structure that a converter fills (it lies in flash), then its
 * inputs, its scratch memory where it has some, and its outputs. Images are (N, H, W, C). Nothing
 * is allocated, nothing is global. Parameters are proven at conversion and not checked again:
 * kernels return EK_STATUS_OK. Pointers to int16, int32 and scratch memory are aligned to 4 bytes.
 *
 * "Channels" is an array with three numbers for each output channel: bias, multiplier and shift.
 * The bias holds the sum over the weights times the input's zero point already, so that stored
 * values are multiplied as they are. A factor is multiplier * 2**(shift - 31), as int8.py says.
 *
 * Weights of convolutions and dense layers are a matrix of output channels by depth (kernel height,
 * kernel width, input channels). Each set of kernels reads it in an order of its own; each group
 * has its own blocks.
 *
 * Portable and DSP kernels read "packed" weights. The depth is filled up with zeros to a multiple
 * of four. Four channels a, b, c, d make a block; for every four places of the depth 0 to 3 it
 * holds the bytes a0 b0 a2 b2, c0 d0 c2 d2, a1 b1 a3 b3, c1 d1 c3 d3. One or two channels that are
 * left make a block of a and b only; three make a block of four. Depthwise weights are (kernel
 * height, kernel width, output channels).
 *
 * MVE kernels read "blocks": four channels, filled up with zeros, for which places of the depth
 * follow each other in vectors: of the first vector all places of each channel in turn, then of the
 * second one. Vectors have 16 places; the first one has what is left, 1 to 16. "Channels" of
 * convolutions are in blocks as well: four biases, four multipliers, four shifts. Depthwise
 * weights are in blocks of 16 channels, filled up with zeros: (kernel height, kernel width, 16).
 * Their "channels" are in blocks of 16 biases, 16 multipliers and 16 shifts, in the order 0 4 8 12,
 * 2 6 10 14, 1 5 9 13, 3 7 11 15.
 */
#ifndef EDGEKIT_KERNELS_H
#define EDGEKIT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "edgekit/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef EK_KERNEL
#if defined(_WIN32)
#define EK_KERNEL __declspec(dllexport)
#elif defined(__GNUC__)
#define EK_KERNEL __attribute__((visibility("default")))
#else
#define EK_KERNEL
#endif
#endif

/* What kernels are linked: only one of these exists. Generated code calls the one that it was made
 * for, because the order of weights and the scratch memory are that set's. */
EK_KERNEL ek_status ek_kernels_portable(void);
EK_KERNEL ek_status ek_kernels_cortex_m_dsp(void);
EK_KERNEL ek_status ek_kernels_cortex_m_mve(void);

enum { EK_KERNEL_AXES = 6, EK_CHANNEL_FIELDS = 3 };

/* A window that slides over an image, and what its result is rescaled to. */
typedef struct ek_conv2d_s8_params {
    int32_t batches;
    int32_t input_height;
    int32_t input_width;
    int32_t input_channels;
    int32_t output_height;
    int32_t output_width;
    int32_t output_channels;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_height;
    int32_t stride_width;
    int32_t dilation_height;
    int32_t dilation_width;
    int32_t pad_top;
    int32_t pad_left;
    int32_t groups; /* of a depthwise convolution: the input channels */
    int32_t input_zero_point;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
    /* 1 where every sum times two fits 32 bits and every shift is negative: the short sequence. */
    int32_t simple_rescale;
    const int8_t *weights;   /* in the order of the kernels that are linked */
    const int32_t *channels; /* (output channels, 3), likewise */
} ek_conv2d_s8_params;

/* In place where the output has the input's shape, strides are one and there is one group; scratch
 * memory then has the bytes of both functions. */
EK_KERNEL ek_status ek_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input,
                                 void *scratch, int8_t *output);
EK_KERNEL size_t ek_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params);
EK_KERNEL size_t ek_conv2d_s8_in_place_bytes(const ek_conv2d_s8_params *params);

/* In place where the output has the input's shape. */
EK_KERNEL ek_status ek_depthwise_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input,
                                           void *scratch, int8_t *output);
EK_KERNEL size_t ek_depthwise_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params);

/* Weights (output channels, kernel height, kernel width, input channels) as they are; pads are cut
 * off; biases hold no zero points. */
EK_KERNEL ek_status ek_transpose_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input,
                                           int8_t *output);

typedef struct ek_fully_connected_s8_params {
    int32_t rows;
    int32_t depth;
    int32_t output_channels;
    int32_t weights_zero_point;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
    int32_t simple_rescale;
    int32_t factor_step;    /* 2, or 0 where all channels have the same factor */
    const int8_t *weights;  /* packed, or in blocks */
    const int32_t *bias;    /* (output channels) */
    const int32_t *factors; /* (output channels, 2) or (1, 2): multiplier and shift */
} ek_fully_connected_s8_params;

EK_KERNEL ek_status ek_fully_connected_s8(const ek_fully_connected_s8_params *params,
                                          const int8_t *input, int8_t *output);

typedef struct ek_pool2d_s8_params {
    int32_t batches;
    int32_t input_height;
    int32_t input_width;
    int32_t channels;
    int32_t output_height;
    int32_t output_width;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_height;
    int32_t stride_width;
    int32_t dilation_height;
    int32_t dilation_width;
    int32_t pad_top;
    int32_t pad_left;
    int32_t activation_min;
    int32_t activation_max;
} ek_pool2d_s8_params;

EK_KERNEL ek_status ek_average_pool2d_s8(const ek_pool2d_s8_params *params, const int8_t *input,
                                         int8_t *output);
EK_KERNEL ek_status ek_max_pool2d_s8(const ek_pool2d_s8_params *params, const int8_t *input,
                                     int8_t *output);

/* Element-wise on two operands. Operands are broadcast by strides of zero; the output is dense.
 * Which multipliers are used is said by each kernel. In place over an operand of its shape. */
typedef struct ek_binary_s8_params {
    int32_t dims[EK_KERNEL_AXES];
    int32_t first_strides[EK_KERNEL_AXES];
    int32_t second_strides[EK_KERNEL_AXES];
    int32_t left_shift;
    int32_t first_zero_point;
    int32_t first_multiplier;
    int32_t first_shift;
    int32_t second_zero_point;
    int32_t second_multiplier;
    int32_t second_shift;
    int32_t output_zero_point;
    int32_t output_multiplier;
    int32_t output_shift;
    int32_t activation_min;
    int32_t activation_max;
} ek_binary_s8_params;

EK_KERNEL ek_status ek_add_s8(const ek_binary_s8_params *params, const int8_t *first,
                              const int8_t *second, int8_t *output);
EK_KERNEL ek_status ek_sub_s8(const ek_binary_s8_params *params, const int8_t *first,
                              const int8_t *second, int8_t *output);
/* The product is rescaled by the output's factor only. */
EK_KERNEL ek_status ek_mul_s8(const ek_binary_s8_params *params, const int8_t *first,
                              const int8_t *second, int8_t *output);
EK_KERNEL ek_status ek_squared_difference_s8(const ek_binary_s8_params *params, const int8_t *first,
                                             const int8_t *second, int8_t *output);
/* Zero points are zero: stored values are compared as they are. */
EK_KERNEL ek_status ek_maximum_s8(const ek_binary_s8_params *params, const int8_t *first,
                                  const int8_t *second, int8_t *output);
EK_KERNEL ek_status ek_minimum_s8(const ek_binary_s8_params *params, const int8_t *first,
                                  const int8_t *second, int8_t *output);

/* Any function of one int8, row by row: table[x + 128]. In place where both strides are equal. */
typedef struct ek_lookup_s8_params {
    int32_t rows;
    int32_t columns;
    int32_t output_start;
    int32_t output_stride;
    const int8_t *table;
} ek_lookup_s8_params;

EK_KERNEL ek_status ek_lookup_s8(const ek_lookup_s8_params *params, const int8_t *input,
                                 int8_t *output);

/* Copies elements of 1, 2, 4 or 8 bytes; starts and strides count elements. */
typedef struct ek_copy_params {
    int32_t item_bytes;
    int32_t dims[EK_KERNEL_AXES];
    int32_t input_start;
    int32_t input_strides[EK_KERNEL_AXES];
    int32_t output_start;
    int32_t output_strides[EK_KERNEL_AXES];
} ek_copy_params;

EK_KERNEL ek_status ek_copy(const ek_copy_params *params, const void *input, void *output);

/* Sets bytes to one value. */
typedef struct ek_fill_params {
    int32_t bytes;
    int32_t value;
} ek_fill_params;

EK_KERNEL ek_status ek_fill(const ek_fill_params *params, void *output);

/* Sets words of 4 bytes to one value. */
typedef struct ek_fill_words_params {
    int32_t words;
    int32_t value;
} ek_fill_words_params;

EK_KERNEL ek_status ek_fill_words(const ek_fill_words_params *params, void *output);

/* Along the middle axis of (outer, depth, inner). Powers are exp of minus 0 to 255 steps, Q0.31. */
typedef struct ek_softmax_s8_params {
    int32_t outer;
    int32_t depth;
    int32_t inner;
    const int32_t *powers;
} ek_softmax_s8_params;

EK_KERNEL ek_status ek_softmax_s8(const ek_softmax_s8_params *params, const int8_t *input,
                                  int8_t *output);
EK_KERNEL ek_status ek_softmax_s8_s16(const ek_softmax_s8_params *params, const int8_t *input,
                                      int16_t *output);

/* Over some axes: "dims" and "strides" of the kept axes, in order of the output, and the reduced.
 */
typedef struct ek_reduce_s8_params {
    int32_t kept_dims[EK_KERNEL_AXES];
    int32_t kept_strides[EK_KERNEL_AXES];
    int32_t reduced_dims[EK_KERNEL_AXES];
    int32_t reduced_strides[EK_KERNEL_AXES];
    int32_t bias; /* minus the input's zero point times the number of elements */
    int32_t multiplier;
    int32_t shift;
    int32_t output_zero_point;
} ek_reduce_s8_params;

EK_KERNEL ek_status ek_reduce_sum_s8(const ek_reduce_s8_params *params, const int8_t *input,
                                     int8_t *output);
EK_KERNEL ek_status ek_reduce_max_s8(const ek_reduce_s8_params *params, const int8_t *input,
                                     int8_t *output);
EK_KERNEL ek_status ek_reduce_min_s8(const ek_reduce_s8_params *params, const int8_t *input,
                                     int8_t *output);

/* A dense layer of low rank over a window of time. State (batches, filters, memory) is updated. */
typedef struct ek_svdf_s8_params {
    int32_t batches;
    int32_t depth;
    int32_t units;
    int32_t rank;
    int32_t memory;
    int32_t state_zero_point;
    int32_t feature_multiplier;
    int32_t feature_shift;
    int32_t output_multiplier;
    int32_t output_shift;
    int32_t output_zero_point;
    const int8_t *feature_weights; /* (units * rank, depth) */
    const void *time_weights;      /* (units * rank, memory), in the type of the state */
    const int32_t *feature_bias;   /* (units * rank): sums of weights times the zero point */
    const int32_t *bias;           /* (units) */
} ek_svdf_s8_params;

EK_KERNEL ek_status ek_svdf_s8(const ek_svdf_s8_params *params, const int8_t *input, int8_t *state,
                               int8_t *output);
EK_KERNEL ek_status ek_svdf_s8_s16(const ek_svdf_s8_params *params, const int8_t *input,
                                   int16_t *state, int8_t *output);

/* Gates in the order input, forget, cell, output. Both states are updated. */
typedef struct ek_unidirectional_lstm_s8_params {
    int32_t batches;
    int32_t steps;
    int32_t depth;
    int32_t units;
    int32_t step_stride;  /* input rows from one step to the next */
    int32_t batch_stride; /* input rows from one batch to the next */
    int32_t input_multipliers[4];
    int32_t input_shifts[4];
    int32_t recurrent_multipliers[4];
    int32_t recurrent_shifts[4];
    int32_t forget_multiplier;
    int32_t forget_shift;
    int32_t cell_multiplier;
    int32_t cell_shift;
    int32_t hidden_multiplier;
    int32_t hidden_shift;
    int32_t hidden_zero_point;
    int32_t cell_scale_power;
    int32_t cell_clip;               /* 0 for none */
    const int8_t *input_weights;     /* (4, units, depth) */
    const int8_t *recurrent_weights; /* (4, units, units) */
    const int32_t *input_bias;       /* (4, units) */
    const int32_t *recurrent_bias;   /* (4, units) */
    const uint16_t *sigmoid;         /* (256): sigmoid of i / 24, Q0.16 */
} ek_unidirectional_lstm_s8_params;

EK_KERNEL ek_status ek_unidirectional_lstm_s8(const ek_unidirectional_lstm_s8_params *params,
                                              const int8_t *input, int8_t *output_state,
                                              int16_t *cell_state, void *scratch, int8_t *output);
EK_KERNEL size_t
ek_unidirectional_lstm_s8_scratch_bytes(const ek_unidirectional_lstm_s8_params *params);

typedef struct ek_quantize_params {
    int32_t elements;
    int32_t zero_point;
    float scale;
} ek_quantize_params;

EK_KERNEL ek_status ek_quantize_f32_s8(const ek_quantize_params *params, const float *input,
                                       int8_t *output);
EK_KERNEL ek_status ek_dequantize_s8_f32(const ek_quantize_params *params, const int8_t *input,
                                         float *output);

typedef struct ek_requantize_params {
    int32_t elements;
    int32_t input_zero_point;
    int32_t multiplier;
    int32_t shift;
    int32_t output_zero_point;
} ek_requantize_params;

EK_KERNEL ek_status ek_requantize_s16_s8(const ek_requantize_params *params, const int16_t *input,
                                         int8_t *output);
EK_KERNEL ek_status ek_requantize_s16_s32(const ek_requantize_params *params, const int16_t *input,
                                          int32_t *output);

#include "edgekit/kernels_cases.h"
#include "edgekit/kernels_conversions.h"
#include "edgekit/kernels_f32.h"
#include "edgekit/kernels_packed.h"
#include "edgekit/kernels_selection.h"

#ifdef __cplusplus
}
#endif

#endif
