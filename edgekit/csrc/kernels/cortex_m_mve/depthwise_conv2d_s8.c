#include "plane.h"
#include "products.h"

/* Channels are computed one by one from a plane: the channel with its padding.
 *
 * A kernel of 3 by 3 reads four rows of the plane at once, woven together column by column. Nine of
 * sixteen bytes that lie side by side are then a window, and twelve are two windows one below the
 * other, so that a product of vectors is an output. */

enum { VECTOR = 16, LARGEST_STEP = 65535 / 7 };

/* Copies one channel of the image into a plane whose padding is there. */
static void read_plane(const ek_conv2d_s8_params *params, const ek_inside *inside,
                       const int8_t *channel, int32_t width, int8_t *plane) {
    const int32_t step = params->input_channels, columns = inside->right - inside->left;
    const int32_t row_bytes = params->input_width * step;
    const int8_t *from = channel + (inside->top - params->pad_top) * row_bytes;
    int8_t *to = plane + inside->top * width + inside->left;
    for (int32_t rows = inside->bottom - inside->top; rows > 0; rows--) {
        if (step <= LARGEST_STEP) {
            ek_copy_strided(to, from, columns, step);
        } else {
            for (int32_t x = 0; x < columns; x++) {
                to[x] = from[x * step];
            }
        }
        from += row_bytes;
        to += width;
    }
}

/* How one output channel is stored. */
typedef struct target {
    int32_t bias;
    int32_t multiplier;
    int32_t shift;
    int32_t pixel_bytes;
    ek_output_stage stage;
} target;

static target target_of(const ek_conv2d_s8_params *params, int32_t channel) {
    const int32_t *row = params->channels + channel * EK_CHANNEL_FIELDS;
    return (target){row[0],
                    row[1],
                    row[2],
                    params->output_channels,
                    {params->output_zero_point, params->activation_min, params->activation_max,
                     params->simple_rescale}};
}

EK_INLINE int32x4_t finished(const target *to, int32x4_t sums) {
    const int32x4_t biased = vaddq_n_s32(sums, to->bias);
    if (to->stage.is_simple) {
        const int32x4_t high = vqrdmulhq_n_s32(biased, to->multiplier);
        const int32x4_t fixed = vaddq_s32(high, vshrq_n_s32(high, 31));
        return ek_stored4(vrshlq_n_s32(fixed, to->shift), &to->stage);
    }
    return ek_stored4(ek_rescale4_by(biased, to->multiplier, to->shift), &to->stage);
}

/* Weaves four rows, so that four bytes are a column. */
EK_INLINE void weave_rows(const int8_t *row, int32_t width, int8_t *woven) {
    for (int32_t x = 0; x < width; x += VECTOR) {
        const int8x16x4_t rows = {{vldrbq_s8(row), vldrbq_s8(row + width),
                                   vldrbq_s8(row + 2 * width), vldrbq_s8(row + 3 * width)}};
        vst4q_s8(woven, rows);
        row += VECTOR;
        woven += 4 * VECTOR;
    }
}

/* Four outputs beside each other. */
EK_INLINE int32x4_t windows_of(const int8_t *woven, int32_t step, int8x16_t weights) {
    const int32_t a = vmladavq_s8(vldrbq_s8(woven), weights);
    const int32_t b = vmladavq_s8(vldrbq_s8(woven + step), weights);
    const int32_t c = vmladavq_s8(vldrbq_s8(woven + 2 * step), weights);
    return ek_combine(a, b, c, vmladavq_s8(vldrbq_s8(woven + 3 * step), weights));
}

/* One row of outputs. */
EK_INLINE void convolve_row(const target *to, uint32x4_t at, const int8_t *woven, int32_t step,
                            int8x16_t weights, int32_t width, int8_t *output) {
    for (; width >= 4; width -= 4) {
        const int32x4_t sums = windows_of(woven, step, weights);
        vstrbq_scatter_offset_s32(output, at, finished(to, sums));
        woven += 4 * step;
        output += 4 * to->pixel_bytes;
    }
    if (width > 0) {
        const int32x4_t sums = windows_of(woven, step, weights);
        vstrbq_scatter_offset_p_s32(output, at, finished(to, sums), ek_words(width));
    }
}

/* A plane, what is read of it, and where its rows are woven. */
typedef struct source {
    const int8_t *plane;
    int8_t *woven;
    int32_t width;
    int32_t step;   /* bytes from one window to the next */
    int32_t stride; /* rows */
    int32_t columns;
    int32_t rows;
} source;

/* One output channel by a kernel of 3 by 3; with a stride of one, two rows of it at a time. Source
 * and target are copies, which nothing that is written can change. */
EK_INLINE void convolve_3x3(source from, const target to, int8x16_t weights, int8_t *output) {
    const int8x16_t below = ek_move_down(weights);
    const uint32x4_t at = ek_steps(to.pixel_bytes);
    const int32_t row_bytes = from.columns * to.pixel_bytes;
    const int32_t pair = from.stride == 1 ? 2 : 1;
    for (int32_t left = from.rows; left > 0; left -= pair) {
        weave_rows(from.plane, from.width, from.woven);
        convolve_row(&to, at, from.woven, from.step, weights, from.columns, output);
        if (pair == 2 && left > 1) {
            convolve_row(&to, at, from.woven, from.step, below, from.columns, output + row_bytes);
        }
        from.plane += pair * from.stride * from.width;
        output += pair * row_bytes;
    }
}

/* The same with what is the same in most layers known to the compiler. */
static void convolve_usual(source from, target to, int8x16_t weights, int8_t *output) {
    from.step = 4;
    from.stride = 1;
    to.stage.is_simple = 1;
    convolve_3x3(from, to, weights, output);
}

static void convolve_unusual(source from, target to, int8x16_t weights, int8_t *output) {
    convolve_3x3(from, to, weights, output);
}

static void convolve_plane_3x3(const ek_conv2d_s8_params *params, int8_t *plane, const target *to,
                               int8x16_t weights, int8_t *output) {
    const int32_t width = ek_plane_width(params);
    const source from = {.plane = plane,
                         .woven = plane + ek_plane_height(params) * width,
                         .width = width,
                         .step = 4 * params->stride_width,
                         .stride = params->stride_height,
                         .columns = params->output_width,
                         .rows = params->output_height};
    if (to->stage.is_simple && from.step == 4 && from.stride == 1) {
        convolve_usual(from, *to, weights, output);
    } else {
        convolve_unusual(from, *to, weights, output);
    }
}

/* A kernel's row without gaps, at most a vector wide: four outputs beside each other. */
static int32x4_t sum_rows(const ek_conv2d_s8_params *params, const int8_t *const corners[4],
                          int32_t width, const int8_t *weights) {
    const mve_pred16_t used = ek_bytes(params->kernel_width);
    const int32_t down = params->dilation_height * width;
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (int32_t row = 0, at = 0; row < params->kernel_height; row++, at += down) {
        const int8x16_t w = vldrbq_z_s8(weights, used);
        a = vmladavaq_s8(a, vldrbq_z_s8(corners[0] + at, used), w);
        b = vmladavaq_s8(b, vldrbq_z_s8(corners[1] + at, used), w);
        c = vmladavaq_s8(c, vldrbq_z_s8(corners[2] + at, used), w);
        d = vmladavaq_s8(d, vldrbq_z_s8(corners[3] + at, used), w);
        weights += params->kernel_width;
    }
    return ek_combine(a, b, c, d);
}

static int32_t sum_taps(const ek_conv2d_s8_params *params, const int8_t *corner, int32_t width,
                        const int8_t *weights) {
    int32_t sum = 0;
    for (int32_t row = 0; row < params->kernel_height; row++) {
        for (int32_t tap = 0; tap < params->kernel_width; tap++) {
            sum += corner[tap * params->dilation_width] * *weights++;
        }
        corner += params->dilation_height * width;
    }
    return sum;
}

/* One output channel by any kernel. */
static void convolve_plane(const ek_conv2d_s8_params *params, const int8_t *plane, int32_t width,
                           const target *to, const int8_t *weights, int8_t *output) {
    const int32_t is_dense = params->dilation_width == 1 && params->kernel_width <= VECTOR;
    for (int32_t y = 0; y < params->output_height; y++) {
        const int8_t *corner = plane + y * params->stride_height * width;
        for (int32_t left = params->output_width; left > 0; left -= 4) {
            const int8_t *corners[4];
            for (int32_t i = 0; i < 4; i++) {
                corners[i] = corner + (i < left ? i * params->stride_width : 0);
            }
            int32x4_t sums;
            if (is_dense) {
                sums = sum_rows(params, corners, width, weights);
            } else {
                sums = ek_combine(sum_taps(params, corners[0], width, weights),
                                  sum_taps(params, corners[1], width, weights),
                                  sum_taps(params, corners[2], width, weights),
                                  sum_taps(params, corners[3], width, weights));
            }
            vstrbq_scatter_offset_p_s32(output, ek_steps(to->pixel_bytes), finished(to, sums),
                                        ek_words(left));
            corner += 4 * params->stride_width;
            output += ek_least(left, 4) * params->output_channels;
        }
    }
}

/* All output channels of an input channel. */
static void convolve_channel(const ek_conv2d_s8_params *params, int32_t channel, int8_t *plane,
                             int8_t *output) {
    const int32_t width = ek_plane_width(params);
    const int32_t multiplier = params->output_channels / params->input_channels;
    for (int32_t i = 0; i < multiplier; i++) {
        const int32_t out_channel = channel * multiplier + i;
        const target to = target_of(params, out_channel);
        if (ek_is_3x3(params)) {
            const int8x16_t weights = vldrbq_z_s8(params->weights + 12 * out_channel, ek_bytes(12));
            convolve_plane_3x3(params, plane, &to, weights, output + out_channel);
        } else {
            const int32_t taps = params->kernel_height * params->kernel_width;
            convolve_plane(params, plane, width, &to, params->weights + taps * out_channel,
                           output + out_channel);
        }
    }
}

ek_status ek_depthwise_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input,
                                 void *scratch, int8_t *output) {
    const int32_t height = ek_plane_height(params), width = ek_plane_width(params);
    const ek_inside inside = ek_inside_of(params, height, width);
    ek_set_bytes(scratch, params->input_zero_point, height * width);
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t channel = 0; channel < params->input_channels; channel++) {
            read_plane(params, &inside, input + channel, width, scratch);
            convolve_channel(params, channel, scratch, output);
        }
        input += params->input_height * params->input_width * params->input_channels;
        output += params->output_height * params->output_width * params->output_channels;
    }
    return EK_STATUS_OK;
}

/* Rows are woven by whole vectors; four windows beside each other are read, whatever is stored. */
static int32_t woven_bytes(const ek_conv2d_s8_params *params) {
    const int32_t written = 4 * ((ek_plane_width(params) + VECTOR - 1) & ~(VECTOR - 1));
    const int32_t last = ((params->output_width + 3) & ~3) - 1;
    const int32_t read = 4 * params->stride_width * last + VECTOR;
    return written > read ? written : read;
}

/* A plane with its padding, and for a kernel of 3 by 3 four rows of it once more. */
size_t ek_depthwise_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params) {
    const int32_t plane_bytes = ek_plane_height(params) * ek_plane_width(params);
    return (size_t)(plane_bytes + (ek_is_3x3(params) ? woven_bytes(params) : 0));
}
