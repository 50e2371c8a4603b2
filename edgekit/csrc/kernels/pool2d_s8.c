#include "edgekit/kernels.h"
#include "fixed_point.h"

/* The taps of one window that lie inside the image. */
typedef struct window {
    int32_t top;
    int32_t left;
    int32_t first_row;
    int32_t end_row;
    int32_t first_column;
    int32_t end_column;
} window;

/* First and end of the taps along one axis that lie in [0, size). */
static void clip_taps(int32_t begin, int32_t taps, int32_t dilation, int32_t size, int32_t *first,
                      int32_t *end) {
    *first = begin < 0 ? (dilation - 1 - begin) / dilation : 0;
    const int32_t room = size - begin;
    const int32_t fitting = room <= 0 ? 0 : (room + dilation - 1) / dilation;
    *end = fitting < taps ? fitting : taps;
}

static window window_at(const ek_pool2d_s8_params *params, int32_t y, int32_t x) {
    window at = {.top = y * params->stride_height - params->pad_top,
                 .left = x * params->stride_width - params->pad_left};
    clip_taps(at.top, params->kernel_height, params->dilation_height, params->input_height,
              &at.first_row, &at.end_row);
    clip_taps(at.left, params->kernel_width, params->dilation_width, params->input_width,
              &at.first_column, &at.end_column);
    return at;
}

static const int8_t *tap_of(const ek_pool2d_s8_params *params, const int8_t *input,
                            const window *at, int32_t row, int32_t column) {
    const int32_t line = at->top + row * params->dilation_height;
    const int32_t pixel = line * params->input_width + at->left + column * params->dilation_width;
    return input + pixel * params->channels;
}

/* Sum over a window of one channel, divided with halves away from zero. */
static int32_t average(const ek_pool2d_s8_params *params, const int8_t *input, const window *at) {
    int32_t total = 0;
    for (int32_t row = at->first_row; row < at->end_row; row++) {
        for (int32_t column = at->first_column; column < at->end_column; column++) {
            total += *tap_of(params, input, at, row, column);
        }
    }
    const int32_t taps = (at->end_row - at->first_row) * (at->end_column - at->first_column);
    const int32_t count = taps > 0 ? taps : 1;
    return (total + (total < 0 ? -(count / 2) : count / 2)) / count;
}

static int32_t maximum(const ek_pool2d_s8_params *params, const int8_t *input, const window *at) {
    int32_t highest = -128;
    for (int32_t row = at->first_row; row < at->end_row; row++) {
        for (int32_t column = at->first_column; column < at->end_column; column++) {
            const int32_t x = *tap_of(params, input, at, row, column);
            highest = x > highest ? x : highest;
        }
    }
    return highest;
}

typedef int32_t reduction(const ek_pool2d_s8_params *, const int8_t *, const window *);

static void pool(const ek_pool2d_s8_params *params, const int8_t *input, int8_t *output,
                 reduction *reduce) {
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t y = 0; y < params->output_height; y++) {
            for (int32_t x = 0; x < params->output_width; x++) {
                const window at = window_at(params, y, x);
                for (int32_t channel = 0; channel < params->channels; channel++) {
                    const int32_t value = reduce(params, input + channel, &at);
                    *output++ =
                        (int8_t)ek_clamp(value, params->activation_min, params->activation_max);
                }
            }
        }
        input += params->input_height * params->input_width * params->channels;
    }
}

ek_status ek_average_pool2d_s8(const ek_pool2d_s8_params *params, const int8_t *input,
                               int8_t *output) {
    pool(params, input, output, average);
    return EK_STATUS_OK;
}

ek_status ek_max_pool2d_s8(const ek_pool2d_s8_params *params, const int8_t *input, int8_t *output) {
    pool(params, input, output, maximum);
    return EK_STATUS_OK;
}
