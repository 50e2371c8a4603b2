/* Depthwise convolutions: rows of four channels in 16 bits, and what is made of them.
 *
 * Four channels at a time are convolved, row by row. The rows of the image that a window reaches
 * are kept in 16 bits, each channel's apart: a ring of as many rows as a window is high. Since
 * every row is read before the output's row of that place is written, the output may lie on the
 * input. */
#ifndef EDGEKIT_KERNELS_DEPTHWISE_H
#define EDGEKIT_KERNELS_DEPTHWISE_H

#include "dsp.h"
#include "inlined.h"
#include "plane.h"

enum { EK_RING_CHANNELS = 4 };

typedef struct ek_ring {
    int16_t *rows;
    int32_t pitch;  /* elements of a row of one channel: windows of whole fours, an even number */
    int32_t places; /* rows of the image */
    int32_t end;    /* rows of the plane up to here have been read */
    int32_t newest; /* place of the last of them */
} ek_ring;

static inline int32_t ek_ring_pitch(const ek_conv2d_s8_params *params) {
    const int32_t outputs = (params->output_width + 3) & ~3;
    const int32_t width = (outputs - 1) * params->stride_width +
                          (params->kernel_width - 1) * params->dilation_width + 1;
    return (width + 1) & ~1;
}

static inline int32_t ek_ring_places(const ek_conv2d_s8_params *params) {
    return (params->kernel_height - 1) * params->dilation_height + 1;
}

static inline size_t ek_ring_bytes(const ek_conv2d_s8_params *params) {
    return 2u * EK_RING_CHANNELS * (size_t)(ek_ring_places(params) * ek_ring_pitch(params));
}

/* The rows of all four channels at a place. */
static inline int16_t *ek_ring_rows(const ek_ring *kept, int32_t place) {
    return kept->rows + place * EK_RING_CHANNELS * kept->pitch;
}

static inline void ek_ring_fill(int16_t *to, int32_t value, int32_t pairs) {
    const uint32_t pair = ek_pair(value, value);
    for (int32_t i = 0; i < pairs; i++) {
        ek_store(to + 2 * i, pair);
    }
}

/* A ring in scratch memory. Padding at the sides is the same for all rows, and is not written
 * again. */
static inline ek_ring ek_ring_of(const ek_conv2d_s8_params *params, int32_t padding,
                                 void *scratch) {
    const ek_ring kept = {
        .rows = scratch, .pitch = ek_ring_pitch(params), .places = ek_ring_places(params)};
    ek_ring_fill(kept.rows, padding, kept.places * EK_RING_CHANNELS / 2 * kept.pitch);
    return kept;
}

/* Makes room for one row more of the plane; returns where it goes. */
static inline int16_t *ek_ring_next(ek_ring *kept) {
    kept->newest = kept->newest + 1 < kept->places ? kept->newest + 1 : 0;
    return ek_ring_rows(kept, kept->newest);
}

/* Rows that row `y` of the output reaches end before this one; those before its first are passed
 * over. */
static inline int32_t ek_ring_move(const ek_conv2d_s8_params *params, int32_t y, ek_ring *kept) {
    const int32_t end = y * params->stride_height + kept->places;
    if (kept->end < end - kept->places) {
        kept->end = end - kept->places;
    }
    return end;
}

/* Copies one row of `channels` channels of int8; two pixels of four channels at once. */
static inline void ek_ring_copy(const int8_t *from, int32_t step, int32_t channels, int32_t count,
                                int16_t *to, int32_t pitch) {
    if (channels == EK_RING_CHANNELS) {
        int16_t *to_first = to, *to_third = to + 2 * pitch;
        for (; count > 1; count -= 2) {
            const uint32_t left = ek_load(from), right = ek_load(from + step);
            const uint32_t a = ek_even(left), b = ek_even(right);
            const uint32_t c = ek_odd(left), d = ek_odd(right);
            ek_store(to_first, ek_pack_low(a, b));
            ek_store(to_first + pitch, ek_pack_low(c, d));
            ek_store(to_third, ek_pack_high(a, b));
            ek_store(to_third + pitch, ek_pack_high(c, d));
            from += 2 * step;
            to_first += 2;
            to_third += 2;
        }
        to = to_first;
    }
    for (; count > 0; count--) {
        for (int32_t i = 0; i < channels; i++) {
            to[i * pitch] = from[i];
        }
        from += step;
        to++;
    }
}

/* The row of one channel that is `back` rows above the newest. */
static inline const void *ek_ring_row(const ek_ring *kept, int32_t back, int32_t channel) {
    const int32_t place = kept->newest - back;
    return ek_ring_rows(kept, place < 0 ? place + kept->places : place) + channel * kept->pitch;
}

/* One row of one output channel, by any kernel. */
static inline void ek_depthwise_row(const ek_conv2d_s8_params *params, const ek_ring *kept,
                                    int32_t channel, int32_t out_channel, int8_t *output) {
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    const int32_t *factor = params->channels + out_channel * EK_CHANNEL_FIELDS;
    for (int32_t x = 0; x < params->output_width; x++) {
        const int8_t *weight = params->weights + out_channel;
        int32_t sum = factor[0];
        for (int32_t i = 0; i < params->kernel_height; i++) {
            const int32_t back = kept->places - 1 - i * params->dilation_height;
            const int16_t *tap = ek_ring_row(kept, back, channel);
            tap += x * params->stride_width;
            for (int32_t j = 0; j < params->kernel_width; j++) {
                sum += *tap * *weight;
                tap += params->dilation_width;
                weight += params->output_channels;
            }
        }
        *output = ek_finish_dsp(sum, factor[1], factor[2], &stage);
        output += params->output_channels;
    }
}

/* A kernel of 3 by 3: of each row, the first two weights and the last two as pairs; then the bias
 * and the factor. */
typedef struct ek_kernel_3x3 {
    uint32_t pairs[6];
    int32_t bias;
    int32_t multiplier;
    int32_t half;
    int32_t shift;
} ek_kernel_3x3;

/* All of it but `half`. */
static inline void ek_read_kernel(const ek_conv2d_s8_params *params, int32_t channel,
                                  ek_kernel_3x3 *kernel) {
    const int8_t *weight = params->weights + channel;
    const int32_t *factor = params->channels + channel * EK_CHANNEL_FIELDS;
    const int32_t step = params->output_channels;
    for (int32_t row = 0; row < 3; row++) {
        const int32_t middle = weight[step];
        kernel->pairs[2 * row] = ek_pair(weight[0], middle);
        kernel->pairs[2 * row + 1] = ek_pair(middle, weight[2 * step]);
        weight += 3 * step;
    }
    kernel->bias = factor[0];
    kernel->multiplier = factor[1];
    kernel->shift = -factor[2];
}

/* A row of the kernel for four outputs, whose windows are one pixel apart. */
#define EK_ROW_BY_ONE(ROW, PAIRS, A, B, C, D)                                                      \
    do {                                                                                           \
        uint32_t first, last, x, y;                                                                \
        ek_load_two(PAIRS, &first, &last);                                                         \
        ROW = ek_next_two(ROW, &x, &y);                                                            \
        a = ek_dot(x, first, A), b = ek_mac_tb(x, first, B);                                       \
        c = ek_dot(y, first, C), d = ek_mac_tb(y, first, D);                                       \
        x = *ROW;                                                                                  \
        a = ek_mac_bt(y, last, a), b = ek_dot(y, last, b);                                         \
        c = ek_mac_bt(x, last, c), d = ek_dot(x, last, d);                                         \
    } while (0)

/* The same where they are two pixels apart. */
#define EK_ROW_BY_TWO(ROW, PAIRS, A, B, C, D)                                                      \
    do {                                                                                           \
        uint32_t first, last, x, y;                                                                \
        ek_load_two(PAIRS, &first, &last);                                                         \
        ROW = ek_next_two(ROW, &x, &y);                                                            \
        a = ek_mac_bt(y, last, ek_dot(x, first, A)), b = ek_dot(y, first, B);                      \
        ROW = ek_next_two(ROW, &x, &y);                                                            \
        b = ek_mac_bt(x, last, b);                                                                 \
        c = ek_mac_bt(y, last, ek_dot(x, first, C)), d = ek_dot(y, first, D);                      \
        x = *ROW;                                                                                  \
        d = ek_mac_bt(x, last, d);                                                                 \
    } while (0)

#define EK_FOUR_OUTPUTS(EK_ROW)                                                                    \
    do {                                                                                           \
        const int32_t bias = kernel->bias;                                                         \
        EK_ROW(top, kernel->pairs, bias, bias, bias, bias);                                        \
        EK_ROW(middle, kernel->pairs + 2, a, b, c, d);                                             \
        EK_ROW(bottom, kernel->pairs + 4, a, b, c, d);                                             \
    } while (0)

static inline int8_t ek_finish_3x3(int32_t sum, const ek_kernel_3x3 *kernel) {
    return (int8_t)ek_round(ek_high(sum, kernel->multiplier), kernel->half, kernel->shift);
}

#endif
