#include "products.h"
#include "rows.h"

/* One group of input channels. */
typedef struct source {
    const ek_rows *rows;
    int32_t first_channel;
    int32_t channels;
} source;

static int32_t clamped(int32_t x, int32_t high) { return x < 0 ? 0 : (x < high ? x : high); }

/* Reads a window's row whose pixels lie side by side, of all channels, in three parts. */
static void read_dense_row(const ek_conv2d_s8_params *params, const int8_t *line, int32_t left,
                           int8_t *to) {
    const int32_t pixel_bytes = params->input_channels, taps = params->kernel_width;
    const int32_t first = clamped(-left, taps);
    const int32_t end = clamped(params->input_width - left, taps);
    if (end - first == taps) {
        ek_copy_bytes(to, line + left * pixel_bytes, taps * pixel_bytes);
        return;
    }
    ek_set_bytes(to, params->input_zero_point, taps * pixel_bytes);
    if (end > first) {
        ek_copy_bytes(to + first * pixel_bytes, line + (left + first) * pixel_bytes,
                      (end - first) * pixel_bytes);
    }
}

/* Reads a window's row pixel by pixel. */
static void read_row(const ek_conv2d_s8_params *params, const source *from, const int8_t *line,
                     int32_t left, int8_t *to) {
    for (int32_t tap = 0; tap < params->kernel_width; tap++) {
        const int32_t column = left + tap * params->dilation_width;
        if (column < 0 || column >= params->input_width) {
            ek_set_bytes(to, params->input_zero_point, from->channels);
        } else {
            ek_copy_bytes(to, line + column * params->input_channels + from->first_channel,
                          from->channels);
        }
        to += from->channels;
    }
}

/* Reads what lies under the window of an output pixel; beyond the image lies the zero point. */
static void read_patch(const ek_conv2d_s8_params *params, const source *from, int32_t y, int32_t x,
                       int8_t *to) {
    const int32_t top = y * params->stride_height - params->pad_top;
    const int32_t left = x * params->stride_width - params->pad_left;
    const int32_t row_bytes = params->kernel_width * from->channels;
    const int32_t is_dense = params->dilation_width == 1 && params->groups == 1;
    for (int32_t i = 0; i < params->kernel_height; i++) {
        const int32_t line = top + i * params->dilation_height;
        if (line < 0 || line >= params->input_height) {
            ek_set_bytes(to, params->input_zero_point, row_bytes);
        } else if (is_dense) {
            read_dense_row(params, ek_row(from->rows, line), left, to);
        } else {
            read_row(params, from, ek_row(from->rows, line), left, to);
        }
        to += row_bytes;
    }
}

/* The weights of a group, its rows of factors, and what is the same for all. */
typedef struct layer {
    const int8_t *weights;
    const int32_t *channels; /* blocks of four: biases, multipliers, shifts */
    int32_t count;
    int32_t depth;
    ek_output_stage stage;
} layer;

/* All channels of a group for two pixels; the outputs may be the same. */
static void multiply_patches(const layer *group, const int8_t *first, const int8_t *second,
                             int8_t *first_output, int8_t *second_output) {
    const int8_t *weights = group->weights;
    const int32_t *channel = group->channels;
    for (int32_t left = group->count; left > 0; left -= 4) {
        int32x4_t a, b;
        weights = ek_multiply_4x2(weights, first, second, group->depth, &a, &b);
        const int32x4_t bias = vldrwq_s32(channel), multiplier = vldrwq_s32(channel + 4);
        const int32x4_t shift = vldrwq_s32(channel + 8);
        const int32_t is_simple = group->stage.is_simple;
        a = ek_rescale4(vaddq_s32(a, bias), multiplier, shift, is_simple);
        b = ek_rescale4(vaddq_s32(b, bias), multiplier, shift, is_simple);
        a = ek_stored4(a, &group->stage);
        b = ek_stored4(b, &group->stage);
        if (left < 4) {
            vstrbq_p_s32(first_output, a, ek_words(left));
            vstrbq_p_s32(second_output, b, ek_words(left));
        } else {
            vstrbq_s32(first_output, a);
            vstrbq_s32(second_output, b);
        }
        first_output += 4;
        second_output += 4;
        channel += 4 * EK_CHANNEL_FIELDS;
    }
}

/* Whether outputs are made of the input's pixels as they lie, and never overwrite them. */
static int32_t reads_pixels(const ek_conv2d_s8_params *params) {
    return params->kernel_height == 1 && params->kernel_width == 1 && params->stride_height == 1 &&
           params->stride_width == 1 && params->groups == 1 &&
           params->input_height == params->output_height &&
           params->input_width == params->output_width &&
           params->input_channels != params->output_channels;
}

static void convolve_pixels(const ek_conv2d_s8_params *params, const layer *only,
                            const int8_t *input, int8_t *output) {
    const int32_t pixels = params->output_height * params->output_width;
    for (int32_t pixel = 0; pixel < pixels; pixel += 2) {
        const int32_t is_pair = pixel + 1 < pixels;
        multiply_patches(only, input, input + is_pair * params->input_channels, output,
                         output + is_pair * params->output_channels);
        input += 2 * params->input_channels;
        output += 2 * params->output_channels;
    }
}

static int32_t group_depth(const ek_conv2d_s8_params *params) {
    return params->kernel_height * params->kernel_width * (params->input_channels / params->groups);
}

/* What the outputs of one group are made with. */
static layer layer_of(const ek_conv2d_s8_params *params, int32_t group) {
    const int32_t count = params->output_channels / params->groups;
    const int32_t depth = group_depth(params), places = (count + 3) & ~3;
    return (layer){.weights = params->weights + group * ek_blocks_bytes(count, depth),
                   .channels = params->channels + group * places * EK_CHANNEL_FIELDS,
                   .count = count,
                   .depth = depth,
                   .stage = {params->output_zero_point, params->activation_min,
                             params->activation_max, params->simple_rescale}};
}

static void convolve_image(const ek_conv2d_s8_params *params, ek_rows *rows, int8_t *patches,
                           int8_t *output) {
    const int32_t pixels = params->output_height * params->output_width;
    int32_t y = 0, x = 0;
    for (int32_t pixel = 0; pixel < pixels; pixel += 2) {
        const int32_t is_pair = pixel + 1 < pixels;
        const int32_t is_next_row = x + 1 == params->output_width;
        const int32_t next_y = is_pair ? y + is_next_row : y;
        const int32_t next_x = is_pair ? (is_next_row ? 0 : x + 1) : x;
        for (int32_t group = 0; group < params->groups; group++) {
            const layer own = layer_of(params, group);
            const int32_t inputs = params->input_channels / params->groups;
            const source from = {rows, group * inputs, inputs};
            int8_t *second = patches + own.depth;
            ek_keep_row(rows, y);
            read_patch(params, &from, y, x, patches);
            ek_keep_row(rows, next_y);
            read_patch(params, &from, next_y, next_x, second);
            int8_t *target = output + group * own.count;
            multiply_patches(&own, patches, second, target,
                             target + is_pair * params->output_channels);
        }
        output += 2 * params->output_channels;
        x = next_x + 1 == params->output_width ? 0 : next_x + 1;
        y = x == 0 ? next_y + 1 : next_y;
    }
}

ek_status ek_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input, void *scratch,
                       int8_t *output) {
    int8_t *patches = scratch;
    int8_t *ring = patches + ek_conv2d_s8_scratch_bytes(params);
    const int32_t in_place = input == output;
    for (int32_t batch = 0; batch < params->batches; batch++) {
        if (reads_pixels(params)) {
            const layer only = layer_of(params, 0);
            convolve_pixels(params, &only, input, output);
        } else {
            ek_rows rows = ek_rows_of(params, input, ring, in_place);
            convolve_image(params, &rows, patches, output);
        }
        input += params->input_height * params->input_width * params->input_channels;
        output += params->output_height * params->output_width * params->output_channels;
    }
    return EK_STATUS_OK;
}

/* Patches of two pixels. */
size_t ek_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params) {
    return reads_pixels(params) ? 0 : (size_t)(2 * group_depth(params));
}
