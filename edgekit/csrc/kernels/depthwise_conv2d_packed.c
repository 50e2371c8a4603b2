#include <string.h>

#include "packed_values.h"
#include "plane.h"

/* Four channels of a band of rows are unpacked and convolved at a time. Rows that the next band
 * reaches too stay unpacked: every row is read once, before the output's row of that place is
 * written, so that the output may lie on the input. */
enum { CHANNELS = 4, BAND_ROWS = 8 };

/* Rows of a strip, and its convolution. */
typedef struct strip {
    ek_conv2d_s8_params block;
    int8_t *rows;
    int8_t *results;
    int32_t first; /* channel */
    int32_t begin; /* rows of the image that it holds */
    int32_t end;
} strip;

static int32_t reach_of(const ek_conv2d_s8_params *base) {
    return (base->kernel_height - 1) * base->dilation_height + 1;
}

static int32_t greatest(int32_t a, int32_t b) { return a > b ? a : b; }

/* The convolution of the most rows and channels that are taken at a time. */
static ek_conv2d_s8_params block_of(const ek_conv2d_packed_params *params) {
    ek_conv2d_s8_params block = params->base;
    const int32_t multiplier = block.output_channels / block.input_channels;
    block.batches = 1;
    block.input_channels = block.groups = ek_least(CHANNELS, block.input_channels);
    block.output_channels = block.input_channels * multiplier;
    block.output_height = ek_least(BAND_ROWS, block.output_height);
    block.input_height = ek_least(
        block.input_height, (block.output_height - 1) * block.stride_height + reach_of(&block));
    if (params->output_bits < 8) {
        /* Packing clamps; all of int8 is what sums are rescaled to fastest. */
        block.activation_min = -128;
        block.activation_max = 127;
    }
    return block;
}

static size_t kernel_bytes(const ek_conv2d_s8_params *block) {
    return (ek_depthwise_conv2d_s8_scratch_bytes(block) + 3) & ~(size_t)3;
}

/* Reads rows until the strip holds [begin, end) of the image; those before are let go. */
static void move_to(const ek_conv2d_packed_params *params, const uint8_t *image, strip *at,
                    int32_t begin, int32_t end) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t step = ek_values_bytes(base->input_channels, params->input_bits);
    const int32_t row_bytes = base->input_width * at->block.input_channels;
    const int32_t kept = greatest(at->end - begin, 0);
    if (kept > 0) {
        memmove(at->rows, at->rows + (begin - at->begin) * row_bytes, (size_t)(kept * row_bytes));
    }
    image += ek_values_bytes(at->first, params->input_bits);
    for (int32_t row = begin + kept; row < end; row++) {
        ek_unpack_apart(image + row * base->input_width * step, step, params->input_bits,
                        base->input_width, at->block.input_channels,
                        at->rows + (row - begin) * row_bytes);
    }
    at->begin = begin;
    at->end = greatest(end, begin + kept);
}

/* Packs results of `pixels` pixels. */
static void pack_results(const strip *at, const ek_conv2d_packed_params *params, int32_t pixels,
                         uint8_t *to) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t bits = params->output_bits, channels = at->block.output_channels;
    ek_clamp_values(at->results, pixels * channels, bits, base->activation_min,
                    base->activation_max);
    ek_pack_apart(at->results, channels, bits, pixels, to,
                  ek_values_bytes(base->output_channels, bits));
}

/* All rows of the strip's channels. */
static void convolve_channels(const ek_conv2d_packed_params *params, const uint8_t *image,
                              strip *at, int32_t band, void *scratch, uint8_t *output) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t row_bytes =
        base->output_width * ek_values_bytes(base->output_channels, params->output_bits);
    at->begin = at->end = 0;
    for (int32_t y = 0; y < base->output_height; y += band) {
        const int32_t rows = ek_least(band, base->output_height - y);
        const int32_t top = y * base->stride_height - base->pad_top;
        const int32_t span = (rows - 1) * base->stride_height + reach_of(base);
        const int32_t begin = ek_least(greatest(top, 0), base->input_height);
        const int32_t end = greatest(ek_least(top + span, base->input_height), begin);
        move_to(params, image, at, begin, end);
        at->block.input_height = end - begin;
        at->block.pad_top = begin - top;
        at->block.output_height = rows;
        (void)ek_depthwise_conv2d_s8(&at->block, at->rows, scratch, at->results);
        pack_results(at, params, rows * base->output_width, output + y * row_bytes);
    }
}

ek_status ek_depthwise_conv2d_packed(const ek_conv2d_packed_params *params, const void *input,
                                     void *scratch, void *output) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t multiplier = base->output_channels / base->input_channels;
    const int32_t taps = base->kernel_height * base->kernel_width;
    strip at = {.block = block_of(params)};
    const int32_t channels = at.block.input_channels, band = at.block.output_height;
    int8_t *weights = (int8_t *)scratch + kernel_bytes(&at.block);
    at.rows = weights + taps * at.block.output_channels;
    at.results = at.rows + at.block.input_height * base->input_width * channels;
    at.block.weights = weights;
    const uint8_t *from = input;
    uint8_t *to = output;
    for (int32_t batch = 0; batch < base->batches; batch++) {
        for (at.first = 0; at.first < base->input_channels; at.first += channels) {
            const int32_t first = at.first * multiplier;
            at.block.input_channels = ek_least(channels, base->input_channels - at.first);
            at.block.groups = at.block.input_channels;
            at.block.output_channels = at.block.input_channels * multiplier;
            at.block.channels = base->channels + first * EK_CHANNEL_FIELDS;
            ek_unpack_apart((const uint8_t *)base->weights +
                                ek_values_bytes(first, params->weight_bits),
                            ek_values_bytes(base->output_channels, params->weight_bits),
                            params->weight_bits, taps, at.block.output_channels, weights);
            convolve_channels(params, from, &at, band, scratch,
                              to + ek_values_bytes(first, params->output_bits));
        }
        from += base->input_height * base->input_width *
                ek_values_bytes(base->input_channels, params->input_bits);
        to += base->output_height * base->output_width *
              ek_values_bytes(base->output_channels, params->output_bits);
    }
    return EK_STATUS_OK;
}

size_t ek_depthwise_conv2d_packed_scratch_bytes(const ek_conv2d_packed_params *params) {
    const ek_conv2d_s8_params block = block_of(params);
    const int32_t weights = block.kernel_height * block.kernel_width * block.output_channels;
    const int32_t rows = block.input_height * block.input_width * block.input_channels;
    const int32_t results = block.output_height * block.output_width * block.output_channels;
    return kernel_bytes(&block) + (size_t)(weights + rows + results);
}
