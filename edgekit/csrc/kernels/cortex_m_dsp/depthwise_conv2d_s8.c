#include "dsp.h"
#include "plane.h"

/* Four channels at a time are convolved, row by row. The rows of the image that a window reaches
 * are kept in 16 bits, each channel's apart: a ring of as many rows as a window is high. Since
 * every row is read before the output's row of that place is written, the output may lie on the
 * input. */
enum { CHANNELS = 4 };

typedef struct ring {
    int16_t *rows;
    int32_t pitch;  /* elements of a row of one channel: windows of whole fours, an even number */
    int32_t places; /* rows of the image */
    int32_t end;    /* rows of the plane up to here have been read */
    int32_t newest; /* place of the last of them */
} ring;

static int32_t pitch_of(const ek_conv2d_s8_params *params) {
    const int32_t outputs = (params->output_width + 3) & ~3;
    const int32_t width = (outputs - 1) * params->stride_width +
                          (params->kernel_width - 1) * params->dilation_width + 1;
    return (width + 1) & ~1;
}

static int32_t places_of(const ek_conv2d_s8_params *params) {
    return (params->kernel_height - 1) * params->dilation_height + 1;
}

/* The rows of all four channels at a place. */
static int16_t *rows_at(const ring *kept, int32_t place) {
    return kept->rows + place * CHANNELS * kept->pitch;
}

static void fill(int16_t *to, int32_t value, int32_t pairs) {
    const uint32_t pair = ek_pair(value, value);
    for (int32_t i = 0; i < pairs; i++) {
        ek_store(to + 2 * i, pair);
    }
}

/* Copies one row of `channels` channels; two pixels of four channels at once. */
static void copy_row(const int8_t *from, int32_t step, int32_t channels, int32_t count, int16_t *to,
                     int32_t pitch) {
    if (channels == CHANNELS) {
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

/* Reads rows of the plane until all that windows of row `y` of the output reach are there. */
static void read_rows(const ek_conv2d_s8_params *params, const ek_inside *inside,
                      const int8_t *from, int32_t channels, int32_t y, ring *kept) {
    const int32_t end = y * params->stride_height + kept->places;
    if (kept->end < end - kept->places) {
        kept->end = end - kept->places;
    }
    for (; kept->end < end; kept->end++) {
        kept->newest = kept->newest + 1 < kept->places ? kept->newest + 1 : 0;
        int16_t *to = rows_at(kept, kept->newest);
        if (kept->end < inside->top || kept->end >= inside->bottom) {
            fill(to, params->input_zero_point, CHANNELS / 2 * kept->pitch);
            continue;
        }
        const int32_t line = (kept->end - params->pad_top) * params->input_width;
        copy_row(from + line * params->input_channels, params->input_channels, channels,
                 inside->right - inside->left, to + inside->left, kept->pitch);
    }
}

/* The row of one channel that is `back` rows above the newest. */
static const void *row_of(const ring *kept, int32_t back, int32_t channel) {
    const int32_t place = kept->newest - back;
    return rows_at(kept, place < 0 ? place + kept->places : place) + channel * kept->pitch;
}

/* One row of one output channel, by any kernel. */
static void convolve_row(const ek_conv2d_s8_params *params, const ring *kept, int32_t channel,
                         int32_t out_channel, int8_t *output) {
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    const int32_t *factor = params->channels + out_channel * EK_CHANNEL_FIELDS;
    for (int32_t x = 0; x < params->output_width; x++) {
        const int8_t *weight = params->weights + out_channel;
        int32_t sum = factor[0];
        for (int32_t i = 0; i < params->kernel_height; i++) {
            const int32_t back = kept->places - 1 - i * params->dilation_height;
            const int16_t *tap = row_of(kept, back, channel);
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
typedef struct kernel_3x3 {
    uint32_t pairs[6];
    int32_t bias;
    int32_t multiplier;
    int32_t half;
    int32_t shift;
} kernel_3x3;

static void read_kernel(const ek_conv2d_s8_params *params, int32_t channel,
                        const ek_output_stage *stage, kernel_3x3 *kernel) {
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
    kernel->half = ek_half_of(stage, -factor[2]);
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

static inline int8_t finish(int32_t sum, const kernel_3x3 *kernel) {
    return (int8_t)ek_round(ek_high(sum, kernel->multiplier), kernel->half, kernel->shift);
}

/* One row of some channels by kernels of 3 by 3, with the short rescaling to all of int8. Sums are
 * computed by four, whether or not as many outputs are left. */
static void convolve_row_3x3(const ek_conv2d_s8_params *params, const kernel_3x3 *kernel,
                             int32_t channels, const uint32_t *top, const uint32_t *middle,
                             const uint32_t *bottom, int8_t *output) {
    const int32_t step = params->output_channels;
    for (; channels > 0; channels--) {
        int8_t *to = output++;
        for (int32_t left = params->output_width; left > 0; left -= 4) {
            int32_t a, b, c, d;
            if (params->stride_width == 1) {
                EK_FOUR_OUTPUTS(EK_ROW_BY_ONE);
            } else {
                EK_FOUR_OUTPUTS(EK_ROW_BY_TWO);
            }
            to[0] = finish(a, kernel);
            if (left >= 4) {
                to[step] = finish(b, kernel);
                to[2 * step] = finish(c, kernel);
                to[3 * step] = finish(d, kernel);
                to += 4 * step;
                continue;
            }
            if (left > 1) {
                to[step] = finish(b, kernel);
            }
            if (left > 2) {
                to[2 * step] = finish(c, kernel);
            }
        }
        /* Windows are a pair wider than what four outputs are apart. */
        top++, middle++, bottom++, kernel++;
    }
}

/* All rows of `channels` channels from `first` on. */
static void convolve_channels(const ek_conv2d_s8_params *params, const ek_inside *inside,
                              const int8_t *input, int32_t first, int32_t channels, ring *kept,
                              int8_t *output) {
    const int32_t multiplier = params->output_channels / params->input_channels;
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    const int32_t is_usual = ek_is_3x3(params) && multiplier == 1 && params->stride_width <= 2 &&
                             ek_is_usual(&stage, params->channels + first * EK_CHANNEL_FIELDS + 1,
                                         EK_CHANNEL_FIELDS, channels);
    kernel_3x3 kernels[CHANNELS];
    for (int32_t i = 0; is_usual && i < channels; i++) {
        read_kernel(params, first + i, &stage, &kernels[i]);
    }
    kept->end = 0;
    output += first * multiplier;
    for (int32_t y = 0; y < params->output_height; y++) {
        read_rows(params, inside, input + first, channels, y, kept);
        if (is_usual) {
            convolve_row_3x3(params, kernels, channels, row_of(kept, 2, 0), row_of(kept, 1, 0),
                             row_of(kept, 0, 0), output);
        } else {
            for (int32_t i = 0; i < channels * multiplier; i++) {
                convolve_row(params, kept, i / multiplier, first * multiplier + i, output + i);
            }
        }
        output += params->output_width * params->output_channels;
    }
}

ek_status ek_depthwise_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input,
                                 void *scratch, int8_t *output) {
    const ek_inside inside = ek_inside_of(params, ek_plane_height(params), ek_plane_width(params));
    ring kept = {.rows = scratch, .pitch = pitch_of(params), .places = places_of(params)};
    /* Padding at the sides is the same for all rows, and is not written again. */
    fill(kept.rows, params->input_zero_point, kept.places * CHANNELS / 2 * kept.pitch);
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t first = 0; first < params->input_channels; first += CHANNELS) {
            convolve_channels(params, &inside, input, first,
                              ek_least(params->input_channels - first, CHANNELS), &kept, output);
        }
        input += params->input_height * params->input_width * params->input_channels;
        output += params->output_height * params->output_width * params->output_channels;
    }
    return EK_STATUS_OK;
}

/* The ring: rows of four channels in 16 bits. */
size_t ek_depthwise_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params) {
    return 2u * CHANNELS * (size_t)(places_of(params) * pitch_of(params));
}
