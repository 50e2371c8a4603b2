#include "inlined.h"
#include "packed.h"
#include "packed_values.h"
#include "plane.h"
#include "rows.h"

/* Some pixels at a time are unpacked, each with all that its windows reach, and convolved as the
 * pixels of an image by a kernel of 1 by 1. Its weights are those that the kernel has. */
enum { PATCHES_BYTES = 512, MOST_PIXELS = 16 };

typedef struct image {
    ek_rows rows;
    int32_t pixel_bytes;
    int32_t channels;  /* of a group */
    int32_t is_joined; /* values under a row of the kernel lie in one piece */
} image;

static int32_t group_channels(const ek_conv2d_s8_params *params) {
    return params->input_channels / params->groups;
}

/* Whether each pixel is convolved alone, in the order in which they lie. */
static int32_t is_plain(const ek_conv2d_s8_params *base) {
    return base->kernel_height == 1 && base->kernel_width == 1 && base->pad_top == 0 &&
           base->pad_left == 0 && base->stride_height == 1 && base->stride_width == 1 &&
           base->input_height == base->output_height && base->input_width == base->output_width;
}

/* Whether pixels are convolved where they lie. */
static int32_t is_direct(const ek_conv2d_packed_params *params) {
    return params->input_bits == 8 && is_plain(&params->base);
}

/* Places of the depth of all groups; each group's are filled up to words, as its weights are. */
static int32_t depth_of(const ek_conv2d_packed_params *params) {
    const ek_conv2d_s8_params *base = &params->base;
    if (is_direct(params)) {
        return base->input_channels;
    }
    const int32_t depth = base->kernel_height * base->kernel_width * group_channels(base);
    return base->groups * ((depth + 3) & ~3);
}

/* The convolution of as many pixels as are unpacked at a time. */
static ek_conv2d_s8_params block_of(const ek_conv2d_packed_params *params) {
    const int32_t depth = depth_of(params);
    ek_conv2d_s8_params block = params->base;
    block.batches = block.input_height = block.output_height = 1;
    block.kernel_height = block.kernel_width = block.stride_height = block.stride_width = 1;
    block.dilation_height = block.dilation_width = 1;
    block.pad_top = block.pad_left = 0;
    block.input_channels = depth;
    block.input_width = ek_clamp((PATCHES_BYTES / depth) & ~3, 4, MOST_PIXELS);
    block.output_width = block.input_width;
    if (params->output_bits < 8) {
        /* Packing clamps; all of int8 is what sums are rescaled to fastest. */
        block.activation_min = -128;
        block.activation_max = 127;
    }
    return block;
}

static int8_t *fill(int8_t *to, int32_t value, int32_t count) {
    while (count-- > 0) {
        *to++ = (int8_t)value;
    }
    return to;
}

/* Unpacks the channels of a group of one pixel. */
static int8_t *unpack_group(const uint8_t *pixel, int32_t bits, int32_t group, int32_t channels,
                            int8_t *to) {
    const int32_t first = group * channels;
    if ((first * bits & 7) == 0) {
        ek_unpack(pixel + first * bits / 8, bits, channels, to);
    } else {
        for (int32_t i = 0; i < channels; i++) {
            to[i] = ek_value_at(pixel, first + i, bits);
        }
    }
    return to + channels;
}

/* Unpacks what lies under one row of the kernel. */
static int8_t *unpack_line(const ek_conv2d_packed_params *params, const image *from, int32_t group,
                           int32_t line, int32_t left, int8_t *to) {
    const ek_conv2d_s8_params *base = &params->base;
    if (line < 0 || line >= base->input_height) {
        return fill(to, base->input_zero_point, base->kernel_width * from->channels);
    }
    const uint8_t *row = (const uint8_t *)ek_row(&from->rows, line);
    if (from->is_joined && left >= 0 && left + base->kernel_width <= base->input_width) {
        const int32_t count = base->kernel_width * from->channels;
        ek_unpack(row + left * from->pixel_bytes, params->input_bits, count, to);
        return to + count;
    }
    for (int32_t i = 0; i < base->kernel_width; i++) {
        const int32_t column = left + i * base->dilation_width;
        if (column < 0 || column >= base->input_width) {
            to = fill(to, base->input_zero_point, from->channels);
        } else {
            to = unpack_group(row + column * from->pixel_bytes, params->input_bits, group,
                              from->channels, to);
        }
    }
    return to;
}

/* Unpacks all that the windows of a pixel reach; returns what is behind. */
static int8_t *unpack_patch(const ek_conv2d_packed_params *params, const image *from, int32_t y,
                            int32_t x, int8_t *to) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t top = y * base->stride_height - base->pad_top;
    const int32_t left = x * base->stride_width - base->pad_left;
    const int32_t depth = base->kernel_height * base->kernel_width * from->channels;
    for (int32_t group = 0; group < base->groups; group++) {
        for (int32_t i = 0; i < base->kernel_height; i++) {
            to = unpack_line(params, from, group, top + i * base->dilation_height, left, to);
        }
        to = fill(to, 0, -depth & 3);
    }
    return to;
}

/* Unpacks the next pixels, whose first is `pixel`. */
static void unpack_block(const ek_conv2d_packed_params *params, image *from, int32_t pixel,
                         int32_t pixels, int8_t *to) {
    const ek_conv2d_s8_params *base = &params->base;
    if (is_plain(base) && base->groups == 1 && (from->channels & 3) == 0) {
        ek_unpack((const uint8_t *)from->rows.image + pixel * from->pixel_bytes, params->input_bits,
                  pixels * from->channels, to);
        return;
    }
    int32_t y = pixel / base->output_width, x = pixel % base->output_width;
    for (; pixels > 0; pixels--) {
        ek_keep_row(&from->rows, y);
        to = unpack_patch(params, from, y, x, to);
        if (++x == base->output_width) {
            x = 0;
            y++;
        }
    }
}

/* Two rows, one place of the depth: each weight is taken out of its word once. */
#define EK_ADD_NIBBLES(place)                                                                      \
    do {                                                                                           \
        const int32_t x = first[place], y = second[place];                                         \
        int32_t w = ek_nibble(word, 0, place);                                                     \
        a += x * w, c += y * w, w = ek_nibble(word, 1, place);                                     \
        b += x * w, d += y * w;                                                                    \
    } while (0)

/* Adds two channels, whose words of weights of 4 bits lie `step` bytes apart, times two rows. */
EK_APART void nibbles_2x2(const uint8_t *weights, int32_t step, const int8_t *first, int32_t fours,
                          int32_t sums[4]) {
    const int8_t *second = first + 4 * fours;
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (const int8_t *end = second; first < end;) {
        const uint32_t word = ek_word_at(weights);
        EK_ADD_NIBBLES(0);
        EK_ADD_NIBBLES(1);
        EK_ADD_NIBBLES(2);
        EK_ADD_NIBBLES(3);
        first += 4;
        second += 4;
        weights += step;
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}

/* Convolves a group of channels of two pixels by weights of 4 bits; results may be the same. */
static void multiply_nibbles(const ek_conv2d_s8_params *block, int32_t group, const int8_t *rows,
                             int8_t *first, int8_t *second) {
    const ek_output_stage stage = {block->output_zero_point, block->activation_min,
                                   block->activation_max, block->simple_rescale};
    const int32_t outputs = block->output_channels / block->groups;
    const int32_t fours = (group_channels(block) + 3) / 4;
    const uint8_t *weights =
        (const uint8_t *)block->weights + group * ek_weights_bytes(outputs, 4 * fours, 4);
    const int32_t *channel = block->channels + group * outputs * EK_CHANNEL_FIELDS;
    for (int32_t done = 0; done < outputs; done += 2) {
        /* Of a block of four, the second two have every second word. */
        const int32_t is_second = done & 2, is_block_of_four = is_second || outputs - done > 2;
        const int32_t step = is_block_of_four ? 8 : 4;
        int32_t sums[4];
        nibbles_2x2(weights + 2 * is_second, step, rows, fours, sums);
        for (int32_t i = 0; i < ek_least(outputs - done, 2); i++, channel += EK_CHANNEL_FIELDS) {
            first[done + i] = ek_finish(ek_wrapping_add(sums[i], channel[0]), channel, &stage);
            second[done + i] = ek_finish(ek_wrapping_add(sums[2 + i], channel[0]), channel, &stage);
        }
        weights += is_second ? 8 * fours : 0;
    }
}

/* Copies the channels of a group of one pixel; returns what is behind the word they end in. */
static int8_t *copy_group(const ek_conv2d_s8_params *block, const int8_t *pixel, int32_t group,
                          int8_t *row) {
    const int32_t channels = group_channels(block);
    ek_copy_bytes(pixel + group * channels, channels, row);
    return fill(row + channels, 0, -channels & 3);
}

/* Convolves pixels by a kernel of 1 by 1; results may lie on them. */
static void convolve_block(const ek_conv2d_s8_params *block, int32_t weight_bits,
                           const int8_t *pixels, void *scratch, int8_t *results) {
    if (weight_bits == 8) {
        (void)ek_conv2d_s8(block, pixels, scratch, results);
        return;
    }
    const int32_t inputs = block->input_channels, outputs = block->output_channels;
    for (int32_t left = block->input_width; left > 0; left -= 2) {
        const int32_t other = left > 1;
        for (int32_t group = 0; group < block->groups; group++) {
            int8_t *second = copy_group(block, pixels, group, scratch);
            (void)copy_group(block, pixels + other * inputs, group, second);
            int8_t *result = results + group * (outputs / block->groups);
            multiply_nibbles(block, group, scratch, result, result + other * outputs);
        }
        pixels += 2 * inputs;
        results += 2 * outputs;
    }
}

/* Convolves one image; the output may lie on it. */
static void convolve(const ek_conv2d_packed_params *params, const uint8_t *input, void *scratch,
                     uint8_t *output, int32_t in_place) {
    const ek_conv2d_s8_params *base = &params->base;
    ek_conv2d_s8_params block = block_of(params);
    const int32_t most = block.output_width, direct = is_direct(params);
    const int32_t channels = base->output_channels;
    const int32_t count = base->output_height * base->output_width;
    int8_t *patches = (int8_t *)scratch + ek_conv2d_s8_scratch_bytes(&block);
    int8_t *results = patches + (direct ? 0 : most * block.input_channels);
    int8_t *ring = results + (params->output_bits < 8 ? most * channels : 0);
    image from = {.pixel_bytes = ek_values_bytes(base->input_channels, params->input_bits),
                  .channels = group_channels(base)};
    from.rows = (ek_rows){.image = (const int8_t *)input,
                          .ring = ring,
                          .row_bytes = base->input_width * from.pixel_bytes,
                          .places = in_place ? ek_kept_rows(base) : 0};
    from.is_joined = base->dilation_width == 1 && base->groups == 1 &&
                     (from.channels * params->input_bits & 7) == 0;
    for (int32_t pixel = 0; pixel < count; pixel += most) {
        const int32_t pixels = ek_least(count - pixel, most);
        const int8_t *read = patches;
        if (direct) {
            read = (const int8_t *)input + pixel * block.input_channels;
        } else {
            unpack_block(params, &from, pixel, pixels, patches);
        }
        block.input_width = block.output_width = pixels;
        if (params->output_bits == 8) {
            convolve_block(&block, params->weight_bits, read, scratch,
                           (int8_t *)output + pixel * channels);
            continue;
        }
        convolve_block(&block, params->weight_bits, read, scratch, results);
        ek_clamp_values(results, pixels * channels, params->output_bits, base->activation_min,
                        base->activation_max);
        ek_pack_pixels(results, pixels, channels, params->output_bits,
                       output + pixel * ek_values_bytes(channels, params->output_bits));
    }
}

ek_status ek_conv2d_packed(const ek_conv2d_packed_params *params, const void *input, void *scratch,
                           void *output) {
    const ek_conv2d_s8_params *base = &params->base;
    const uint8_t *from = input;
    uint8_t *to = output;
    for (int32_t batch = 0; batch < base->batches; batch++) {
        convolve(params, from, scratch, to, input == output);
        from += base->input_height * base->input_width *
                ek_values_bytes(base->input_channels, params->input_bits);
        to += base->output_height * base->output_width *
              ek_values_bytes(base->output_channels, params->output_bits);
    }
    return EK_STATUS_OK;
}

size_t ek_conv2d_packed_scratch_bytes(const ek_conv2d_packed_params *params) {
    const ek_conv2d_s8_params block = block_of(params);
    const int32_t patches = is_direct(params) ? 0 : block.input_channels;
    const int32_t results = params->output_bits < 8 ? block.output_channels : 0;
    return ek_conv2d_s8_scratch_bytes(&block) + (size_t)(block.input_width * (patches + results));
}

size_t ek_conv2d_packed_in_place_bytes(const ek_conv2d_packed_params *params) {
    const ek_conv2d_s8_params *base = &params->base;
    return (size_t)(ek_kept_rows(base) * base->input_width *
                    ek_values_bytes(base->input_channels, params->input_bits));
}
