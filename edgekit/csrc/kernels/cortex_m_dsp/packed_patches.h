/* What the windows of four output pixels reach in a packed image, in the pairs of patches.h.
 *
 * Values become x + 2**(bits - 1), which is not negative: fields that are cut out of words need no
 * signs. The biases make up for it. */
#ifndef EDGEKIT_KERNELS_PACKED_PATCHES_H
#define EDGEKIT_KERNELS_PACKED_PATCHES_H

#include "edgekit/kernels_packed.h"
#include "inlined.h"
#include "patches.h"

/* Keeps a mask in a register, where shifting comes with the operation. */
static inline uint32_t ek_in_register(uint32_t mask) {
#if defined(__ARM_FEATURE_DSP)
    __asm__("" : "+r"(mask));
#endif
    return mask;
}

/* Moves fields so that a mask cuts pairs out of words. Of the lower half of a word, whose first
 * four fields are 0 to 3: places 0 and 2 are in the lowest bits of both halves, 1 and 3 one field
 * further up, and the next four fields follow 8 bits further up. The same of the upper half, but
 * 8 (of 4 bits) or 4 (of 2 bits) further up. */
#if defined(__ARM_FEATURE_DSP)
#define EK_SPREAD(NAME, TEXT)                                                                      \
    static inline uint32_t NAME(uint32_t x) {                                                      \
        uint32_t result;                                                                           \
        __asm__(TEXT : "=r"(result) : "r"(x));                                                     \
        return result;                                                                             \
    }
EK_SPREAD(ek_low_of_4, "pkhbt %0, %1, %1, lsl #8")
EK_SPREAD(ek_low_of_2, "pkhbt %0, %1, %1, lsl #12")
EK_SPREAD(ek_high_of_4, "pkhtb %0, %1, %1, asr #8")
EK_SPREAD(ek_high_of_2, "pkhtb %0, %1, %1, asr #12")

static inline uint32_t *ek_store_both(uint32_t *to, uint32_t first, uint32_t second) {
    __asm__ volatile("strd %1, %2, [%0], #16" : "+r"(to) : "r"(first), "r"(second) : "memory");
    return to;
}
#else
static inline uint32_t ek_low_of_4(uint32_t x) { return (x & 0xFFFFu) | (x << 8 & 0xFFFF0000u); }

static inline uint32_t ek_low_of_2(uint32_t x) { return (x & 0xFFFFu) | (x << 12 & 0xFFFF0000u); }

static inline uint32_t ek_high_of_4(uint32_t x) { return (x & 0xFFFF0000u) | (x >> 8 & 0xFFFFu); }

static inline uint32_t ek_high_of_2(uint32_t x) { return (x & 0xFFFF0000u) | (x >> 12 & 0xFFFFu); }

static inline uint32_t *ek_store_both(uint32_t *to, uint32_t first, uint32_t second) {
    to[0] = first, to[1] = second;
    return to + EK_PATCHES;
}
#endif

/* Stores pairs of one or two pixels; returns where their next ones are. */
EK_INLINED uint32_t *ek_store_pixels(uint32_t *to, int32_t pixels, uint32_t first,
                                     uint32_t second) {
    if (pixels == 2) {
        return ek_store_both(to, first, second);
    }
    *to = first;
    return to + EK_PATCHES;
}

#define EK_STORE_FIELDS(SHIFT)                                                                     \
    pairs = ek_store_pixels(pairs, pixels, a >> (SHIFT)&mask, b >> (SHIFT)&mask)
#define EK_SPREAD_BY(FUNCTION) (a = FUNCTION(first), b = FUNCTION(second))

/* Four places of one or two pixels, which are in the lowest bits. */
EK_INLINED uint32_t *ek_unpack_fields(uint32_t *pairs, int32_t bits, int32_t pixels, uint32_t first,
                                      uint32_t second, uint32_t mask) {
    uint32_t a, b;
    if (bits == 4) {
        first ^= 0x8888u, second ^= 0x8888u;
        EK_SPREAD_BY(ek_low_of_4);
    } else {
        first ^= 0xAAu, second ^= 0xAAu;
        EK_SPREAD_BY(ek_low_of_2);
    }
    EK_STORE_FIELDS(0);
    EK_STORE_FIELDS(bits);
    return pairs;
}

/* As many places as are in a word. */
EK_INLINED uint32_t *ek_unpack_words(uint32_t *pairs, int32_t bits, int32_t pixels, uint32_t first,
                                     uint32_t second, uint32_t mask) {
    uint32_t a, b;
    if (bits == 4) {
        first ^= 0x88888888u, second ^= 0x88888888u;
        EK_SPREAD_BY(ek_low_of_4);
        EK_STORE_FIELDS(0);
        EK_STORE_FIELDS(4);
        EK_SPREAD_BY(ek_high_of_4);
        EK_STORE_FIELDS(8);
        EK_STORE_FIELDS(12);
        return pairs;
    }
    first ^= 0xAAAAAAAAu, second ^= 0xAAAAAAAAu;
    EK_SPREAD_BY(ek_low_of_2);
    EK_STORE_FIELDS(0);
    EK_STORE_FIELDS(2);
    EK_STORE_FIELDS(8);
    EK_STORE_FIELDS(10);
    EK_SPREAD_BY(ek_high_of_2);
    EK_STORE_FIELDS(4);
    EK_STORE_FIELDS(6);
    EK_STORE_FIELDS(12);
    EK_STORE_FIELDS(14);
    return pairs;
}

/* The fields of four places at the begin of a byte. */
EK_INLINED uint32_t ek_load_fields(const uint8_t *from, int32_t bits) {
    return bits == 4 ? from[0] | (uint32_t)from[1] << 8 : from[0];
}

EK_INLINED uint32_t ek_mask_of(int32_t bits) {
    return ek_in_register(bits == 4 ? 0x000F000Fu : 0x00030003u);
}

/* Writes values, a multiple of four, of one pixel; returns the pairs behind. */
EK_INLINED uint32_t *ek_unpack_one(uint32_t *pairs, int32_t bits, const uint8_t *from,
                                   int32_t count) {
    const uint32_t mask = ek_mask_of(bits);
    for (; count >= 32 / bits; count -= 32 / bits, from += 4) {
        pairs = ek_unpack_words(pairs, bits, 1, ek_load(from), 0, mask);
    }
    for (; count > 0; count -= 4, from += bits / 2) {
        pairs = ek_unpack_fields(pairs, bits, 1, ek_load_fields(from, bits), 0, mask);
    }
    return pairs;
}

/* Writes as many of each of four pixels, which lie `step` bytes apart. */
EK_INLINED uint32_t *ek_unpack_four(uint32_t *pairs, int32_t bits, const uint8_t *from,
                                    int32_t step, int32_t count) {
    const uint32_t mask = ek_mask_of(bits);
    const int32_t third = 2 * step, fourth = 3 * step;
    for (; count >= 32 / bits; count -= 32 / bits, from += 4) {
        const uint32_t c = ek_load(from + third), d = ek_load(from + fourth);
        (void)ek_unpack_words(pairs + 2, bits, 2, c, d, mask);
        pairs = ek_unpack_words(pairs, bits, 2, ek_load(from), ek_load(from + step), mask);
    }
    for (; count > 0; count -= 4, from += bits / 2) {
        const uint32_t c = ek_load_fields(from + third, bits);
        const uint32_t d = ek_load_fields(from + fourth, bits);
        (void)ek_unpack_fields(pairs + 2, bits, 2, c, d, mask);
        pairs = ek_unpack_fields(pairs, bits, 2, ek_load_fields(from, bits),
                                 ek_load_fields(from + step, bits), mask);
    }
    return pairs;
}

/* A group of channels of a packed image, and what of the kernel lies over the image. */
typedef struct ek_packed_source {
    ek_rows rows;
    int32_t bits;
    int32_t pixel_bytes;
    int32_t first_channel;
    int32_t channels;
    int32_t zero_point; /* as values are multiplied */
    int32_t is_joined;  /* values under a row of the kernel lie in one piece */
    int32_t is_aligned; /* channels of each pixel are whole fours at the begin of a byte */
} ek_packed_source;

static ek_packed_source ek_packed_source_of(const ek_conv2d_packed_params *params, int32_t group,
                                            const int8_t *image, int8_t *ring, int32_t in_place) {
    const ek_conv2d_s8_params *base = &params->base;
    const int32_t channels = base->input_channels / base->groups;
    ek_packed_source from = {
        .bits = params->input_bits,
        .pixel_bytes = (base->input_channels * params->input_bits + 7) / 8,
        .first_channel = group * channels,
        .channels = channels,
        .zero_point = base->input_zero_point + (1 << (params->input_bits - 1)),
        .is_joined = base->kernel_width == 1 || (base->dilation_width == 1 && base->groups == 1),
        .is_aligned = (channels & 3) == 0,
    };
    from.rows = (ek_rows){.image = image,
                          .ring = ring,
                          .row_bytes = base->input_width * from.pixel_bytes,
                          .places = in_place ? ek_kept_rows(base) : 0};
    return from;
}

static uint32_t *ek_fill_one(uint32_t *pairs, int32_t value, int32_t count) {
    for (; count > 0; count -= 2, pairs += EK_PATCHES) {
        *pairs = ek_pair(value, value);
    }
    return pairs;
}

/* Reads the patches of four pixels side by side, as ek_read_four does. */
static int32_t ek_unpack_block(const ek_conv2d_s8_params *params, const ek_packed_source *from,
                               ek_place at, uint32_t *pairs) {
    const int32_t left = at.x * params->stride_width - params->pad_left;
    const int32_t span = (EK_PATCHES - 1) * params->stride_width + params->kernel_width;
    if (!from->is_joined || !from->is_aligned || at.x + EK_PATCHES > params->output_width ||
        left < 0 || left + span > params->input_width) {
        return 0;
    }
    const int32_t step = params->stride_width * from->pixel_bytes;
    const int32_t count = params->kernel_width * from->channels;
    const int32_t offset = left * from->pixel_bytes + from->first_channel * from->bits / 8;
    int32_t line = at.y * params->stride_height - params->pad_top;
    for (int32_t i = 0; i < params->kernel_height; i++, line += params->dilation_height) {
        if (line < 0 || line >= params->input_height) {
            pairs = ek_fill_four(pairs, from->zero_point, count);
            continue;
        }
        const uint8_t *bytes = (const uint8_t *)ek_row(&from->rows, line) + offset;
        pairs = from->bits == 4 ? ek_unpack_four(pairs, 4, bytes, step, count)
                                : ek_unpack_four(pairs, 2, bytes, step, count);
    }
    return 1;
}

/* Reads what lies under one row of the kernel, whose channels are aligned. */
static uint32_t *ek_unpack_line(const ek_conv2d_s8_params *params, const ek_packed_source *from,
                                int32_t line, int32_t left, uint32_t *pairs) {
    const int32_t width = params->kernel_width;
    if (line < 0 || line >= params->input_height) {
        return ek_fill_one(pairs, from->zero_point, width * from->channels);
    }
    const uint8_t *bytes = (const uint8_t *)ek_row(&from->rows, line);
    bytes += from->first_channel * from->bits / 8;
    for (int32_t tap = 0, taps; tap < width; tap += taps) {
        const int32_t column = left + tap * params->dilation_width;
        taps = 1;
        if (column < 0 || column >= params->input_width) {
            pairs = ek_fill_one(pairs, from->zero_point, from->channels);
            continue;
        }
        if (from->is_joined) {
            const int32_t inside = params->input_width - column;
            taps = inside < width - tap ? inside : width - tap;
        }
        const uint8_t *pixel = bytes + column * from->pixel_bytes;
        pairs = from->bits == 4 ? ek_unpack_one(pairs, 4, pixel, taps * from->channels)
                                : ek_unpack_one(pairs, 2, pixel, taps * from->channels);
    }
    return pairs;
}

/* Collects the same as bytes, of any channels. */
static int8_t *ek_collect_values(const ek_conv2d_s8_params *params, const ek_packed_source *from,
                                 int32_t line, int32_t left, int8_t *to) {
    const int32_t sign = 1 << (from->bits - 1);
    const int32_t is_line = line >= 0 && line < params->input_height;
    for (int32_t tap = 0; tap < params->kernel_width; tap++) {
        const int32_t column = left + tap * params->dilation_width;
        if (!is_line || column < 0 || column >= params->input_width) {
            to = ek_fill_patch(to, from->zero_point, from->channels);
            continue;
        }
        const uint8_t *pixel =
            (const uint8_t *)ek_row(&from->rows, line) + column * from->pixel_bytes;
        int32_t place = from->first_channel * from->bits;
        for (int32_t i = 0; i < from->channels; i++, place += from->bits) {
            const int32_t field = pixel[place >> 3] >> (place & 7) & (2 * sign - 1);
            *to++ = (int8_t)(field ^ sign);
        }
    }
    return to;
}

/* Reads the patch of one pixel; `collected` is memory for its bytes where channels are not aligned.
 */
static void ek_unpack_patch(const ek_conv2d_s8_params *params, const ek_packed_source *from,
                            ek_place at, uint32_t *pairs, int8_t *collected) {
    const int32_t left = at.x * params->stride_width - params->pad_left;
    int32_t line = at.y * params->stride_height - params->pad_top;
    int8_t *to = collected;
    for (int32_t i = 0; i < params->kernel_height; i++, line += params->dilation_height) {
        if (from->is_aligned) {
            pairs = ek_unpack_line(params, from, line, left, pairs);
        } else {
            to = ek_collect_values(params, from, line, left, to);
        }
    }
    if (!from->is_aligned) {
        const int32_t count = (int32_t)(to - collected);
        (void)ek_fill_patch(to, 0, -count & 3);
        ek_widen(pairs, collected, (count + 3) & ~3);
    }
}

/* As ek_read_block. */
static ek_place ek_unpack_patches(const ek_conv2d_s8_params *params, ek_packed_source *from,
                                  ek_place at, int32_t pixels, uint32_t *pairs, int8_t *collected) {
    ek_keep_row(&from->rows, at.y);
    if (pixels == EK_PATCHES && ek_unpack_block(params, from, at, pairs)) {
        return ek_place_behind(params, at, EK_PATCHES);
    }
    for (int32_t i = 0; i < pixels; i++) {
        ek_keep_row(&from->rows, at.y);
        ek_unpack_patch(params, from, at, pairs + i, collected);
        if (i + 1 == pixels && (pixels & 1)) {
            ek_unpack_patch(params, from, at, pairs + pixels, collected);
        }
        at = ek_place_behind(params, at, 1);
    }
    return at;
}

#endif
