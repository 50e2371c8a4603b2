#include <string.h>

#include "dsp.h"
#include "packed.h"
#include "rows.h"

/* Patches of four output pixels, widened to 16 bits. For every four places of the depth 0 to 3
 * there are eight pairs: 0 2 of each pixel, then 1 3 of each pixel. */
enum { PIXELS = 4, PAIRS = 2 * PIXELS };

/* Writes bytes, a multiple of four, to the pairs of one pixel. */
static void widen(uint32_t *pairs, const int8_t *bytes, int32_t count) {
    for (const int8_t *end = bytes + count; bytes < end; bytes += 4) {
        const uint32_t word = ek_load(bytes);
        pairs[0] = ek_even(word);
        pairs[PIXELS] = ek_odd(word);
        pairs += PAIRS;
    }
}

/* Writes as many bytes of each of four pixels, which lie `step` apart; returns the pairs behind. */
static uint32_t *widen_all(uint32_t *pairs, const int8_t *first, int32_t step, int32_t count) {
    const int8_t *second = first + step, *third = second + step, *fourth = third + step;
    for (const int8_t *end = first + count; first < end; first += 4) {
        const uint32_t a = ek_load(first), b = ek_load(second);
        const uint32_t c = ek_load(third), d = ek_load(fourth);
        second += 4, third += 4, fourth += 4;
        pairs = ek_store_two(pairs, ek_even(a), ek_even(b));
        pairs = ek_store_two(pairs, ek_even(c), ek_even(d));
        pairs = ek_store_two(pairs, ek_odd(a), ek_odd(b));
        pairs = ek_store_two(pairs, ek_odd(c), ek_odd(d));
    }
    return pairs;
}

static uint32_t *fill_all(uint32_t *pairs, int32_t value, int32_t count) {
    const uint32_t pair = ek_pair(value, value);
    for (; count > 0; count--) {
        pairs = ek_store_two(pairs, pair, pair);
    }
    return pairs;
}

/* Copies bytes; what is left behind the last word overlaps it. */
static int8_t *copy(int8_t *to, const int8_t *bytes, int32_t count) {
    const int32_t last = count - 4;
    for (int32_t i = 0; i < last; i += 4) {
        ek_store(to + i, ek_load(bytes + i));
    }
    if (last >= 0) {
        ek_store(to + last, ek_load(bytes + last));
    } else {
        for (int32_t i = 0; i < count; i++) {
            to[i] = bytes[i];
        }
    }
    return to + count;
}

static int8_t *fill(int8_t *to, int32_t value, int32_t count) {
    while (count-- > 0) {
        *to++ = (int8_t)value;
    }
    return to;
}

/* A group of channels of an image, and what of the kernel lies over the image. */
typedef struct source {
    ek_rows rows;
    int32_t first_channel;
    int32_t channels;
    int32_t is_joined; /* bytes under a row of the kernel lie in one piece */
    int32_t is_pixel;  /* the patch is words of one pixel */
} source;

static source source_of(const ek_conv2d_s8_params *params, int32_t group, const ek_rows *rows) {
    const int32_t channels = params->input_channels / params->groups;
    const int32_t is_narrow = params->kernel_width == 1;
    const int32_t is_inside =
        params->pad_top == 0 && params->pad_left == 0 &&
        (params->output_height - 1) * params->stride_height < params->input_height &&
        (params->output_width - 1) * params->stride_width < params->input_width;
    return (source){
        .rows = *rows,
        .first_channel = group * channels,
        .channels = channels,
        .is_joined = is_narrow || (params->dilation_width == 1 && params->groups == 1),
        .is_pixel = is_narrow && params->kernel_height == 1 && (channels & 3) == 0 && is_inside,
    };
}

/* Reads the patches of four pixels side by side, if nothing of them lies left or right of the image
 * and they consist of words. Returns whether they do. */
static int32_t read_patches(const ek_conv2d_s8_params *params, const source *from, int32_t y,
                            int32_t x, uint32_t *pairs) {
    const int32_t left = x * params->stride_width - params->pad_left;
    const int32_t span = (PIXELS - 1) * params->stride_width + params->kernel_width;
    if (!from->is_joined || (from->channels & 3) || x + PIXELS > params->output_width || left < 0 ||
        left + span > params->input_width) {
        return 0;
    }
    const int32_t step = params->stride_width * params->input_channels;
    const int32_t count = params->kernel_width * from->channels;
    const int32_t offset = left * params->input_channels + from->first_channel;
    int32_t line = y * params->stride_height - params->pad_top;
    for (int32_t i = 0; i < params->kernel_height; i++) {
        if (line < 0 || line >= params->input_height) {
            pairs = fill_all(pairs, params->input_zero_point, count);
        } else {
            pairs = widen_all(pairs, ek_row(&from->rows, line) + offset, step, count);
        }
        line += params->dilation_height;
    }
    return 1;
}

/* Collects the bytes under one row of the kernel, of which columns [first, end) lie in the image.
 */
static int8_t *collect_line(const ek_conv2d_s8_params *params, const source *from, int32_t line,
                            int32_t left, int32_t first, int32_t end, int8_t *to) {
    const int32_t step = params->dilation_width * params->input_channels;
    const int8_t *bytes = ek_row(&from->rows, line) + left * params->input_channels + first * step +
                          from->first_channel;
    to = fill(to, params->input_zero_point, first * from->channels);
    if (from->is_joined) {
        to = copy(to, bytes, (end - first) * from->channels);
    } else {
        for (int32_t tap = first; tap < end; tap++) {
            to = copy(to, bytes, from->channels);
            bytes += step;
        }
    }
    return fill(to, params->input_zero_point, (params->kernel_width - end) * from->channels);
}

/* Reads the patch of one pixel; `collected` is memory for its bytes, whose end is zero. */
static void read_patch(const ek_conv2d_s8_params *params, const source *from, int32_t y, int32_t x,
                       uint32_t *pairs, int8_t *collected) {
    const int32_t left = x * params->stride_width - params->pad_left;
    int32_t line = y * params->stride_height - params->pad_top;
    if (from->is_pixel) {
        widen(pairs,
              ek_row(&from->rows, line) + left * params->input_channels + from->first_channel,
              from->channels);
        return;
    }
    int32_t first = 0, end = params->kernel_width;
    while (first < end && left + first * params->dilation_width < 0) {
        first++;
    }
    while (end > first && left + (end - 1) * params->dilation_width >= params->input_width) {
        end--;
    }
    int8_t *to = collected;
    for (int32_t i = 0; i < params->kernel_height; i++) {
        if (line < 0 || line >= params->input_height) {
            to = fill(to, params->input_zero_point, params->kernel_width * from->channels);
        } else {
            to = collect_line(params, from, line, left, first, end, to);
        }
        line += params->dilation_height;
    }
    widen(pairs, collected, (int32_t)(to - collected + 3) & ~3);
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

/* Two places of the depth of two channels, whose weights are eight bytes apart, by four pixels. */
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
/* Until pairs reach their end, which has to be in memory: eight sums, two places in memory, two
 * pairs of weights and two of pixels fill all registers. (The four bytes of stack are fewer than
 * any function takes that is called here.) Two steps make four places; an odd number of fours
 * enters the loop in its middle. */
#define EK_MULTIPLY_2X4()                                                                          \
    do {                                                                                           \
        const uint32_t *x = end;                                                                   \
        uint32_t v, w, y;                                                                          \
        __asm__ volatile(                                                                          \
            "str %[x], [sp, #-4]!\n\t"                                                             \
            "subs %[v], %[x], %[pairs]\n\t"                                                        \
            "lsls %[v], %[v], #26\n\t"                                                             \
            "bmi 2f\n"                                                                             \
            "1:\n\t" EK_STEP_2X4 EK_STEP_2X4 "2:\n\t" EK_STEP_2X4 EK_STEP_2X4 "ldr %[x], [sp]\n\t" \
            "cmp %[pairs], %[x]\n\t"                                                               \
            "bne 1b\n\t"                                                                           \
            "add sp, sp, #4"                                                                       \
            : [weights] "+r"(weights), [pairs] "+r"(pairs), [a0] "+r"(a0), [a1] "+r"(a1),          \
              [a2] "+r"(a2), [a3] "+r"(a3), [b0] "+r"(b0), [b1] "+r"(b1), [b2] "+r"(b2),           \
              [b3] "+r"(b3), [v] "=&r"(v), [w] "=&r"(w), [x] "+&r"(x), [y] "=&r"(y)                \
            :                                                                                      \
            : "cc", "memory");                                                                     \
    } while (0)
#else
#define EK_MULTIPLY_2X4()                                                                          \
    for (; pairs < end; pairs += PIXELS, weights += 8) {                                           \
        const uint32_t v = ek_even(ek_load(weights)), w = ek_odd(ek_load(weights));                \
        a0 = ek_dot(v, pairs[0], a0), b0 = ek_dot(w, pairs[0], b0);                                \
        a1 = ek_dot(v, pairs[1], a1), b1 = ek_dot(w, pairs[1], b1);                                \
        a2 = ek_dot(v, pairs[2], a2), b2 = ek_dot(w, pairs[2], b2);                                \
        a3 = ek_dot(v, pairs[3], a3), b3 = ek_dot(w, pairs[3], b3);                                \
    }
#endif

/* Blocks of four channels for four pixels; outputs of a channel are `step` apart. */
static const int8_t *multiply_blocks(const int8_t *weights, const int32_t *channel, int32_t blocks,
                                     const uint32_t *const patches, int32_t fours,
                                     const ek_output_stage *stage, int32_t is_usual, int8_t *output,
                                     int32_t step) {
    const uint32_t *const end = patches + PAIRS * fours;
    for (int32_t half = 0; half < 2 * blocks; half++) {
        const uint32_t *pairs = patches;
        int32_t a0 = channel[0], a1 = a0, a2 = a0, a3 = a0;
        int32_t b0 = channel[EK_CHANNEL_FIELDS], b1 = b0, b2 = b0, b3 = b0;
        EK_MULTIPLY_2X4();
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
    if (pixels == PIXELS) {
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

/* An output pixel. */
typedef struct place {
    int32_t y, x;
} place;

static place behind(const ek_conv2d_s8_params *params, place at, int32_t pixels) {
    at.x += pixels;
    if (at.x >= params->output_width) {
        return (place){at.y + 1, 0};
    }
    return at;
}

/* Reads the patches of the next pixels, four or those that are left; returns the place behind. An
 * odd last pixel is read twice, because pixels are computed by two. */
static place read_block(const ek_conv2d_s8_params *params, source *from, place at, int32_t pixels,
                        uint32_t *pairs, int8_t *collected) {
    ek_keep_row(&from->rows, at.y);
    if (pixels == PIXELS && read_patches(params, from, at.y, at.x, pairs)) {
        return behind(params, at, PIXELS);
    }
    for (int32_t i = 0; i < pixels; i++) {
        ek_keep_row(&from->rows, at.y);
        read_patch(params, from, at.y, at.x, pairs + i, collected);
        if (i + 1 == pixels && (pixels & 1)) {
            read_patch(params, from, at.y, at.x, pairs + pixels, collected);
        }
        at = behind(params, at, 1);
    }
    return at;
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
    int8_t *collected = (int8_t *)(pairs + PAIRS * fours);
    int8_t *ring = collected + 4 * fours;
    const ek_rows rows = ek_rows_of(params, image, ring, image == output);
    source from = source_of(params, group, &rows);
    if (!from.is_pixel) {
        memset(collected, 0, (size_t)(4 * fours));
    }
    place at = {0, 0};
    output += group * outputs;
    for (int32_t pixel = 0; pixel < count; pixel += PIXELS) {
        const int32_t pixels = count - pixel < PIXELS ? count - pixel : PIXELS;
        at = read_block(params, &from, at, pixels, pairs, collected);
        multiply_patches(weights, channels, outputs, pairs, fours, &stage, is_usual, output,
                         params->output_channels, pixels);
        output += PIXELS * params->output_channels;
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
    const source from = source_of(params, 0, &rows);
    const int32_t depth = params->kernel_height * params->kernel_width * from.channels;
    return (size_t)((from.is_pixel ? 2 * PIXELS : 2 * PIXELS + 1) * ((depth + 3) & ~3));
}
