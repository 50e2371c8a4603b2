#include "plane.h"
#include "products.h"

/* Sixteen channels are computed at a time from a ring of rows: those of the padded image that the
 * window covers, of these channels alone. Each row of the image is copied once, before the output
 * may overwrite it. */

enum { CHANNELS = 16, TABLE = CHANNELS * EK_CHANNEL_FIELDS };

/* A padded image, and the rows of it that are in the ring. */
typedef struct ring {
    int8_t *begin;
    int32_t row_bytes;
    int32_t rows;
    int32_t next; /* the first row that has not been copied */
} ring;

static inline int32_t ring_rows(const ek_conv2d_s8_params *params) {
    return (params->kernel_height - 1) * params->dilation_height + 1;
}

static inline int8_t *row_of(const ring *rows, int32_t row) {
    return rows->begin + row % rows->rows * rows->row_bytes;
}

/* Sixteen output channels, or what is left of them. */
typedef struct block {
    int32_t first;
    int32_t used;
    int32_t multiplier; /* output channels of an input channel */
    const int8_t *weights;
    const int32_t *channels; /* biases, multipliers, shifts */
} block;

/* Copies pixels of a row; where an input channel has several output channels, as often. */
static void copy_pixels(const ek_conv2d_s8_params *params, const block *own, const int8_t *from,
                        int32_t count, int8_t *to) {
    const mve_pred16_t used = ek_bytes(own->used);
    for (; own->multiplier == 1 && count > 0; count--) {
        vstrbq_s8(to, vldrbq_z_s8(from + own->first, used));
        from += params->input_channels;
        to += CHANNELS;
    }
    for (; count > 0; count--) {
        for (int32_t i = 0; i < own->used; i++) {
            to[i] = from[(own->first + i) / own->multiplier];
        }
        from += params->input_channels;
        to += CHANNELS;
    }
}

/* Brings rows before `end` into the ring; beside the image is the zero point already. */
static void read_rows(const ek_conv2d_s8_params *params, const block *own, const ek_inside *inside,
                      const int8_t *image, int32_t end, ring *rows) {
    for (; rows->next < end; rows->next++) {
        int8_t *to = row_of(rows, rows->next);
        if (rows->next >= inside->bottom) {
            ek_set_bytes(to, params->input_zero_point, rows->row_bytes);
        } else if (rows->next >= inside->top) {
            const int32_t line = rows->next - params->pad_top;
            copy_pixels(params, own, image + line * params->input_width * params->input_channels,
                        inside->right - inside->left, to + inside->left * CHANNELS);
        }
    }
}

/* Sums of sixteen channels: 0 4 8 12, 2 6 10 14, 1 5 9 13 and 3 7 11 15. */
typedef struct sums16 {
    int32x4_t of[4];
} sums16;

static inline void add_products(sums16 *sums, int16x8_t even, int16x8_t odd) {
    sums->of[0] = vaddq_s32(sums->of[0], vmovlbq_s16(even));
    sums->of[1] = vaddq_s32(sums->of[1], vmovltq_s16(even));
    sums->of[2] = vaddq_s32(sums->of[2], vmovlbq_s16(odd));
    sums->of[3] = vaddq_s32(sums->of[3], vmovltq_s16(odd));
}

/* Adds one row of the window. Two products fit 16 bits, unless both weights are -128. */
static inline void add_row(sums16 *sums, const int8_t *x, const int8_t *weights, int32_t taps,
                           int32_t step, int32_t is_paired) {
    int32_t tap = 0;
    for (; is_paired && tap + 1 < taps; tap += 2) {
        const int8x16_t a = vldrbq_s8(x), v = vldrbq_s8(weights);
        const int8x16_t b = vldrbq_s8(x + step), w = vldrbq_s8(weights + CHANNELS);
        add_products(sums, vaddq_s16(vmullbq_int_s8(a, v), vmullbq_int_s8(b, w)),
                     vaddq_s16(vmulltq_int_s8(a, v), vmulltq_int_s8(b, w)));
        x += 2 * step;
        weights += 2 * CHANNELS;
    }
    for (; tap < taps; tap++) {
        const int8x16_t a = vldrbq_s8(x), v = vldrbq_s8(weights);
        add_products(sums, vmullbq_int_s8(a, v), vmulltq_int_s8(a, v));
        x += step;
        weights += CHANNELS;
    }
}

/* Rescales, and puts channels in their order. */
static inline int8x16_t stored16(sums16 sums, const int32_t *channels,
                                 const ek_output_stage *stage) {
    for (int32_t i = 0; i < 4; i++) {
        const int32x4_t multiplier = vldrwq_s32(channels + CHANNELS + 4 * i);
        const int32x4_t shift = vldrwq_s32(channels + 2 * CHANNELS + 4 * i);
        const int32x4_t x = ek_rescale4(sums.of[i], multiplier, shift, stage->is_simple);
        sums.of[i] = stage->is_simple ? x : vaddq_n_s32(x, stage->zero_point);
    }
    int16x8_t even = vqmovntq_s32(vqmovnbq_s32(vdupq_n_s16(0), sums.of[0]), sums.of[1]);
    int16x8_t odd = vqmovntq_s32(vqmovnbq_s32(vdupq_n_s16(0), sums.of[2]), sums.of[3]);
    if (stage->is_simple) {
        even = vqaddq_n_s16(even, (int16_t)stage->zero_point);
        odd = vqaddq_n_s16(odd, (int16_t)stage->zero_point);
    }
    const int8x16_t all = vqmovntq_s16(vqmovnbq_s16(vdupq_n_s8(0), even), odd);
    return vminq_s8(vmaxq_s8(all, vdupq_n_s8((int8_t)stage->low)), vdupq_n_s8((int8_t)stage->high));
}

static inline sums16 biases(const int32_t *channels) {
    return (sums16){{vldrwq_s32(channels), vldrwq_s32(channels + 4), vldrwq_s32(channels + 8),
                     vldrwq_s32(channels + 12)}};
}

/* One row of outputs by any kernel. */
static void convolve_row(const ek_conv2d_s8_params *params, const block *own, const ring *rows,
                         int32_t y, int32_t is_paired, int8_t *output) {
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    const int32_t step = params->dilation_width * CHANNELS;
    for (int32_t x = 0; x < params->output_width; x++) {
        const int8_t *weights = own->weights;
        sums16 sums = biases(own->channels);
        for (int32_t i = 0; i < params->kernel_height; i++) {
            const int8_t *row =
                row_of(rows, y * params->stride_height + i * params->dilation_height);
            add_row(&sums, row + x * params->stride_width * CHANNELS, weights, params->kernel_width,
                    step, is_paired);
            weights += params->kernel_width * CHANNELS;
        }
        vstrbq_p_s8(output, stored16(sums, own->channels, &stage), ek_bytes(own->used));
        output += params->output_channels;
    }
}

#if defined(__ARM_FEATURE_MVE)

/* What a row is made with, at the places where the code below reads it. */
typedef struct row_stage {
    int8_t low[CHANNELS];
    int8_t high[CHANNELS];
    int32_t step; /* bytes from one window to the next */
    int32_t pixel_bytes;
    int32_t zero_point;
    int32_t used;
    int32_t count;
    int32_t kept; /* the compiler's predicate */
} row_stage;

_Static_assert(offsetof(row_stage, high) == 16 && offsetof(row_stage, step) == 32 &&
                   offsetof(row_stage, zero_point) == 40 && offsetof(row_stage, count) == 48 &&
                   offsetof(row_stage, kept) == 52,
               "the code below has these numbers");

/* Products of a tap; those of the next one, added to them; four sums of both. Compilers read all
 * taps ahead and run out of registers. */
#define EK_TAP(X, W)                                                                               \
    "vldrb.8 q4, " X "\n\t"                                                                        \
    "vldrw.32 q5, [%[weights], #" W "]\n\t"                                                        \
    "vmullb.s8 q6, q4, q5\n\t"                                                                     \
    "vmullt.s8 q7, q4, q5\n\t"
#define EK_NEXT_TAP(X, W)                                                                          \
    "vldrb.8 q4, " X "\n\t"                                                                        \
    "vldrw.32 q5, [%[weights], #" W "]\n\t"                                                        \
    "vmullb.s8 q4, q4, q5\n\t"                                                                     \
    "vadd.i16 q6, q6, q4\n\t"                                                                      \
    "vldrb.8 q4, " X "\n\t"                                                                        \
    "vmullt.s8 q4, q4, q5\n\t"                                                                     \
    "vadd.i16 q7, q7, q4\n\t"
#define EK_ADD_TAPS                                                                                \
    "vmovlb.s16 q4, q6\n\t"                                                                        \
    "vadd.i32 q0, q0, q4\n\t"                                                                      \
    "vmovlt.s16 q5, q6\n\t"                                                                        \
    "vadd.i32 q1, q1, q5\n\t"                                                                      \
    "vmovlb.s16 q4, q7\n\t"                                                                        \
    "vadd.i32 q2, q2, q4\n\t"                                                                      \
    "vmovlt.s16 q5, q7\n\t"                                                                        \
    "vadd.i32 q3, q3, q5\n\t"
#define EK_RESCALE(Q, MULTIPLIER, SHIFT)                                                           \
    "vldrw.32 q4, [%[channels], #" MULTIPLIER "]\n\t"                                              \
    "vqrdmulh.s32 " Q ", " Q ", q4\n\t"                                                            \
    "vldrw.32 q4, [%[channels], #" SHIFT "]\n\t"                                                   \
    "vshr.s32 q5, " Q ", #31\n\t"                                                                  \
    "vadd.i32 " Q ", " Q ", q5\n\t"                                                                \
    "vrshl.s32 " Q ", " Q ", q4\n\t"

/* One row of outputs by a kernel of 3 by 3 with pairs and simple factors. */
EK_APART void convolve_row_3x3(const ek_conv2d_s8_params *params, const block *own,
                               const ring *rows, int32_t y, int8_t *output) {
    const int32_t top = y * params->stride_height;
    const int8_t *a = row_of(rows, top), *b = row_of(rows, top + 1), *c = row_of(rows, top + 2);
    row_stage stage;
    stage.step = params->stride_width * CHANNELS;
    stage.pixel_bytes = params->output_channels;
    stage.zero_point = params->output_zero_point;
    stage.used = own->used;
    stage.count = params->output_width;
    ek_set_bytes(stage.low, params->activation_min, CHANNELS);
    ek_set_bytes(stage.high, params->activation_max, CHANNELS);
    __asm__ volatile(
        "vmrs r0, p0\n\t"
        "ldr lr, [%[stage], #48]\n\t"
        "str r0, [%[stage], #52]\n\t"
        "dls lr, lr\n"
        "1:\n\t"
        "vldrw.32 q0, [%[channels]]\n\t"
        "vldrw.32 q1, [%[channels], #16]\n\t"
        "vldrw.32 q2, [%[channels], #32]\n\t"
        "vldrw.32 q3, [%[channels], #48]\n\t"
        /* clang-format off */
                     EK_TAP("[%[a]]", "0") EK_NEXT_TAP("[%[a], #16]", "16") EK_ADD_TAPS
                     EK_TAP("[%[a], #32]", "32") EK_NEXT_TAP("[%[b]]", "48") EK_ADD_TAPS
                     EK_TAP("[%[b], #16]", "64") EK_NEXT_TAP("[%[b], #32]", "80") EK_ADD_TAPS
                     EK_TAP("[%[c]]", "96") EK_NEXT_TAP("[%[c], #16]", "112") EK_ADD_TAPS
                     EK_TAP("[%[c], #32]", "128") EK_ADD_TAPS
                     EK_RESCALE("q0", "64", "128") EK_RESCALE("q1", "80", "144")
                     EK_RESCALE("q2", "96", "160") EK_RESCALE("q3", "112", "176")
        /* clang-format on */
        "ldrd r0, r2, [%[stage], #40]\n\t" /* zero point, used */
        "vqmovnb.s32 q4, q0\n\t"
        "vqmovnb.s32 q5, q2\n\t"
        "vqmovnt.s32 q4, q1\n\t"
        "vqmovnt.s32 q5, q3\n\t"
        "vqadd.s16 q4, q4, r0\n\t"
        "vqadd.s16 q5, q5, r0\n\t"
        "vqmovnb.s16 q6, q4\n\t"
        "vldrw.32 q7, [%[stage]]\n\t"
        "vqmovnt.s16 q6, q5\n\t"
        "vldrw.32 q4, [%[stage], #16]\n\t"
        "vmax.s8 q6, q6, q7\n\t"
        "vctp.8 r2\n\t"
        "vmin.s8 q6, q6, q4\n\t"
        "ldrd r0, r2, [%[stage], #32]\n\t" /* step, pixel */
        "vpst\n\t"
        "vstrbt.8 q6, [%[to]]\n\t"
        "add %[a], r0\n\t"
        "add %[b], r0\n\t"
        "add %[c], r0\n\t"
        "add %[to], r2\n\t"
        "le lr, 1b\n\t"
        "ldr r0, [%[stage], #52]\n\t"
        "vmsr p0, r0"
        : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [to] "+r"(output)
        : [weights] "r"(own->weights), [channels] "r"(own->channels), [stage] "r"(&stage),
          [count] "r"(params->output_width)
        : "r0", "r2", "lr", "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "cc", "memory");
}

#else

static void convolve_row_3x3(const ek_conv2d_s8_params *params, const block *own, const ring *rows,
                             int32_t y, int8_t *output) {
    convolve_row(params, own, rows, y, 1, output);
}

#endif

/* Whether no weight is -128. */
static int32_t has_pairs(const int8_t *weights, int32_t taps) {
    int8x16_t lowest = vldrbq_s8(weights);
    for (int32_t tap = 1; tap < taps; tap++) {
        lowest = vminq_s8(lowest, vldrbq_s8(weights + tap * CHANNELS));
    }
    return vminvq_s8(127, lowest) > -128;
}

static void convolve_block(const ek_conv2d_s8_params *params, const block *own, ring *rows,
                           const int8_t *image, int8_t *output) {
    const ek_inside inside = ek_inside_of(params, ek_plane_height(params), ek_plane_width(params));
    const int32_t taps = params->kernel_height * params->kernel_width;
    const int32_t is_paired = has_pairs(own->weights, taps);
    const int32_t is_usual = is_paired && ek_is_3x3(params) && params->simple_rescale;
    ek_set_bytes(rows->begin, params->input_zero_point, rows->rows * rows->row_bytes);
    rows->next = 0;
    output += own->first;
    for (int32_t y = 0; y < params->output_height; y++) {
        read_rows(params, own, &inside, image, y * params->stride_height + rows->rows, rows);
        if (is_usual) {
            convolve_row_3x3(params, own, rows, y, output);
        } else {
            convolve_row(params, own, rows, y, is_paired, output);
        }
        output += params->output_width * params->output_channels;
    }
}

ek_status ek_depthwise_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input,
                                 void *scratch, int8_t *output) {
    ring rows = {scratch, ek_plane_width(params) * CHANNELS, ring_rows(params), 0};
    const int32_t taps = params->kernel_height * params->kernel_width;
    for (int32_t batch = 0; batch < params->batches; batch++) {
        block own = {.multiplier = params->output_channels / params->input_channels,
                     .weights = params->weights,
                     .channels = params->channels};
        for (; own.first < params->output_channels; own.first += CHANNELS) {
            own.used = ek_least(params->output_channels - own.first, CHANNELS);
            convolve_block(params, &own, &rows, input, output);
            own.weights += taps * CHANNELS;
            own.channels += TABLE;
        }
        input += params->input_height * params->input_width * params->input_channels;
        output += params->output_height * params->output_width * params->output_channels;
    }
    return EK_STATUS_OK;
}

size_t ek_depthwise_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params) {
    return (size_t)(ring_rows(params) * ek_plane_width(params) * CHANNELS);
}
