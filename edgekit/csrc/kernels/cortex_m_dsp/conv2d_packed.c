#include <string.h>

#include "packed.h"
#include "packed_patches.h"
#include "patch_products.h"

/* Saturates to 4 or 2 bits; puts the lowest bits of b above the 4 or 2 lowest of a. */
#if defined(__ARM_FEATURE_DSP)
#define EK_SATURATE(NAME, TEXT)                                                                    \
    static inline int32_t NAME(int32_t x) {                                                        \
        int32_t result;                                                                            \
        __asm__(TEXT : "=r"(result) : "r"(x) : "cc");                                              \
        return result;                                                                             \
    }
#define EK_JOIN(NAME, TEXT)                                                                        \
    static inline int32_t NAME(int32_t a, int32_t b) {                                             \
        __asm__(TEXT : "+r"(a) : "r"(b));                                                          \
        return a;                                                                                  \
    }
EK_SATURATE(ek_saturate4, "ssat %0, #4, %1")
EK_SATURATE(ek_saturate2, "ssat %0, #2, %1")
EK_JOIN(ek_join_4, "bfi %0, %1, #4, #4")
EK_JOIN(ek_join_2, "bfi %0, %1, #2, #2")
#else
static inline int32_t ek_saturate4(int32_t x) { return ek_clamp(x, -8, 7); }

static inline int32_t ek_saturate2(int32_t x) { return ek_clamp(x, -2, 1); }

static inline int32_t ek_join_4(int32_t a, int32_t b) { return (a & 15) | (b & 15) << 4; }

static inline int32_t ek_join_2(int32_t a, int32_t b) { return (a & 3) | (b & 3) << 2; }
#endif

/* What the products of a group of channels become. */
typedef struct target {
    const int32_t *channels;
    ek_output_stage stage;
    int32_t count;       /* channels */
    int32_t first;       /* of an output pixel's */
    int32_t bits;        /* of a value */
    int32_t pixel_bytes; /* of an output pixel */
    int32_t usual_bits;  /* bits, if saturating to them suffices; otherwise 0 */
    int32_t is_aligned;  /* channels are at the begin of a byte */
} target;

/* Whether no factor is zero or below those of ek_round. */
static int32_t are_usual(const int32_t *factor, int32_t count) {
    for (; count > 0; count--, factor += EK_CHANNEL_FIELDS) {
        if (factor[0] == 0 || factor[1] < -EK_LARGEST_SHIFT) {
            return 0;
        }
    }
    return 1;
}

static target target_of(const ek_conv2d_packed_params *params, int32_t group) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t bits = params->output_bits, count = base->output_channels / base->groups;
    const int32_t lowest = -(1 << (bits - 1));
    target to = {
        .channels = base->channels + group * count * EK_CHANNEL_FIELDS,
        .stage = {base->output_zero_point, base->activation_min, base->activation_max,
                  base->simple_rescale},
        .count = count,
        .first = group * count,
        .bits = bits,
        .pixel_bytes = (base->output_channels * bits + 7) / 8,
        .is_aligned = (group * count * bits & 7) == 0,
    };
    if (base->activation_min == lowest && base->activation_max == -1 - lowest &&
        are_usual(to.channels + 1, count)) {
        to.usual_bits = bits;
    }
    return to;
}

/* Writes one value; values of a pixel are written in their order, and the rest of a byte is zero.
 */
static void put(uint8_t *pixel, int32_t channel, int32_t bits, int32_t value) {
    const int32_t place = channel * bits, shift = place & 7;
    const int32_t before = pixel[place >> 3] & ((1 << shift) - 1);
    pixel[place >> 3] = (uint8_t)(before | (value & ((1 << bits) - 1)) << shift);
}

/* Adds up to four channels, whose weights have 4 bits, times two pixels; returns the weights
 * behind.
 */
static const int8_t *multiply_narrow_4x2(const int8_t *weights, int32_t is_block_of_4,
                                         const uint32_t *pairs, int32_t fours, int32_t sums[8]) {
    int32_t a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
    for (const uint32_t *end = pairs + EK_PAIRS * fours; pairs < end; pairs += EK_PAIRS) {
        uint32_t x = pairs[0], y = pairs[1];
        EK_STEP_2X2(EK_LOW_NIBBLES(ek_load(weights)), a, b, e, f);
        if (is_block_of_4) {
            EK_STEP_2X2(EK_LOW_NIBBLES(ek_load(weights + 4)), c, d, g, h);
        }
        x = pairs[EK_PATCHES], y = pairs[EK_PATCHES + 1];
        EK_STEP_2X2(EK_HIGH_NIBBLES(ek_load(weights)), a, b, e, f);
        if (is_block_of_4) {
            EK_STEP_2X2(EK_HIGH_NIBBLES(ek_load(weights + 4)), c, d, g, h);
            weights += 4;
        }
        weights += 4;
    }
    sums[0] += a >> 4, sums[1] += b >> 4, sums[2] += c >> 4, sums[3] += d >> 4;
    sums[4] += e >> 4, sums[5] += f >> 4, sums[6] += g >> 4, sums[7] += h >> 4;
    return weights;
}

/* Up to four channels for two pixels, whose outputs may be the same. */
static const int8_t *multiply_pixels(const target *to, const int8_t *weights, int32_t weight_bits,
                                     int32_t done, const uint32_t *pairs, int32_t fours,
                                     uint8_t *first, uint8_t *second) {
    const int32_t *channel = to->channels + done * EK_CHANNEL_FIELDS;
    const int32_t width = to->count - done < 4 ? to->count - done : 4;
    int32_t sums[8] = {0};
    if (weight_bits == 4) {
        weights = multiply_narrow_4x2(weights, width > 2, pairs, fours, sums);
    } else if (width > 2) {
        weights = ek_multiply_4x2(weights, pairs, fours, sums);
    } else {
        ek_multiply_2x2(weights, pairs, fours, sums);
    }
    for (int32_t i = 0; i < width; i++, channel += EK_CHANNEL_FIELDS) {
        const int32_t a = ek_wrapping_add(sums[i], channel[0]);
        const int32_t b = ek_wrapping_add(sums[4 + i], channel[0]);
        put(first, to->first + done + i, to->bits,
            ek_finish_dsp(a, channel[1], channel[2], &to->stage));
        put(second, to->first + done + i, to->bits,
            ek_finish_dsp(b, channel[1], channel[2], &to->stage));
    }
    return weights;
}

/* Rescales by the factor of a channel as ek_finish_dsp does, but does not saturate. Factors of a
 * half and more, which narrow values multiplied by narrow weights have often, need no rounding
 * shift. */
#define EK_ROUND(SUM)                                                                              \
    do {                                                                                           \
        const int32_t high = ek_high(SUM, multiplier);                                             \
        SUM = ek_saturating_add(high + (high >> 31), rounding) >> shift;                           \
    } while (0)
#define EK_RAISE(SUM)                                                                              \
    SUM = ek_wrapping_add(ek_high(ek_shift_left(SUM, -shift), multiplier), zero_point)
#define EK_RESCALE_4(A, B, C, D, CHANNEL)                                                          \
    do {                                                                                           \
        const int32_t multiplier = (CHANNEL)[1], shift = -(CHANNEL)[2];                            \
        if (shift > 0) {                                                                           \
            const int32_t rounding = ek_half_of(&to->stage, shift);                                \
            EK_ROUND(A);                                                                           \
            EK_ROUND(B);                                                                           \
            EK_ROUND(C);                                                                           \
            EK_ROUND(D);                                                                           \
        } else {                                                                                   \
            const int32_t zero_point = to->stage.zero_point;                                       \
            EK_RAISE(A);                                                                           \
            EK_RAISE(B);                                                                           \
            EK_RAISE(C);                                                                           \
            EK_RAISE(D);                                                                           \
        }                                                                                          \
    } while (0)

#define EK_DESCALE(SUM, CHANNEL) SUM = ek_wrapping_add((CHANNEL)[0], (SUM) >> 4)
#define EK_DESCALE_4(A, B, C, D, CHANNEL)                                                          \
    do {                                                                                           \
        EK_DESCALE(A, CHANNEL);                                                                    \
        EK_DESCALE(B, CHANNEL);                                                                    \
        EK_DESCALE(C, CHANNEL);                                                                    \
        EK_DESCALE(D, CHANNEL);                                                                    \
    } while (0)

/* Stores two channels, whose bounds are those of the bits or narrower. Of channels of 2 bits, the
 * second two share the byte of the first. */
EK_INLINED void store_two(uint8_t *to, int32_t bits, int32_t is_second, int32_t a, int32_t b) {
    if (bits == 8) {
        to[0] = (uint8_t)ek_saturate8(a);
        to[1] = (uint8_t)ek_saturate8(b);
    } else if (bits == 4) {
        *to = (uint8_t)ek_join_4(ek_saturate4(a), ek_saturate4(b));
    } else {
        const int32_t both = ek_join_2(ek_saturate2(a), ek_saturate2(b));
        *to = (uint8_t)(is_second ? ek_join_4(*to, both) : both);
    }
}

/* Writes two channels of four pixels, whatever their factors and bounds; returns where the next two
 * belong. */
EK_APART uint8_t *finish_any(const target *to, int32_t half, const int32_t sums[8],
                             uint8_t *output) {
    const int32_t *channel = to->channels + 2 * half * EK_CHANNEL_FIELDS;
    const int32_t bits = to->bits, is_second = half & 1;
    int8_t values[8];
    ek_finish_any_4(sums, channel + 1, &to->stage, values, 1);
    ek_finish_any_4(sums + 4, channel + 1 + EK_CHANNEL_FIELDS, &to->stage, values + 4, 1);
    for (int32_t i = 0; i < EK_PATCHES; i++) {
        store_two(output + i * to->pixel_bytes, bits, is_second, values[i], values[4 + i]);
    }
    return output + (bits == 8 ? 2 : (bits == 4 ? 1 : is_second));
}

#define EK_STORE_4(BITS)                                                                           \
    do {                                                                                           \
        store_two(output, BITS, half & 1, a0, b0);                                                 \
        store_two(output + step, BITS, half & 1, a1, b1);                                          \
        store_two(output + 2 * step, BITS, half & 1, a2, b2);                                      \
        store_two(output + 3 * step, BITS, half & 1, a3, b3);                                      \
    } while (0)

/* Blocks of four channels, two by two, for four pixels; returns the weights behind. */
EK_INLINED const int8_t *multiply_blocks(const target *to, const int8_t *weights,
                                         int32_t weight_bits, const uint32_t *const patches,
                                         int32_t fours, uint8_t *pixel) {
    const uint32_t *const end = patches + EK_PAIRS * fours;
    const int32_t *channel = to->channels;
    const int32_t halves = to->count / 4 * 2, step = to->pixel_bytes, usual_bits = to->usual_bits;
    uint8_t *output = pixel + to->first * to->bits / 8;
    for (int32_t half = 0; half < halves; half++) {
        const int32_t *const other = channel + EK_CHANNEL_FIELDS;
        const uint32_t *pairs = patches;
        int32_t a0 = weight_bits == 8 ? channel[0] : 0, a1 = a0, a2 = a0, a3 = a0;
        int32_t b0 = weight_bits == 8 ? other[0] : 0, b1 = b0, b2 = b0, b3 = b0;
        if (weight_bits == 8) {
            EK_MULTIPLY_2X4(EK_BYTES_2X4);
        } else {
            EK_MULTIPLY_2X4(EK_NIBBLES_2X4);
            EK_DESCALE_4(a0, a1, a2, a3, channel);
            EK_DESCALE_4(b0, b1, b2, b3, other);
        }
        /* The other two channels of the block lie four bytes behind the first two. */
        weights += (half & 1) ? -4 : 4 - 2 * weight_bits * fours;
        if (usual_bits == 0) {
            const int32_t sums[8] = {a0, a1, a2, a3, b0, b1, b2, b3};
            output = finish_any(to, half, sums, output);
        } else {
            EK_RESCALE_4(a0, a1, a2, a3, channel);
            EK_RESCALE_4(b0, b1, b2, b3, other);
            if (usual_bits == 4) {
                EK_STORE_4(4);
                output++;
            } else if (usual_bits == 8) {
                EK_STORE_4(8);
                output += 2;
            } else {
                EK_STORE_4(2);
                output += half & 1;
            }
        }
        channel += 2 * EK_CHANNEL_FIELDS;
    }
    return weights;
}

EK_APART const int8_t *multiply_bytes(const target *to, const int8_t *weights,
                                      const uint32_t *patches, int32_t fours, uint8_t *pixel) {
    return multiply_blocks(to, weights, 8, patches, fours, pixel);
}

EK_APART const int8_t *multiply_nibbles(const target *to, const int8_t *weights,
                                        const uint32_t *patches, int32_t fours, uint8_t *pixel) {
    return multiply_blocks(to, weights, 4, patches, fours, pixel);
}

/* All channels of a group for four pixels, or for the last of an image, which are fewer. */
static void multiply_patches(const target *to, const int8_t *weights, int32_t weight_bits,
                             const uint32_t *pairs, int32_t fours, uint8_t *output,
                             int32_t pixels) {
    int32_t done = 0;
    if (pixels == EK_PATCHES && to->is_aligned) {
        weights = weight_bits == 8 ? multiply_bytes(to, weights, pairs, fours, output)
                                   : multiply_nibbles(to, weights, pairs, fours, output);
        done = to->count & ~3;
    }
    for (; done < to->count; done += 4) {
        const int8_t *start = weights;
        for (int32_t i = 0; i < pixels; i += 2) {
            uint8_t *first = output + i * to->pixel_bytes;
            weights = multiply_pixels(to, start, weight_bits, done, pairs + i, fours, first,
                                      i + 1 < pixels ? first + to->pixel_bytes : first);
        }
    }
}

static int32_t depth_of(const ek_conv2d_s8_params *params) {
    return params->kernel_height * params->kernel_width * (params->input_channels / params->groups);
}

/* One group of channels of one image. */
static void convolve(const ek_conv2d_packed_params *params, const void *image, int32_t group,
                     void *scratch, uint8_t *output) {
    const ek_conv2d_s8_params *base = &params->base;
    const target to = target_of(params, group);
    const int32_t depth = depth_of(base), fours = (depth + 3) / 4;
    const int32_t count = base->output_height * base->output_width;
    const int8_t *weights =
        base->weights + group * ek_weights_bytes(to.count, depth, params->weight_bits);
    uint32_t *pairs = scratch;
    int8_t *collected = (int8_t *)(pairs + EK_PAIRS * fours);
    int8_t *ring = (int8_t *)scratch + ek_conv2d_packed_scratch_bytes(params);
    const ek_rows rows = ek_rows_of(base, image, ring, image == output);
    ek_source bytes = ek_source_of(base, group, &rows);
    ek_packed_source values = ek_packed_source_of(params, group, image, ring, image == output);
    if (params->input_bits == 8 && !bytes.is_pixel) {
        memset(collected, 0, (size_t)(4 * fours));
    }
    ek_place at = {0, 0};
    for (int32_t pixel = 0; pixel < count; pixel += EK_PATCHES) {
        const int32_t pixels = count - pixel < EK_PATCHES ? count - pixel : EK_PATCHES;
        at = params->input_bits == 8
                 ? ek_read_block(base, &bytes, at, pixels, pairs, collected)
                 : ek_unpack_patches(base, &values, at, pixels, pairs, collected);
        multiply_patches(&to, weights, params->weight_bits, pairs, fours, output, pixels);
        output += EK_PATCHES * to.pixel_bytes;
    }
}

ek_status ek_conv2d_packed(const ek_conv2d_packed_params *params, const void *input, void *scratch,
                           void *output) {
    const ek_conv2d_s8_params *base = &params->base;
    const uint8_t *from = input;
    uint8_t *to = output;
    for (int32_t batch = 0; batch < base->batches; batch++) {
        for (int32_t group = 0; group < base->groups; group++) {
            convolve(params, from, group, scratch, to);
        }
        from += base->input_height * base->input_width *
                ((base->input_channels * params->input_bits + 7) / 8);
        to += base->output_height * base->output_width *
              ((base->output_channels * params->output_bits + 7) / 8);
    }
    return EK_STATUS_OK;
}

/* Four patches in 16 bits, and one in bytes where it is collected first. */
size_t ek_conv2d_packed_scratch_bytes(const ek_conv2d_packed_params *params) {
    const ek_rows rows = {0};
    const ek_source from = ek_source_of(&params->base, 0, &rows);
    const int32_t is_direct = params->input_bits == 8 ? from.is_pixel : (from.channels & 3) == 0;
    const int32_t depth = (depth_of(&params->base) + 3) & ~3;
    return (size_t)((is_direct ? 2 * EK_PATCHES : 2 * EK_PATCHES + 1) * depth);
}

size_t ek_conv2d_packed_in_place_bytes(const ek_conv2d_packed_params *params) {
    const ek_conv2d_s8_params *base = &params->base;
    return (size_t)(ek_kept_rows(base) * base->input_width *
                    ((base->input_channels * params->input_bits + 7) / 8));
}
