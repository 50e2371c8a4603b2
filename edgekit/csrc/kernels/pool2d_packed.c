#include "packed_values.h"
#include "plane.h"
#include "pool_window.h"

/* The window of one pixel is unpacked, some channels at a time, and pooled as an image. */
enum { CHANNELS = 16 };

/* Unpacks the taps of a window that lie inside the image. */
static void unpack_window(const ek_pool2d_packed_params *params, const uint8_t *image,
                          const ek_window *at, int32_t first, int32_t channels, int8_t *to) {
    const ek_pool2d_s8_params *base = &params->base;
    const int32_t step = ek_values_bytes(base->channels, params->input_bits);
    image += ek_values_bytes(first, params->input_bits);
    for (int32_t row = at->first_row; row < at->end_row; row++) {
        const int32_t line = (at->top + row * base->dilation_height) * base->input_width;
        for (int32_t column = at->first_column; column < at->end_column; column++) {
            const int32_t pixel = line + at->left + column * base->dilation_width;
            ek_unpack(image + pixel * step, params->input_bits, channels, to);
            to += channels;
        }
    }
}

typedef ek_status pooling(const ek_pool2d_s8_params *, const int8_t *, int8_t *);

/* One image. */
EK_INLINED void pool(const ek_pool2d_packed_params *params, const uint8_t *image, int8_t *scratch,
                     uint8_t *output, pooling *reduce) {
    const ek_pool2d_s8_params *base = &params->base;
    const int32_t most = ek_least(CHANNELS, base->channels);
    int8_t *results = scratch + base->kernel_height * base->kernel_width * most;
    ek_pool2d_s8_params window = *base;
    window.batches = window.output_height = window.output_width = 1;
    window.stride_height = window.stride_width = 1;
    window.dilation_height = window.dilation_width = 1;
    window.pad_top = window.pad_left = 0;
    for (int32_t y = 0; y < base->output_height; y++) {
        for (int32_t x = 0; x < base->output_width; x++) {
            const ek_window at = ek_window_at(base, y, x);
            window.input_height = window.kernel_height = at.end_row - at.first_row;
            window.input_width = window.kernel_width = at.end_column - at.first_column;
            for (int32_t first = 0; first < base->channels; first += most) {
                window.channels = ek_least(most, base->channels - first);
                unpack_window(params, image, &at, first, window.channels, scratch);
                (void)reduce(&window, scratch, results);
                ek_pack(results, window.channels, params->output_bits,
                        output + ek_values_bytes(first, params->output_bits));
            }
            output += ek_values_bytes(base->channels, params->output_bits);
        }
    }
}

EK_INLINED ek_status pool_all(const ek_pool2d_packed_params *params, const void *input,
                              void *scratch, void *output, pooling *reduce) {
    const ek_pool2d_s8_params *base = &params->base;
    const uint8_t *from = input;
    uint8_t *to = output;
    for (int32_t batch = 0; batch < base->batches; batch++) {
        pool(params, from, scratch, to, reduce);
        from += base->input_height * base->input_width *
                ek_values_bytes(base->channels, params->input_bits);
        to += base->output_height * base->output_width *
              ek_values_bytes(base->channels, params->output_bits);
    }
    return EK_STATUS_OK;
}

static size_t pool_bytes(const ek_pool2d_s8_params *base) {
    return (size_t)((base->kernel_height * base->kernel_width + 1) *
                    ek_least(CHANNELS, base->channels));
}

ek_status ek_average_pool2d_packed(const ek_pool2d_packed_params *params, const void *input,
                                   void *scratch, void *output) {
    return pool_all(params, input, scratch, output, ek_average_pool2d_s8);
}

size_t ek_average_pool2d_packed_scratch_bytes(const ek_pool2d_packed_params *params) {
    return pool_bytes(&params->base);
}

ek_status ek_max_pool2d_packed(const ek_pool2d_packed_params *params, const void *input,
                               void *scratch, void *output) {
    return pool_all(params, input, scratch, output, ek_max_pool2d_s8);
}

size_t ek_max_pool2d_packed_scratch_bytes(const ek_pool2d_packed_params *params) {
    return pool_bytes(&params->base);
}
