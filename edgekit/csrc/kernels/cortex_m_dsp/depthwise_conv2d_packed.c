#include "depthwise.h"
#include "packed_values.h"

/* Packed rows become rows of 16 bits without becoming bytes first, and bytes of results are packed
 * row by row. For kernels of 3 by 3 the rows hold what the fields say without their sign, which is
 * more by `offset`; biases make up for it. Results then have their bits at the top of their byte,
 * where saturating to int8 clamps them to their own range. */

/* Four channels, and what is in scratch memory. */
typedef struct strip {
    ek_conv2d_s8_params block; /* of these channels, whose weights and results lie side by side */
    int32_t first;             /* channel of the input */
    int32_t is_usual;
    int32_t offset; /* -1: the ring is not yet filled */
    int8_t *weights;
    int8_t *results; /* of a row */
} strip;

static int32_t results_pitch(const ek_conv2d_s8_params *base) {
    return (base->output_width + 3) & ~3;
}

/* Four channels of a row of pixels that lie `step` bytes apart: what their fields are with the
 * sign flipped. */
EK_INLINED void copy_fields(const uint8_t *from, int32_t step, int32_t bits, int32_t count,
                            int16_t *to, int32_t pitch) {
    const uint32_t mask = bits == 4 ? 0x000F000Fu : 0x00030003u;
    const uint32_t signs = bits == 4 ? 0x88888888u : 0x00AA00AAu;
    int16_t *third = to + 2 * pitch;
    for (; count > 1; count -= 2) {
        const uint32_t left = bits == 4 ? ek_half_at(from) : *from;
        from += step;
        const uint32_t right = bits == 4 ? ek_half_at(from) : *from;
        from += step;
        const uint32_t fields = (left | right << 16) ^ signs;
        ek_store(to, fields & mask);
        ek_store(to + pitch, fields >> bits & mask);
        ek_store(third, fields >> 2 * bits & mask);
        ek_store(third + pitch, fields >> 3 * bits & mask);
        to += 2;
        third += 2;
    }
    if (count > 0) {
        const uint32_t fields = (bits == 4 ? ek_half_at(from) : *from) ^ signs;
        for (int32_t i = 0; i < EK_RING_CHANNELS; i++) {
            to[i * pitch] = (int16_t)(fields >> i * bits & mask);
        }
    }
}

EK_APART void copy_fields_of_4(const uint8_t *from, int32_t step, int32_t count, int16_t *to,
                               int32_t pitch) {
    copy_fields(from, step, 4, count, to, pitch);
}

EK_APART void copy_fields_of_2(const uint8_t *from, int32_t step, int32_t count, int16_t *to,
                               int32_t pitch) {
    copy_fields(from, step, 2, count, to, pitch);
}

/* The strip's channels of a row of the image. */
static void copy_row(const ek_conv2d_packed_params *params, const strip *at, const uint8_t *from,
                     int32_t count, int16_t *to, int32_t pitch) {
    const int32_t bits = params->input_bits, channels = at->block.input_channels;
    const int32_t step = ek_values_bytes(params->base.input_channels, bits);
    if (bits == 8) {
        ek_ring_copy((const int8_t *)from, step, channels, count, to, pitch);
    } else if (channels < EK_RING_CHANNELS || at->offset == 0) {
        for (; count > 0; count--, from += step, to++) {
            for (int32_t i = 0; i < channels; i++) {
                to[i * pitch] = (int16_t)(ek_value_at(from, i, bits) + at->offset);
            }
        }
    } else if (bits == 4) {
        copy_fields_of_4(from, step, count, to, pitch);
    } else {
        copy_fields_of_2(from, step, count, to, pitch);
    }
}

/* Reads rows of the plane until all that windows of row `y` of the output reach are there. */
static void read_rows(const ek_conv2d_packed_params *params, const strip *at,
                      const ek_inside *inside, const uint8_t *image, int32_t y, ek_ring *kept) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t row_bytes =
        base->input_width * ek_values_bytes(base->input_channels, params->input_bits);
    const int32_t end = ek_ring_move(base, y, kept);
    for (; kept->end < end; kept->end++) {
        int16_t *to = ek_ring_next(kept);
        if (kept->end < inside->top || kept->end >= inside->bottom) {
            ek_ring_fill(to, base->input_zero_point + at->offset,
                         EK_RING_CHANNELS / 2 * kept->pitch);
            continue;
        }
        copy_row(params, at, image + (kept->end - base->pad_top) * row_bytes,
                 inside->right - inside->left, to + inside->left, kept->pitch);
    }
}

/* One row of some channels by kernels of 3 by 3: fours of results, channel by channel. */
#define EK_RESULTS(NAME, EK_ROW)                                                                   \
    EK_APART void NAME(const ek_kernel_3x3 *kernel, int32_t channels, const ek_ring *kept,         \
                       int32_t pitch, int8_t *results) {                                           \
        const uint32_t *top = ek_ring_row(kept, 2, 0), *middle = ek_ring_row(kept, 1, 0);          \
        const uint32_t *bottom = ek_ring_row(kept, 0, 0);                                          \
        for (; channels > 0; channels--) {                                                         \
            for (const int8_t *end = results + pitch; results < end; results += 4) {               \
                int32_t a, b, c, d;                                                                \
                EK_FOUR_OUTPUTS(EK_ROW);                                                           \
                results[0] = ek_finish_3x3(a, kernel);                                             \
                results[1] = ek_finish_3x3(b, kernel);                                             \
                results[2] = ek_finish_3x3(c, kernel);                                             \
                results[3] = ek_finish_3x3(d, kernel);                                             \
            }                                                                                      \
            /* Windows are a pair wider than what four outputs are apart. */                       \
            top++, middle++, bottom++, kernel++;                                                   \
        }                                                                                          \
    }
EK_RESULTS(results_by_one, EK_ROW_BY_ONE)
EK_RESULTS(results_by_two, EK_ROW_BY_TWO)

/* Bytes 0 and 2 of two words by turns, and bytes 1 and 3. */
static inline uint32_t even_bytes(uint32_t x, uint32_t y) {
    return (x & 0x00FF00FFu) | (y & 0x00FF00FFu) << 8;
}

static inline uint32_t odd_bytes(uint32_t x, uint32_t y) {
    return (x >> 8 & 0x00FF00FFu) | (y & 0xFF00FF00u);
}

/* The fields of two channels in bytes of four pixels. */
static inline uint32_t nibbles_of(const int8_t *row, int32_t pitch) {
    const uint32_t high = 0xF0F0F0F0u;
    return (ek_load(row) & high) >> 4 | (ek_load(row + pitch) & high);
}

static inline uint32_t quarters_of(const int8_t *row, int32_t pitch) {
    const uint32_t high = 0xC0C0C0C0u;
    return (ek_load(row) & high) >> 4 | (ek_load(row + pitch) & high) >> 2;
}

/* Packs four pixels at a time of rows of four channels; PUT stores the fields of one. */
#define EK_PACK(NAME, READ, PUT, FIRST, SECOND, THIRD, FOURTH)                                     \
    EK_APART void NAME(const int8_t *row, int32_t pitch, int32_t pixels, uint8_t *to,              \
                       int32_t step) {                                                             \
        for (; pixels > 0; pixels -= 4, row += 4) {                                                \
            READ;                                                                                  \
            PUT(to, FIRST);                                                                        \
            if (pixels > 1) {                                                                      \
                PUT(to + step, SECOND);                                                            \
            }                                                                                      \
            if (pixels > 2) {                                                                      \
                PUT(to + 2 * step, THIRD);                                                         \
            }                                                                                      \
            if (pixels > 3) {                                                                      \
                PUT(to + 3 * step, FOURTH);                                                        \
            }                                                                                      \
            to += 4 * step;                                                                        \
        }                                                                                          \
    }
#define EK_READ_8                                                                                  \
    const int8_t *third = row + 2 * pitch;                                                         \
    const uint32_t a = ek_load(row), b = ek_load(row + pitch);                                     \
    const uint32_t c = ek_load(third), d = ek_load(third + pitch);                                 \
    const uint32_t even = even_bytes(a, b), odd = odd_bytes(a, b);                                 \
    const uint32_t more_even = even_bytes(c, d), more_odd = odd_bytes(c, d)
#define EK_READ_4                                                                                  \
    const uint32_t low = nibbles_of(row, pitch), high = nibbles_of(row + 2 * pitch, pitch);        \
    const uint32_t even = even_bytes(low, high), odd = odd_bytes(low, high)
#define EK_READ_2                                                                                  \
    const uint32_t fields = quarters_of(row, pitch) >> 2 | quarters_of(row + 2 * pitch, pitch) << 2
#define EK_PUT_BYTE(TO, FIELDS) *(TO) = (uint8_t)(FIELDS)
EK_PACK(pack_8, EK_READ_8, ek_store, ek_pack_low(even, more_even), ek_pack_low(odd, more_odd),
        ek_pack_high(even, more_even), ek_pack_high(odd, more_odd))
EK_PACK(pack_4, EK_READ_4, ek_put_half, even, odd, even >> 16, odd >> 16)
EK_PACK(pack_2, EK_READ_2, EK_PUT_BYTE, fields, fields >> 8, fields >> 16, fields >> 24)

/* Packs rows of fewer channels. */
static void pack_rest(const int8_t *row, int32_t pitch, int32_t channels, int32_t bits,
                      int32_t pixels, uint8_t *to, int32_t step) {
    for (; pixels > 0; pixels--, row++, to += step) {
        int8_t bytes[EK_RING_CHANNELS];
        for (int32_t i = 0; i < channels; i++) {
            bytes[i] = (int8_t)(row[i * pitch] >> (8 - bits));
        }
        ek_pack(bytes, channels, bits, to);
    }
}

/* One row by kernels of 3 by 3. */
static void convolve_row_3x3(const ek_conv2d_packed_params *params, const strip *at,
                             const ek_kernel_3x3 *kernels, const ek_ring *kept, uint8_t *output) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t bits = params->output_bits, channels = at->block.input_channels;
    const int32_t pitch = results_pitch(base), width = base->output_width, up = 8 - bits;
    const int32_t step = ek_values_bytes(base->output_channels, bits);
    if (base->stride_width == 1) {
        results_by_one(kernels, channels, kept, pitch, at->results);
    } else {
        results_by_two(kernels, channels, kept, pitch, at->results);
    }
    ek_clamp_values(at->results, channels * pitch, 8, base->activation_min * (1 << up),
                    (base->activation_max + 1) * (1 << up) - 1);
    if (channels < EK_RING_CHANNELS) {
        pack_rest(at->results, pitch, channels, bits, width, output, step);
    } else if (bits == 8) {
        pack_8(at->results, pitch, width, output, step);
    } else if (bits == 4) {
        pack_4(at->results, pitch, width, output, step);
    } else {
        pack_2(at->results, pitch, width, output, step);
    }
}

/* One row by any kernel. */
EK_APART void convolve_row(const ek_conv2d_packed_params *params, const strip *at,
                           const ek_ring *kept, uint8_t *output) {
    const int32_t channels = at->block.output_channels;
    const int32_t multiplier = channels / at->block.input_channels;
    for (int32_t i = 0; i < channels; i++) {
        ek_depthwise_row(&at->block, kept, i / multiplier, i, at->results + i);
    }
    ek_pack_apart(at->results, channels, params->output_bits, params->base.output_width, output,
                  ek_values_bytes(params->base.output_channels, params->output_bits));
}

/* Whether the strip's channels are convolved by the kernel of 3 by 3. */
static int32_t is_usual(const ek_conv2d_packed_params *params, const ek_conv2d_s8_params *block) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t up = 8 - params->output_bits;
    const ek_output_stage stage = {.low = -128, .high = 127};
    for (int32_t i = 0; i < block->output_channels; i++) {
        if (-block->channels[i * EK_CHANNEL_FIELDS + 2] < up) {
            return 0;
        }
    }
    return ek_is_3x3(base) && block->output_channels == block->input_channels &&
           base->stride_width <= 2 &&
           ek_is_usual(&stage, block->channels + 1, EK_CHANNEL_FIELDS, block->output_channels);
}

/* The kernel of a channel, with the bias for fields and the shift for bits at the top of bytes. */
static void read_kernel(const ek_conv2d_s8_params *block, int32_t channel, int32_t offset,
                        int32_t up, ek_kernel_3x3 *kernel) {
    const ek_output_stage stage = {.zero_point = block->output_zero_point};
    ek_read_kernel(block, channel, &stage, kernel);
    for (int32_t row = 0; row < 3; row++) {
        const uint32_t *pairs = kernel->pairs + 2 * row;
        kernel->bias = ek_dot(pairs[0], ek_pair(-offset, -offset), kernel->bias);
        kernel->bias = ek_dot(pairs[1], ek_pair(0, -offset), kernel->bias);
    }
    kernel->shift -= up;
}

/* All rows of the strip. */
static void convolve_channels(const ek_conv2d_packed_params *params, const ek_inside *inside,
                              const uint8_t *image, strip *at, ek_ring *kept, uint8_t *output) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t usual = is_usual(params, &at->block);
    const int32_t offset = usual && params->input_bits < 8 ? ek_highest(params->input_bits) + 1 : 0;
    ek_kernel_3x3 kernels[EK_RING_CHANNELS];
    for (int32_t i = 0; usual && i < at->block.input_channels; i++) {
        read_kernel(&at->block, i, offset, 8 - params->output_bits, &kernels[i]);
    }
    if (offset != at->offset) {
        at->offset = offset;
        *kept = ek_ring_of(base, base->input_zero_point + offset, kept->rows);
    }
    kept->end = 0;
    image += ek_values_bytes(at->first, params->input_bits);
    for (int32_t y = 0; y < base->output_height; y++) {
        read_rows(params, at, inside, image, y, kept);
        if (usual) {
            convolve_row_3x3(params, at, kernels, kept, output);
        } else {
            convolve_row(params, at, kept, output);
        }
        output += base->output_width * ek_values_bytes(base->output_channels, params->output_bits);
    }
}

/* Moves to the channels from `first` on. */
static void move_to(const ek_conv2d_packed_params *params, int32_t first, strip *at) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t multiplier = base->output_channels / base->input_channels;
    const int32_t taps = base->kernel_height * base->kernel_width;
    const int32_t channels = ek_least(base->input_channels - first, EK_RING_CHANNELS);
    at->first = first;
    at->block.input_channels = at->block.groups = channels;
    at->block.output_channels = channels * multiplier;
    at->block.channels = base->channels + first * multiplier * EK_CHANNEL_FIELDS;
    ek_unpack_apart((const uint8_t *)base->weights +
                        ek_values_bytes(first * multiplier, params->weight_bits),
                    ek_values_bytes(base->output_channels, params->weight_bits),
                    params->weight_bits, taps, channels * multiplier, at->weights);
}

ek_status ek_depthwise_conv2d_packed(const ek_conv2d_packed_params *params, const void *input,
                                     void *scratch, void *output) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t multiplier = base->output_channels / base->input_channels;
    const ek_inside inside = ek_inside_of(base, ek_plane_height(base), ek_plane_width(base));
    ek_ring kept = {.rows = scratch};
    strip at = {.block = *base, .offset = -1, .results = (int8_t *)scratch + ek_ring_bytes(base)};
    at.weights = at.results + EK_RING_CHANNELS * multiplier * results_pitch(base);
    at.block.weights = at.weights;
    const uint8_t *from = input;
    uint8_t *to = output;
    for (int32_t batch = 0; batch < base->batches; batch++) {
        for (int32_t first = 0; first < base->input_channels; first += EK_RING_CHANNELS) {
            move_to(params, first, &at);
            convolve_channels(params, &inside, from, &at, &kept,
                              to + ek_values_bytes(first * multiplier, params->output_bits));
        }
        from += base->input_height * base->input_width *
                ek_values_bytes(base->input_channels, params->input_bits);
        to += base->output_height * base->output_width *
              ek_values_bytes(base->output_channels, params->output_bits);
    }
    return EK_STATUS_OK;
}

/* The ring; a row of results; weights. */
size_t ek_depthwise_conv2d_packed_scratch_bytes(const ek_conv2d_packed_params *params) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t made = EK_RING_CHANNELS * (base->output_channels / base->input_channels);
    const int32_t taps = base->kernel_height * base->kernel_width;
    return ek_ring_bytes(base) + (size_t)(made * (results_pitch(base) + taps));
}
