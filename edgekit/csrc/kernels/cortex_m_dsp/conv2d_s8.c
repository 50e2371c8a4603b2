#include <string.h>

#include "packed.h"
#include "patch_products.h"

/* Up to four channels for two pixels, whose outputs may be the same. */
static const int8_t *multiply_pixels(const int8_t *weights, const int32_t *channel, int32_t width,
                                     const uint32_t *pairs, int32_t fours,
                                     const ek_output_stage *stage, int8_t *first, int8_t *second) {
    int32_t sums[8];
    for (int32_t i = 0; i < 4; i++) {
        sums[i] = sums[4 + i] = i < width ? channel[i * EK_CHANNEL_FIELDS] : 0;
    }
    if (width > 2) {
        weights = ek_multiply_4x2(weights, pairs, fours, sums);
    } else {
        ek_multiply_2x2(weights, pairs, fours, sums);
    }
    for (int32_t i = 0; i < width; i++) {
        first[i] = ek_finish_dsp(sums[i], channel[1], channel[2], stage);
        second[i] = ek_finish_dsp(sums[4 + i], channel[1], channel[2], stage);
        channel += EK_CHANNEL_FIELDS;
    }
    return weights;
}
/* Blocks of four channels for four pixels; outputs of a channel are `step` apart. */
static const int8_t *multiply_blocks(const int8_t *weights, const int32_t *channel, int32_t blocks,
                                     const uint32_t *const patches, int32_t fours,
                                     const ek_output_stage *stage, int32_t is_usual, int8_t *output,
                                     int32_t step) {
    const uint32_t *const end = patches + EK_PAIRS * fours;
    for (int32_t half = 0; half < 2 * blocks; half++) {
        const uint32_t *pairs = patches;
        int32_t a0 = channel[0], a1 = a0, a2 = a0, a3 = a0;
        int32_t b0 = channel[EK_CHANNEL_FIELDS], b1 = b0, b2 = b0, b3 = b0;
        EK_MULTIPLY_2X4(EK_BYTES_2X4);
        /* The other two channels of the block lie four bytes behind the first two. */
        weights += (half & 1) ? -4 : 4 - 16 * fours;
        ek_finish_4(is_usual, a0, a1, a2, a3, channel + 1, stage, output, step);
        channel += EK_CHANNEL_FIELDS;
        ek_finish_4(is_usual, b0, b1, b2, b3, channel + 1, stage, output + 1, step);
        channel += EK_CHANNEL_FIELDS;
        output += 2;
    }
    return weights;
}

/* All channels of a group for four pixels, or for the last of an image, which are fewer. */
static void multiply_patches(const int8_t *weights, const int32_t *channel, int32_t count,
                             const uint32_t *pairs, int32_t fours, const ek_output_stage *stage,
                             int32_t is_usual, int8_t *output, int32_t step, int32_t pixels) {
    if (pixels == EK_PATCHES) {
        const int32_t blocks = count / 4;
        weights =
            multiply_blocks(weights, channel, blocks, pairs, fours, stage, is_usual, output, step);
        channel += 4 * blocks * EK_CHANNEL_FIELDS;
        output += 4 * blocks;
        count &= 3;
    }
    while (count > 0) {
        const int32_t width = count < 4 ? count : 4;
        const int8_t *start = weights;
        for (int32_t i = 0; i < pixels; i += 2) {
            int8_t *first = output + i * step;
            weights = multiply_pixels(start, channel, width, pairs + i, fours, stage, first,
                                      i + 1 < pixels ? first + step : first);
        }
        channel += width * EK_CHANNEL_FIELDS;
        output += width;
        count -= width;
    }
}
/* One group of channels of one image. */
static void convolve(const ek_conv2d_s8_params *params, const int8_t *image, int32_t group,
                     void *scratch, int8_t *output) {
    const int32_t inputs = params->input_channels / params->groups;
    const int32_t outputs = params->output_channels / params->groups;
    const int32_t depth = params->kernel_height * params->kernel_width * inputs;
    const int32_t fours = (depth + 3) / 4;
    const int32_t count = params->output_height * params->output_width;
    const int8_t *weights = params->weights + group * ek_packed_bytes(outputs, depth);
    const int32_t *channels = params->channels + group * outputs * EK_CHANNEL_FIELDS;
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    const int32_t is_usual = ek_is_usual(&stage, channels + 1, EK_CHANNEL_FIELDS, outputs);
    uint32_t *pairs = scratch;
    int8_t *collected = (int8_t *)(pairs + EK_PAIRS * fours);
    int8_t *ring = collected + 4 * fours;
    const ek_rows rows = ek_rows_of(params, image, ring, image == output);
    ek_source from = ek_source_of(params, group, &rows);
    if (!from.is_pixel) {
        memset(collected, 0, (size_t)(4 * fours));
    }
    ek_place at = {0, 0};
    output += group * outputs;
    for (int32_t pixel = 0; pixel < count; pixel += EK_PATCHES) {
        const int32_t pixels = count - pixel < EK_PATCHES ? count - pixel : EK_PATCHES;
        at = ek_read_block(params, &from, at, pixels, pairs, collected);
        multiply_patches(weights, channels, outputs, pairs, fours, &stage, is_usual, output,
                         params->output_channels, pixels);
        output += EK_PATCHES * params->output_channels;
    }
}

ek_status ek_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input, void *scratch,
                       int8_t *output) {
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t group = 0; group < params->groups; group++) {
            convolve(params, input, group, scratch, output);
        }
        input += params->input_height * params->input_width * params->input_channels;
        output += params->output_height * params->output_width * params->output_channels;
    }
    return EK_STATUS_OK;
}

/* Four patches in 16 bits, and one in bytes where it is collected first. */
size_t ek_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params) {
    const ek_rows rows = {0};
    const ek_source from = ek_source_of(params, 0, &rows);
    const int32_t depth = params->kernel_height * params->kernel_width * from.channels;
    return (size_t)((from.is_pixel ? 2 * EK_PATCHES : 2 * EK_PATCHES + 1) * ((depth + 3) & ~3));
}
