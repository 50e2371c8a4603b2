#include "depthwise.h"
#include "packed_values.h"

/* Packed rows become rows of 16 bits without becoming bytes first, and bytes of results are packed
 * row by row. For kernels of 3 by 3 the rows hold what the fields say without their sign, which is
 * more by `offset`; biases make up for it. Results then have their bits at the top of their byte,
 * where saturating to int8 clamps them to their own range. */

/* Four channels, and what is the same for all of their rows. */
typedef struct strip {
    ek_conv2d_s8_params block; /* of these channels, whose weights and results lie side by side */
    ek_ring kept;
    ek_inside inside;
    int32_t offset; /* -1: the ring is not yet filled */
    int8_t *weights;
    int8_t *results;    /* of a row */
    int32_t pitch;      /* of a channel in them */
    int32_t input_step; /* bytes of a pixel */
    int32_t output_step;
    int32_t input_row; /* bytes of a row */
    int32_t output_row;
    int32_t is_clamped; /* beyond what packing does */
} strip;

static int32_t multiplier_of(const ek_conv2d_s8_params *base) {
    return base->output_channels / base->input_channels;
}

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
static void copy_row(const strip *at, int32_t bits, const uint8_t *from, int16_t *to) {
    const int32_t channels = at->block.input_channels, step = at->input_step;
    const int32_t pitch = at->kept.pitch;
    int32_t count = at->inside.right - at->inside.left;
    to += at->inside.left;
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
static void read_rows(strip *at, int32_t bits, const uint8_t *image, int32_t y) {
    ek_ring *kept = &at->kept;
    const int32_t end = ek_ring_move(&at->block, y, kept);
    for (; kept->end < end; kept->end++) {
        int16_t *to = ek_ring_next(kept);
        if (kept->end < at->inside.top || kept->end >= at->inside.bottom) {
            ek_ring_fill(to, at->block.input_zero_point + at->offset,
                         EK_RING_CHANNELS / 2 * kept->pitch);
            continue;
        }
        copy_row(at, bits, image + (kept->end - at->block.pad_top) * at->input_row, to);
    }
}

/* Marks the shift of a kernel whose factor is too large or too small for the short sequence, and
 * whose `half` is the zero point. Weights of few bits have many of them. */
enum { EK_LONG = 64 };

EK_APART void finish_long(const int32_t sums[4], const ek_kernel_3x3 *kernel, int32_t up,
                          int8_t *results) {
    const int32_t shift = -(kernel->shift + EK_LONG + up), multiplier = kernel->multiplier;
    const int32_t is_short = ek_is_short(multiplier, shift), is_left = multiplier && shift >= 0;
    const ek_output_stage stage = {.zero_point = kernel->half, .low = -128, .high = 127};
    for (int32_t i = 0; i < 4; i++) {
        int32_t stored;
        if (is_left) {
            const int32_t high = ek_high(ek_shift_left(sums[i], shift), multiplier);
            stored = ek_saturate8(ek_saturating_add(high, stage.zero_point));
        } else if (is_short) {
            stored = ek_round(ek_high(sums[i], multiplier), ek_half_of(&stage, -shift), -shift);
        } else {
            stored = ek_finish_dsp(sums[i], multiplier, shift, &stage);
        }
        results[i] = (int8_t)ek_saturate8(ek_shift_left(stored, up));
    }
}

/* One row of some channels by kernels of 3 by 3: fours of results, channel by channel. */
#define EK_RESULTS(NAME, EK_ROW)                                                                   \
    EK_APART void NAME(const ek_kernel_3x3 *kernel, int32_t channels, const ek_ring *kept,         \
                       int32_t pitch, int32_t up, int8_t *results) {                               \
        const uint32_t *top = ek_ring_row(kept, 2, 0), *middle = ek_ring_row(kept, 1, 0);          \
        const uint32_t *bottom = ek_ring_row(kept, 0, 0);                                          \
        for (; channels > 0; channels--) {                                                         \
            for (const int8_t *end = results + pitch; results < end; results += 4) {               \
                int32_t a, b, c, d;                                                                \
                EK_FOUR_OUTPUTS(EK_ROW);                                                           \
                if (kernel->shift < 0) {                                                           \
                    const int32_t sums[4] = {a, b, c, d};                                          \
                    finish_long(sums, kernel, up, results);                                        \
                    continue;                                                                      \
                }                                                                                  \
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

/* Packs a row of results of kernels of 3 by 3. */
static void pack_row(const strip *at, int32_t bits, uint8_t *output) {
    const int32_t pixels = at->block.output_width, channels = at->block.output_channels;
    const int32_t step = at->output_step, pitch = at->pitch;
    if (at->is_clamped) {
        const int32_t up = 8 - bits;
        ek_clamp_values(at->results, channels * pitch, 8, at->block.activation_min * (1 << up),
                        (at->block.activation_max + 1) * (1 << up) - 1);
    }
    if (channels < EK_RING_CHANNELS) {
        pack_rest(at->results, pitch, channels, bits, pixels, output, step);
    } else if (bits == 8) {
        pack_8(at->results, pitch, pixels, output, step);
    } else if (bits == 4) {
        pack_4(at->results, pitch, pixels, output, step);
    } else {
        pack_2(at->results, pitch, pixels, output, step);
    }
}

/* One row by any kernel. */
EK_APART void convolve_row(const strip *at, int32_t bits, uint8_t *output) {
    const int32_t channels = at->block.output_channels;
    const int32_t multiplier = channels / at->block.input_channels;
    for (int32_t i = 0; i < channels; i++) {
        ek_depthwise_row(&at->block, &at->kept, i / multiplier, i, at->results + i);
    }
    ek_pack_apart(at->results, channels, bits, at->block.output_width, output, at->output_step);
}

/* The kernel of a channel, with the bias for fields and the shift for bits at the top of bytes. */
static void read_kernel(const ek_conv2d_s8_params *block, int32_t channel, int32_t offset,
                        int32_t up, ek_kernel_3x3 *kernel) {
    const ek_output_stage stage = {.zero_point = block->output_zero_point};
    const uint32_t both = ek_pair(-offset, -offset), second = ek_pair(0, -offset);
    ek_read_kernel(block, channel, kernel);
    const uint32_t *pairs = kernel->pairs;
    int32_t bias = ek_dot(pairs[1], second, ek_dot(pairs[0], both, kernel->bias));
    bias = ek_dot(pairs[3], second, ek_dot(pairs[2], both, bias));
    kernel->bias = ek_dot(pairs[5], second, ek_dot(pairs[4], both, bias));
    const int32_t is_short = ek_is_short(kernel->multiplier, -kernel->shift) && kernel->shift >= up;
    kernel->half = is_short ? ek_half_of(&stage, kernel->shift) : stage.zero_point;
    kernel->shift -= is_short ? up : up + EK_LONG;
}

/* All rows of the strip. */
static void convolve_channels(strip *at, int32_t input_bits, int32_t output_bits,
                              const uint8_t *image, uint8_t *output) {
    const ek_conv2d_s8_params *block = &at->block;
    const int32_t up = 8 - output_bits, pitch = at->pitch, outputs = block->output_channels;
    const int32_t usual =
        ek_is_3x3(block) && outputs == block->input_channels && block->stride_width <= 2;
    const int32_t offset = usual && input_bits < 8 ? ek_highest(input_bits) + 1 : 0;
    ek_kernel_3x3 kernels[EK_RING_CHANNELS];
    for (int32_t i = 0; usual && i < outputs; i++) {
        read_kernel(block, i, offset, up, &kernels[i]);
    }
    if (offset != at->offset) {
        at->offset = offset;
        at->kept = ek_ring_of(block, block->input_zero_point + offset, at->kept.rows);
    }
    at->kept.end = 0;
    for (int32_t y = 0; y < block->output_height; y++, output += at->output_row) {
        read_rows(at, input_bits, image, y);
        if (!usual) {
            convolve_row(at, output_bits, output);
            continue;
        }
        if (block->stride_width == 1) {
            results_by_one(kernels, outputs, &at->kept, pitch, up, at->results);
        } else {
            results_by_two(kernels, outputs, &at->kept, pitch, up, at->results);
        }
        pack_row(at, output_bits, output);
    }
}

static strip strip_of(const ek_conv2d_packed_params *params, void *scratch) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t highest = ek_highest(params->output_bits);
    strip at = {.block = *base, .kept.rows = scratch, .offset = -1, .pitch = results_pitch(base)};
    at.inside = ek_inside_of(base, ek_plane_height(base), ek_plane_width(base));
    at.results = (int8_t *)scratch + ek_ring_bytes(base);
    at.weights = at.results + EK_RING_CHANNELS * multiplier_of(base) * at.pitch;
    at.block.weights = at.weights;
    at.input_step = ek_values_bytes(base->input_channels, params->input_bits);
    at.output_step = ek_values_bytes(base->output_channels, params->output_bits);
    at.input_row = base->input_width * at.input_step;
    at.output_row = base->output_width * at.output_step;
    at.is_clamped = base->activation_min > -1 - highest || base->activation_max < highest;
    return at;
}

/* Moves to the channels from `first` on. */
static void move_to(const ek_conv2d_packed_params *params, int32_t first, strip *at) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t multiplier = multiplier_of(base), bits = params->weight_bits;
    const int32_t taps = base->kernel_height * base->kernel_width;
    const int32_t channels = ek_least(base->input_channels - first, EK_RING_CHANNELS);
    at->block.input_channels = at->block.groups = channels;
    at->block.output_channels = channels * multiplier;
    at->block.channels = base->channels + first * multiplier * EK_CHANNEL_FIELDS;
    ek_unpack_apart((const uint8_t *)base->weights + ek_values_bytes(first * multiplier, bits),
                    ek_values_bytes(base->output_channels, bits), bits, taps, channels * multiplier,
                    at->weights);
}

ek_status ek_depthwise_conv2d_packed(const ek_conv2d_packed_params *params, const void *input,
                                     void *scratch, void *output) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t input_bits = params->input_bits, output_bits = params->output_bits;
    strip at = strip_of(params, scratch);
    const uint8_t *from = input;
    uint8_t *to = output;
    for (int32_t batch = 0; batch < base->batches; batch++) {
        for (int32_t first = 0; first < base->input_channels; first += EK_RING_CHANNELS) {
            move_to(params, first, &at);
            convolve_channels(&at, input_bits, output_bits,
                              from + ek_values_bytes(first, input_bits),
                              to + ek_values_bytes(first * multiplier_of(base), output_bits));
        }
        from += base->input_height * at.input_row;
        to += base->output_height * at.output_row;
    }
    return EK_STATUS_OK;
}

/* The ring; a row of results; weights. */
size_t ek_depthwise_conv2d_packed_scratch_bytes(const ek_conv2d_packed_params *params) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t made = EK_RING_CHANNELS * multiplier_of(base);
    const int32_t taps = base->kernel_height * base->kernel_width;
    return ek_ring_bytes(base) + (size_t)(made * (results_pitch(base) + taps));
}
