#include "dsp.h"
#include "packed.h"

/* Patches of two output pixels, widened to 16 bits. For every four places of the depth 0 to 3 there
 * are four pairs: 0 2 of the first pixel, 0 2 of the second, 1 3 of the first, 1 3 of the second.
 */
enum { PAIRS = 4 };

/* Writes bytes to the pairs of one pixel, from any place of the depth on. */
static void write_bytes(int16_t *patch, int32_t place, const int8_t *bytes, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        const int32_t at = place + i;
        patch[2 * PAIRS * (at >> 2) + 4 * (at & 1) + ((at >> 1) & 1)] = bytes[i];
    }
}

static void write_value(int16_t *patch, int32_t place, int32_t value, int32_t count) {
    const int8_t byte = (int8_t)value;
    for (int32_t i = 0; i < count; i++) {
        write_bytes(patch, place + i, &byte, 1);
    }
}

/* The same where place and count are multiples of four. */
static void write_words(int16_t *patch, int32_t place, const int8_t *bytes, int32_t count) {
    uint32_t *pairs = (uint32_t *)(void *)(patch + 2 * place);
    for (const int8_t *end = bytes + count; bytes < end; bytes += 4) {
        const uint32_t word = ek_load(bytes);
        pairs[0] = ek_even(word);
        pairs[2] = ek_odd(word);
        pairs += PAIRS;
    }
}

/* What a pixel's window covers. */
typedef struct source {
    const int8_t *image;
    int32_t first_channel;
    int32_t channels;
} source;

/* Reads the patch of an output pixel; beyond the image lies the zero point. */
static void read_patch(const ek_conv2d_s8_params *params, const source *from, int32_t y, int32_t x,
                       int16_t *patch) {
    const int32_t top = y * params->stride_height - params->pad_top;
    const int32_t left = x * params->stride_width - params->pad_left;
    int32_t place = 0;
    for (int32_t i = 0; i < params->kernel_height; i++) {
        const int32_t line = top + i * params->dilation_height;
        for (int32_t j = 0; j < params->kernel_width; j++) {
            const int32_t column = left + j * params->dilation_width;
            if (line < 0 || line >= params->input_height || column < 0 ||
                column >= params->input_width) {
                write_value(patch, place, params->input_zero_point, from->channels);
            } else {
                const int32_t pixel = line * params->input_width + column;
                const int8_t *bytes =
                    from->image + pixel * params->input_channels + from->first_channel;
                if (from->channels & 3) {
                    write_bytes(patch, place, bytes, from->channels);
                } else {
                    write_words(patch, place, bytes, from->channels);
                }
            }
            place += from->channels;
        }
    }
    write_value(patch, place, 0, -place & 3);
}

/* Two places of the depth: two channels by two pixels. */
#define EK_PAIR_STEP(WORD, A, B, C, D)                                                             \
    do {                                                                                           \
        const uint32_t even = ek_even(WORD);                                                       \
        const uint32_t odd = ek_odd(WORD);                                                         \
        A = ek_dot(even, x, A), C = ek_dot(even, y, C);                                            \
        B = ek_dot(odd, x, B), D = ek_dot(odd, y, D);                                              \
    } while (0)

/* Adds four channels times two pixels; returns the weights behind. */
static const int8_t *multiply_4x2(const int8_t *weights, const uint32_t *pairs, int32_t fours,
                                  int32_t sums[8]) {
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    int32_t e = sums[4], f = sums[5], g = sums[6], h = sums[7];
    for (const uint32_t *end = pairs + PAIRS * fours; pairs < end; pairs += PAIRS) {
        uint32_t x = pairs[0], y = pairs[1];
        EK_PAIR_STEP(ek_load(weights), a, b, e, f);
        EK_PAIR_STEP(ek_load(weights + 4), c, d, g, h);
        x = pairs[2], y = pairs[3];
        EK_PAIR_STEP(ek_load(weights + 8), a, b, e, f);
        EK_PAIR_STEP(ek_load(weights + 12), c, d, g, h);
        weights += 16;
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
    sums[4] = e, sums[5] = f, sums[6] = g, sums[7] = h;
    return weights;
}

/* Adds two channels times two pixels. */
static void multiply_2x2(const int8_t *weights, const uint32_t *pairs, int32_t fours,
                         int32_t sums[8]) {
    int32_t a = sums[0], b = sums[1], e = sums[4], f = sums[5];
    for (const uint32_t *end = pairs + PAIRS * fours; pairs < end; pairs += PAIRS) {
        uint32_t x = pairs[0], y = pairs[1];
        EK_PAIR_STEP(ek_load(weights), a, b, e, f);
        x = pairs[2], y = pairs[3];
        EK_PAIR_STEP(ek_load(weights + 4), a, b, e, f);
        weights += 8;
    }
    sums[0] = a, sums[1] = b, sums[4] = e, sums[5] = f;
}

/* All channels of a group for two pixels; the outputs may be the same. */
static void multiply_patches(const int8_t *weights, const int32_t *channel, int32_t count,
                             const uint32_t *pairs, int32_t fours, const ek_output_stage *stage,
                             int8_t *first, int8_t *second) {
    while (count > 0) {
        const int32_t width = count < 4 ? count : 4;
        int32_t sums[8] = {0};
        for (int32_t i = 0; i < width; i++) {
            sums[i] = sums[4 + i] = channel[i * EK_CHANNEL_FIELDS];
        }
        if (width > 2) {
            weights = multiply_4x2(weights, pairs, fours, sums);
        } else {
            multiply_2x2(weights, pairs, fours, sums);
        }
        for (int32_t i = 0; i < width; i++) {
            *first++ = ek_finish_dsp(sums[i], channel[1], channel[2], stage);
            *second++ = ek_finish_dsp(sums[4 + i], channel[1], channel[2], stage);
            channel += EK_CHANNEL_FIELDS;
        }
        count -= width;
    }
}

ek_status ek_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input, void *scratch,
                       int8_t *output) {
    const int32_t pixels = params->output_height * params->output_width;
    const int32_t group_inputs = params->input_channels / params->groups;
    const int32_t group_outputs = params->output_channels / params->groups;
    const int32_t depth = params->kernel_height * params->kernel_width * group_inputs;
    const int32_t fours = (depth + 3) / 4;
    const int32_t weights_bytes = ek_packed_bytes(group_outputs, depth);
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    int16_t *patch = scratch;
    for (int32_t batch = 0; batch < params->batches; batch++) {
        int32_t y = 0, x = 0;
        for (int32_t pixel = 0; pixel < pixels; pixel += 2) {
            const int32_t is_pair = pixel + 1 < pixels;
            const int32_t is_next_row = x + 1 == params->output_width;
            const int32_t next_y = is_pair ? y + is_next_row : y;
            const int32_t next_x = is_pair ? (is_next_row ? 0 : x + 1) : x;
            for (int32_t group = 0; group < params->groups; group++) {
                const source from = {input, group * group_inputs, group_inputs};
                read_patch(params, &from, y, x, patch);
                read_patch(params, &from, next_y, next_x, patch + 2);
                int8_t *target = output + pixel * params->output_channels + group * group_outputs;
                multiply_patches(params->weights + group * weights_bytes,
                                 params->channels + group * group_outputs * EK_CHANNEL_FIELDS,
                                 group_outputs, scratch, fours, &stage, target,
                                 target + is_pair * params->output_channels);
            }
            x = next_x + 1 == params->output_width ? 0 : next_x + 1;
            y = x == 0 ? next_y + 1 : next_y;
        }
        input += params->input_height * params->input_width * params->input_channels;
        output += pixels * params->output_channels;
    }
    return EK_STATUS_OK;
}

/* Two patches in 16 bits. */
size_t ek_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params) {
    const int32_t depth =
        params->kernel_height * params->kernel_width * (params->input_channels / params->groups);
    return 4u * (size_t)((depth + 3) & ~3);
}
