/* What the windows of four output pixels reach in an image of int8, as it is multiplied. */
#ifndef EDGEKIT_KERNELS_PATCHES_H
#define EDGEKIT_KERNELS_PATCHES_H

#include "dsp.h"
#include "rows.h"

/* Patches of four output pixels, widened to 16 bits. For every four places of the depth 0 to 3
 * there are eight pairs: 0 2 of each pixel, then 1 3 of each pixel. */
enum { EK_PATCHES = 4, EK_PAIRS = 2 * EK_PATCHES };

/* Writes bytes, a multiple of four, to the pairs of one pixel. */
static void ek_widen(uint32_t *pairs, const int8_t *bytes, int32_t count) {
    for (const int8_t *end = bytes + count; bytes < end; bytes += 4) {
        const uint32_t word = ek_load(bytes);
        pairs[0] = ek_even(word);
        pairs[EK_PATCHES] = ek_odd(word);
        pairs += EK_PAIRS;
    }
}

/* Writes as many bytes of each of four pixels, which lie `step` apart; returns the pairs behind. */
static uint32_t *ek_widen_four(uint32_t *pairs, const int8_t *first, int32_t step, int32_t count) {
    const int8_t *second = first + step, *third = second + step, *fourth = third + step;
    for (const int8_t *end = first + count; first < end; first += 4) {
        const uint32_t a = ek_load(first), b = ek_load(second);
        const uint32_t c = ek_load(third), d = ek_load(fourth);
        second += 4, third += 4, fourth += 4;
        pairs = ek_store_two(pairs, ek_even(a), ek_even(b));
        pairs = ek_store_two(pairs, ek_even(c), ek_even(d));
        pairs = ek_store_two(pairs, ek_odd(a), ek_odd(b));
        pairs = ek_store_two(pairs, ek_odd(c), ek_odd(d));
    }
    return pairs;
}

static uint32_t *ek_fill_four(uint32_t *pairs, int32_t value, int32_t count) {
    const uint32_t pair = ek_pair(value, value);
    for (; count > 0; count--) {
        pairs = ek_store_two(pairs, pair, pair);
    }
    return pairs;
}

/* Copies bytes; what is left behind the last word overlaps it. */
static int8_t *ek_copy_patch(int8_t *to, const int8_t *bytes, int32_t count) {
    const int32_t last = count - 4;
    for (int32_t i = 0; i < last; i += 4) {
        ek_store(to + i, ek_load(bytes + i));
    }
    if (last >= 0) {
        ek_store(to + last, ek_load(bytes + last));
    } else {
        for (int32_t i = 0; i < count; i++) {
            to[i] = bytes[i];
        }
    }
    return to + count;
}

static int8_t *ek_fill_patch(int8_t *to, int32_t value, int32_t count) {
    while (count-- > 0) {
        *to++ = (int8_t)value;
    }
    return to;
}

/* A group of channels of an image, and what of the kernel lies over the image. */
typedef struct ek_source {
    ek_rows rows;
    int32_t first_channel;
    int32_t channels;
    int32_t is_joined; /* bytes under a row of the kernel lie in one piece */
    int32_t is_pixel;  /* the patch is words of one pixel */
} ek_source;

static ek_source ek_source_of(const ek_conv2d_s8_params *params, int32_t group,
                              const ek_rows *rows) {
    const int32_t channels = params->input_channels / params->groups;
    const int32_t is_narrow = params->kernel_width == 1;
    const int32_t is_inside =
        params->pad_top == 0 && params->pad_left == 0 &&
        (params->output_height - 1) * params->stride_height < params->input_height &&
        (params->output_width - 1) * params->stride_width < params->input_width;
    return (ek_source){
        .rows = *rows,
        .first_channel = group * channels,
        .channels = channels,
        .is_joined = is_narrow || (params->dilation_width == 1 && params->groups == 1),
        .is_pixel = is_narrow && params->kernel_height == 1 && (channels & 3) == 0 && is_inside,
    };
}

/* Reads the patches of four pixels side by side, if nothing of them lies left or right of the image
 * and they consist of words. Returns whether they do. */
static int32_t ek_read_four(const ek_conv2d_s8_params *params, const ek_source *from, int32_t y,
                            int32_t x, uint32_t *pairs) {
    const int32_t left = x * params->stride_width - params->pad_left;
    const int32_t span = (EK_PATCHES - 1) * params->stride_width + params->kernel_width;
    if (!from->is_joined || (from->channels & 3) || x + EK_PATCHES > params->output_width ||
        left < 0 || left + span > params->input_width) {
        return 0;
    }
    const int32_t step = params->stride_width * params->input_channels;
    const int32_t count = params->kernel_width * from->channels;
    const int32_t offset = left * params->input_channels + from->first_channel;
    int32_t line = y * params->stride_height - params->pad_top;
    for (int32_t i = 0; i < params->kernel_height; i++) {
        if (line < 0 || line >= params->input_height) {
            pairs = ek_fill_four(pairs, params->input_zero_point, count);
        } else {
            pairs = ek_widen_four(pairs, ek_row(&from->rows, line) + offset, step, count);
        }
        line += params->dilation_height;
    }
    return 1;
}

/* Collects the bytes under one row of the kernel, of which columns [first, end) lie in the image.
 */
static int8_t *ek_collect_line(const ek_conv2d_s8_params *params, const ek_source *from,
                               int32_t line, int32_t left, int32_t first, int32_t end, int8_t *to) {
    const int32_t step = params->dilation_width * params->input_channels;
    const int8_t *bytes = ek_row(&from->rows, line) + left * params->input_channels + first * step +
                          from->first_channel;
    to = ek_fill_patch(to, params->input_zero_point, first * from->channels);
    if (from->is_joined) {
        to = ek_copy_patch(to, bytes, (end - first) * from->channels);
    } else {
        for (int32_t tap = first; tap < end; tap++) {
            to = ek_copy_patch(to, bytes, from->channels);
            bytes += step;
        }
    }
    return ek_fill_patch(to, params->input_zero_point,
                         (params->kernel_width - end) * from->channels);
}

/* Reads the patch of one pixel; `collected` is memory for its bytes, whose end is zero. */
static void ek_read_one(const ek_conv2d_s8_params *params, const ek_source *from, int32_t y,
                        int32_t x, uint32_t *pairs, int8_t *collected) {
    const int32_t left = x * params->stride_width - params->pad_left;
    int32_t line = y * params->stride_height - params->pad_top;
    if (from->is_pixel) {
        ek_widen(pairs,
                 ek_row(&from->rows, line) + left * params->input_channels + from->first_channel,
                 from->channels);
        return;
    }
    int32_t first = 0, end = params->kernel_width;
    while (first < end && left + first * params->dilation_width < 0) {
        first++;
    }
    while (end > first && left + (end - 1) * params->dilation_width >= params->input_width) {
        end--;
    }
    int8_t *to = collected;
    for (int32_t i = 0; i < params->kernel_height; i++) {
        if (line < 0 || line >= params->input_height) {
            to = ek_fill_patch(to, params->input_zero_point, params->kernel_width * from->channels);
        } else {
            to = ek_collect_line(params, from, line, left, first, end, to);
        }
        line += params->dilation_height;
    }
    ek_widen(pairs, collected, (int32_t)(to - collected + 3) & ~3);
}
/* An output pixel. */
typedef struct ek_place {
    int32_t y, x;
} ek_place;

static ek_place ek_place_behind(const ek_conv2d_s8_params *params, ek_place at, int32_t pixels) {
    at.x += pixels;
    if (at.x >= params->output_width) {
        return (ek_place){at.y + 1, 0};
    }
    return at;
}

/* Reads the patches of the next pixels, four or those that are left; returns the place behind. An
 * odd last pixel is read twice, because pixels are computed by two. */
static ek_place ek_read_block(const ek_conv2d_s8_params *params, ek_source *from, ek_place at,
                              int32_t pixels, uint32_t *pairs, int8_t *collected) {
    ek_keep_row(&from->rows, at.y);
    if (pixels == EK_PATCHES && ek_read_four(params, from, at.y, at.x, pairs)) {
        return ek_place_behind(params, at, EK_PATCHES);
    }
    for (int32_t i = 0; i < pixels; i++) {
        ek_keep_row(&from->rows, at.y);
        ek_read_one(params, from, at.y, at.x, pairs + i, collected);
        if (i + 1 == pixels && (pixels & 1)) {
            ek_read_one(params, from, at.y, at.x, pairs + pixels, collected);
        }
        at = ek_place_behind(params, at, 1);
    }
    return at;
}

#endif
