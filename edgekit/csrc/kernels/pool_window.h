/* Windows of pooling: their taps that lie inside the image. */
#ifndef EDGEKIT_KERNELS_POOL_WINDOW_H
#define EDGEKIT_KERNELS_POOL_WINDOW_H

#include "edgekit/kernels.h"

/* The taps of one window that lie inside the image. */
typedef struct ek_window {
    int32_t top;
    int32_t left;
    int32_t first_row;
    int32_t end_row;
    int32_t first_column;
    int32_t end_column;
} ek_window;

/* First and end of the taps along one axis that lie in [0, size). */
static inline void ek_clip_taps(int32_t begin, int32_t taps, int32_t dilation, int32_t size,
                                int32_t *first, int32_t *end) {
    *first = begin < 0 ? (dilation - 1 - begin) / dilation : 0;
    const int32_t room = size - begin;
    const int32_t fitting = room <= 0 ? 0 : (room + dilation - 1) / dilation;
    *end = fitting < taps ? fitting : taps;
}

static inline ek_window ek_window_at(const ek_pool2d_s8_params *params, int32_t y, int32_t x) {
    ek_window at = {.top = y * params->stride_height - params->pad_top,
                    .left = x * params->stride_width - params->pad_left};
    ek_clip_taps(at.top, params->kernel_height, params->dilation_height, params->input_height,
                 &at.first_row, &at.end_row);
    ek_clip_taps(at.left, params->kernel_width, params->dilation_width, params->input_width,
                 &at.first_column, &at.end_column);
    return at;
}

static inline const int8_t *ek_tap_of(const ek_pool2d_s8_params *params, const int8_t *input,
                                      const ek_window *at, int32_t row, int32_t column) {
    const int32_t line = at->top + row * params->dilation_height;
    const int32_t pixel = line * params->input_width + at->left + column * params->dilation_width;
    return input + pixel * params->channels;
}

/* How many taps the sum is divided by. */
static inline int32_t ek_taps_of(const ek_window *at) {
    const int32_t taps = (at->end_row - at->first_row) * (at->end_column - at->first_column);
    return taps > 0 ? taps : 1;
}

/* With halves away from zero. */
static inline int32_t ek_divided(int32_t total, int32_t count) {
    return (total + (total < 0 ? -(count / 2) : count / 2)) / count;
}

#endif
