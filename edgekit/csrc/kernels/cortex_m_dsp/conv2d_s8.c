#include "dsp.h"
#include "packed.h"
#include "rows.h"

/* Patches of four output pixels, widened to 16 bits. For every four places of the depth 0 to 3
 * there are eight pairs: 0 2 of each pixel, then 1 3 of each pixel. */
enum { PIXELS = 4, PAIRS = 2 * PIXELS };

/* Writes bytes, a multiple of four, to the pairs of one pixel; returns the pairs behind. */
static uint32_t *widen(uint32_t *pairs, const int8_t *bytes, int32_t count) {
    for (const int8_t *end = bytes + count; bytes < end; bytes += 4) {
        const uint32_t word = ek_load(bytes);
        pairs[0] = ek_even(word);
        pairs[PIXELS] = ek_odd(word);
        pairs += PAIRS;
    }
    return pairs;
}

static uint32_t *fill(uint32_t *pairs, int32_t value, int32_t count) {
    const uint32_t pair = ek_pair(value, value);
    for (; count > 0; count -= 4) {
        pairs[0] = pairs[PIXELS] = pair;
        pairs += PAIRS;
    }
    return pairs;
}

/* Where a patch is written to: to pairs at once, or where channels are no multiple of four, to
 * bytes that become pairs when they are complete. */
typedef struct sink {
    uint32_t *pairs;
    int8_t *bytes; /* NULL where nothing is collected */
} sink;

static void put(sink *to, const int8_t *bytes, int32_t count) {
    if (to->bytes == NULL) {
        to->pairs = widen(to->pairs, bytes, count);
        return;
    }
    for (; count >= 4; count -= 4) {
        ek_store(to->bytes, ek_load(bytes));
        to->bytes += 4;
        bytes += 4;
    }
    for (; count > 0; count--) {
        *to->bytes++ = *bytes++;
    }
}

static void put_value(sink *to, int32_t value, int32_t count) {
    if (to->bytes == NULL) {
        to->pairs = fill(to->pairs, value, count);
        return;
    }
    for (; count > 0; count--) {
        *to->bytes++ = (int8_t)value;
    }
}

/* A group of channels, read from output pixel to output pixel. */
typedef struct source {
    ek_rows rows;
    int32_t first_channel;
    int32_t channels;
    int32_t first_tap; /* columns of the kernel that lie inside the image */
    int32_t end_tap;
} source;

/* One row of the kernel; what lies under it side by side is read at once. */
static void put_line(const ek_conv2d_s8_params *params, const source *from, int32_t line,
                     int32_t left, sink *to) {
    const int32_t channels = from->channels;
    const int32_t taps = from->end_tap - from->first_tap;
    if (line < 0 || line >= params->input_height || taps <= 0) {
        put_value(to, params->input_zero_point, params->kernel_width * channels);
        return;
    }
    put_value(to, params->input_zero_point, from->first_tap * channels);
    const int32_t column = left + from->first_tap * params->dilation_width;
    const int8_t *bytes =
        ek_row(&from->rows, line) + column * params->input_channels + from->first_channel;
    if (params->dilation_width == 1 && channels == params->input_channels) {
        put(to, bytes, taps * channels);
    } else {
        for (int32_t tap = 0; tap < taps; tap++) {
            put(to, bytes, channels);
            bytes += params->dilation_width * params->input_channels;
        }
    }
    put_value(to, params->input_zero_point, (params->kernel_width - from->end_tap) * channels);
}

/* Finds the columns of the kernel that lie inside the image. */
static void clip_taps(const ek_conv2d_s8_params *params, int32_t left, source *from) {
    int32_t first = 0, end = params->kernel_width;
    while (first < end && left + first * params->dilation_width < 0) {
        first++;
    }
    while (end > first && left + (end - 1) * params->dilation_width >= params->input_width) {
        end--;
    }
    from->first_tap = first;
    from->end_tap = end;
}

/* Reads the patch of an output pixel; beyond the image lies the zero point. */
static void read_patch(const ek_conv2d_s8_params *params, source *from, int32_t y, int32_t x,
                       uint32_t *pairs, int8_t *collected) {
    const int32_t top = y * params->stride_height - params->pad_top;
    const int32_t left = x * params->stride_width - params->pad_left;
    const int32_t collects = from->channels & 3;
    sink to = {pairs, collects ? collected : NULL};
    clip_taps(params, left, from);
    for (int32_t i = 0; i < params->kernel_height; i++) {
        put_line(params, from, top + i * params->dilation_height, left, &to);
    }
    if (collects) {
        while ((to.bytes - collected) & 3) {
            *to.bytes++ = 0;
        }
        widen(pairs, collected, (int32_t)(to.bytes - collected));
    }
}

/* Two places of the depth: two channels by two pixels. */
#define EK_STEP_2X2(WORD, A, B, C, D)                                                              \
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
        EK_STEP_2X2(ek_load(weights), a, b, e, f);
        EK_STEP_2X2(ek_load(weights + 4), c, d, g, h);
        x = pairs[PIXELS], y = pairs[PIXELS + 1];
        EK_STEP_2X2(ek_load(weights + 8), a, b, e, f);
        EK_STEP_2X2(ek_load(weights + 12), c, d, g, h);
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
        EK_STEP_2X2(ek_load(weights), a, b, e, f);
        x = pairs[PIXELS], y = pairs[PIXELS + 1];
        EK_STEP_2X2(ek_load(weights + 4), a, b, e, f);
        weights += 8;
    }
    sums[0] = a, sums[1] = b, sums[4] = e, sums[5] = f;
}

/* Up to four channels for two pixels, whose outputs may be the same. */
static const int8_t *multiply_pixels(const int8_t *weights, const int32_t *channel, int32_t width,
                                     const uint32_t *pairs, int32_t fours,
                                     const ek_output_stage *stage, int8_t *first, int8_t *second) {
    int32_t sums[8];
    for (int32_t i = 0; i < 4; i++) {
        sums[i] = sums[4 + i] = i < width ? channel[i * EK_CHANNEL_FIELDS] : 0;
    }
    if (width > 2) {
        weights = multiply_4x2(weights, pairs, fours, sums);
    } else {
        multiply_2x2(weights, pairs, fours, sums);
    }
    for (int32_t i = 0; i < width; i++) {
        first[i] = ek_finish_dsp(sums[i], channel[1], channel[2], stage);
        second[i] = ek_finish_dsp(sums[4 + i], channel[1], channel[2], stage);
        channel += EK_CHANNEL_FIELDS;
    }
    return weights;
}

/* Two places of the depth of two channels, whose weights are eight bytes apart, by four pixels.
 * All registers that there are hold something: eight sums, two places in memory, two pairs of
 * weights and two of pixels. */
#if defined(EK_DSP_REGISTERS)
#define EK_STEP_2X4                                                                                \
    "ldr %[v], [%[weights]], #8\n\t"                                                               \
    "ldrd %[x], %[y], [%[pairs]], #8\n\t"                                                          \
    "sxtb16 %[w], %[v], ror #8\n\t"                                                                \
    "sxtb16 %[v], %[v]\n\t"                                                                        \
    "smlad %[a0], %[v], %[x], %[a0]\n\t"                                                           \
    "smlad %[b0], %[w], %[x], %[b0]\n\t"                                                           \
    "smlad %[a1], %[v], %[y], %[a1]\n\t"                                                           \
    "smlad %[b1], %[w], %[y], %[b1]\n\t"                                                           \
    "ldrd %[x], %[y], [%[pairs]], #8\n\t"                                                          \
    "smlad %[a2], %[v], %[x], %[a2]\n\t"                                                           \
    "smlad %[b2], %[w], %[x], %[b2]\n\t"                                                           \
    "smlad %[a3], %[v], %[y], %[a3]\n\t"                                                           \
    "smlad %[b3], %[w], %[y], %[b3]\n\t"
#define EK_STEPS_2X4(TEXT)                                                                         \
    __asm__ volatile(                                                                              \
        TEXT                                                                                       \
        : [weights] "+r"(weights), [pairs] "+r"(pairs), [a0] "+r"(a0), [a1] "+r"(a1),              \
          [a2] "+r"(a2), [a3] "+r"(a3), [b0] "+r"(b0), [b1] "+r"(b1), [b2] "+r"(b2),               \
          [b3] "+r"(b3), [v] "=&r"(v), [w] "=&r"(w), [x] "=&r"(x), [y] "=&r"(y)::"memory")
#define EK_FOUR_2X4() EK_STEPS_2X4(EK_STEP_2X4 EK_STEP_2X4)
#define EK_EIGHT_2X4() EK_STEPS_2X4(EK_STEP_2X4 EK_STEP_2X4 EK_STEP_2X4 EK_STEP_2X4)
#else
#define EK_STEP_2X4()                                                                              \
    do {                                                                                           \
        v = ek_even(ek_load(weights)), w = ek_odd(ek_load(weights));                               \
        x = pairs[0], y = pairs[1];                                                                \
        a0 = ek_dot(v, x, a0), b0 = ek_dot(w, x, b0), a1 = ek_dot(v, y, a1),                       \
        b1 = ek_dot(w, y, b1);                                                                     \
        x = pairs[2], y = pairs[3];                                                                \
        a2 = ek_dot(v, x, a2), b2 = ek_dot(w, x, b2), a3 = ek_dot(v, y, a3),                       \
        b3 = ek_dot(w, y, b3);                                                                     \
        weights += 8, pairs += PIXELS;                                                             \
    } while (0)
#define EK_FOUR_2X4()                                                                              \
    do {                                                                                           \
        EK_STEP_2X4();                                                                             \
        EK_STEP_2X4();                                                                             \
    } while (0)
#define EK_EIGHT_2X4()                                                                             \
    do {                                                                                           \
        EK_FOUR_2X4();                                                                             \
        EK_FOUR_2X4();                                                                             \
    } while (0)
#endif

/* Two of four channels for four pixels; outputs of a channel are `step` apart. */
static void multiply_2x4(const int8_t *weights, const int32_t *channel, const uint32_t *pairs,
                         int32_t fours, const ek_output_stage *stage, int8_t *output,
                         int32_t step) {
    uint32_t v, w, x, y;
    int32_t a0 = channel[0], a1 = a0, a2 = a0, a3 = a0;
    int32_t b0 = channel[EK_CHANNEL_FIELDS], b1 = b0, b2 = b0, b3 = b0;
    if (fours & 1) {
        EK_FOUR_2X4();
    }
    for (const uint32_t *end = pairs + PAIRS * (fours & ~1); pairs < end;) {
        EK_EIGHT_2X4();
    }
    ek_finish_4(a0, a1, a2, a3, channel, stage, output, step);
    ek_finish_4(b0, b1, b2, b3, channel + EK_CHANNEL_FIELDS, stage, output + 1, step);
}

/* All channels of a group for four pixels, or for the last of an image, which are fewer. */
static void multiply_patches(const int8_t *weights, const int32_t *channel, int32_t count,
                             const uint32_t *pairs, int32_t fours, const ek_output_stage *stage,
                             int8_t *output, int32_t step, int32_t pixels) {
    while (count > 0) {
        const int32_t width = count < 4 ? count : 4;
        if (width == 4 && pixels == PIXELS) {
            multiply_2x4(weights, channel, pairs, fours, stage, output, step);
            multiply_2x4(weights + 4, channel + 2 * EK_CHANNEL_FIELDS, pairs, fours, stage,
                         output + 2, step);
            weights += 16 * fours;
        } else {
            const int8_t *start = weights;
            for (int32_t i = 0; i < pixels; i += 2) {
                int8_t *first = output + i * step;
                weights = multiply_pixels(start, channel, width, pairs + i, fours, stage, first,
                                          i + 1 < pixels ? first + step : first);
            }
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
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    uint32_t *pairs = scratch;
    int8_t *collected = (int8_t *)(pairs + PAIRS * fours);
    int8_t *ring = (inputs & 3) ? collected + 4 * fours : collected;
    source from = {.rows = ek_rows_of(params, image, ring, image == output),
                   .first_channel = group * inputs,
                   .channels = inputs};
    int32_t y = 0, x = 0;
    for (int32_t pixel = 0; pixel < count; pixel += PIXELS) {
        const int32_t pixels = count - pixel < PIXELS ? count - pixel : PIXELS;
        for (int32_t i = 0; i < pixels; i++) {
            ek_keep_row(&from.rows, y);
            read_patch(params, &from, y, x, pairs + i, collected);
            if ((i & 1) == 0 && i + 1 == pixels) {
                read_patch(params, &from, y, x, pairs + i + 1, collected);
            }
            if (++x == params->output_width) {
                x = 0;
                y++;
            }
        }
        multiply_patches(params->weights + group * ek_packed_bytes(outputs, depth),
                         params->channels + group * outputs * EK_CHANNEL_FIELDS, outputs, pairs,
                         fours, &stage, output + pixel * params->output_channels + group * outputs,
                         params->output_channels, pixels);
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

/* Four patches in 16 bits, and one in bytes where it is collected. */
size_t ek_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params) {
    const int32_t inputs = params->input_channels / params->groups;
    const int32_t padded = (params->kernel_height * params->kernel_width * inputs + 3) & ~3;
    return (size_t)(padded * ((inputs & 3) ? 2 * PIXELS + 1 : 2 * PIXELS));
}
