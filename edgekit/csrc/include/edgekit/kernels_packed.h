/* Kernels of tensors whose values have 4 or 2 bits: exact to the bit what the kernels of int8 give
 * on the same stored values, clamped to the output's range.
 *
 * Values are packed along the last axis: pixel by pixel, the first channel in the lowest bits of
 * the first byte, two's complement. Each pixel has whole bytes: (channels * bits + 7) / 8; the bits
 * that are left in its last byte mean nothing. 8 bits mean an ordinary tensor of int8. Any of the
 * bits below is 8, 4 or 2, whatever the others are.
 *
 * Weights have 8 bits, in the order of kernels.h, or 4 bits, two of them in a byte. In packed
 * weights two words of a block share one, the first in the lower half of each byte:
 *
 *     block of four, of 16 bytes: word 0 | word 2 << 4, word 1 | word 3 << 4
 *     block of two, of 8 bytes:   word 0 | word 1 << 4
 *
 * which makes (a0 a1) (b0 b1) (a2 a3) (b2 b3), (c0 c1) (d0 d1) (c2 c3) (d2 d3) of four places of
 * channels a to d, the lower half first. Depthwise weights of 4 bits are packed as values are: the
 * output channels of each place of the kernel have whole bytes. Weights of 2 bits are stored in 4.
 *
 * "base" is what the kernel of int8 takes, in elements, not in bytes; its activation range lies in
 * the range of the output's type ([-8, 7] or [-2, 1]). Portable and DSP kernels only. */
#ifndef EDGEKIT_KERNELS_PACKED_H_
#define EDGEKIT_KERNELS_PACKED_H_

#include "edgekit/kernels.h"

typedef struct ek_conv2d_packed_params {
    ek_conv2d_s8_params base;
    int32_t input_bits;
    int32_t output_bits;
    int32_t weight_bits; /* 8 or 4 */
} ek_conv2d_packed_params;

/* In place as ek_conv2d_s8, where also the bytes of a pixel are the same; scratch memory then has
 * the bytes of both functions. In place: (kept rows of ek_conv2d_s8) * input width * bytes of a
 * pixel.
 *
 * Portable kernels unpack some pixels at a time and convolve them as bytes. Let D = groups * (the
 * depth of a group, filled up to a multiple of four), or the input channels where an int8 image is
 * read as it lies (a kernel of 1 by 1, strides of one, no padding). P = 512 / D, rounded down to a
 * multiple of four, at least 4 and at most 16. Scratch memory: that of ek_conv2d_s8 for P pixels of
 * D channels and a kernel of 1 by 1; P * D unless the image is read as it lies; P * output channels
 * unless the output has 8 bits.
 *
 * DSP kernels multiply values of 4 and 2 bits as numbers that are not negative: each is
 * 2**(input bits - 1) more than what is stored, and the bias of a channel is less by that times the
 * sum of its weights. Scratch memory: that of ek_conv2d_s8, and where the channels of a group are
 * whole fours of packed values 8 * depth. */
EK_KERNEL ek_status ek_conv2d_packed(const ek_conv2d_packed_params *params, const void *input,
                                     void *scratch, void *output);
EK_KERNEL size_t ek_conv2d_packed_scratch_bytes(const ek_conv2d_packed_params *params);
EK_KERNEL size_t ek_conv2d_packed_in_place_bytes(const ek_conv2d_packed_params *params);

/* In place where the output has the input's shape and its pixels the same bytes.
 *
 * Four channels are convolved at a time. K = kernel height * kernel width, M = output channels /
 * input channels. Scratch memory of DSP kernels: that of ek_depthwise_conv2d_s8, then 4 * M times
 * the sum of K and the output width rounded up to a multiple of four. Portable kernels take C
 * channels (4: fewer if there are not as many) of a band of rows. B = the least of 8 and the
 * output's height; R = the least of the input's height and
 * (B - 1) * stride + (kernel height - 1) * dilation + 1. Scratch memory: that of
 * ek_depthwise_conv2d_s8 for R rows in and B rows out of C channels, rounded up to a multiple of
 * four; then K * C * M; R * input width * C; B * output width * C * M. */
EK_KERNEL ek_status ek_depthwise_conv2d_packed(const ek_conv2d_packed_params *params,
                                               const void *input, void *scratch, void *output);
EK_KERNEL size_t ek_depthwise_conv2d_packed_scratch_bytes(const ek_conv2d_packed_params *params);

/* As ek_fully_connected_s8: values of int8, weights of 4 bits. A row has less than 2**17 places. */
EK_KERNEL ek_status ek_fully_connected_packed(const ek_fully_connected_s8_params *params,
                                              const int8_t *input, int8_t *output);

typedef struct ek_pool2d_packed_params {
    ek_pool2d_s8_params base;
    int32_t value_bits; /* 4 or 2, of input and output */
} ek_pool2d_packed_params;

EK_KERNEL ek_status ek_average_pool2d_packed(const ek_pool2d_packed_params *params,
                                             const void *input, void *output);
EK_KERNEL ek_status ek_max_pool2d_packed(const ek_pool2d_packed_params *params, const void *input,
                                         void *output);

/* Both operands have the output's shape, pixels by channels; dims and strides of "base" are not
 * read. In place over an operand whose pixels have as many bytes as the output's. */
typedef struct ek_add_packed_params {
    ek_binary_s8_params base;
    int32_t pixels;
    int32_t channels;
    int32_t first_bits;
    int32_t second_bits;
    int32_t output_bits;
} ek_add_packed_params;

EK_KERNEL ek_status ek_add_packed(const ek_add_packed_params *params, const void *first,
                                  const void *second, void *output);

/* Any function of one value, other bits among them: table[x + 2**(input bits - 1)], whose
 * 2**input_bits results lie in the range of the output. In place where pixels have the same bytes.
 */
typedef struct ek_lookup_packed_params {
    int32_t pixels;
    int32_t channels;
    int32_t input_bits;
    int32_t output_bits;
    const int8_t *table;
} ek_lookup_packed_params;

EK_KERNEL ek_status ek_lookup_packed(const ek_lookup_packed_params *params, const void *input,
                                     void *output);

/* The sum over the pixels of an image, channel by channel, rescaled to int8. */
typedef struct ek_reduce_sum_packed_params {
    int32_t batches;
    int32_t pixels;
    int32_t channels;
    int32_t input_bits; /* 4 or 2 */
    int32_t bias;       /* minus the input's zero point times the number of pixels */
    int32_t multiplier;
    int32_t shift;
    int32_t output_zero_point;
} ek_reduce_sum_packed_params;

EK_KERNEL ek_status ek_reduce_sum_packed(const ek_reduce_sum_packed_params *params,
                                         const void *input, int8_t *output);

#endif
