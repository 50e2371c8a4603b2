#include "products.h"
#include "rows.h"

/* One group of input channels. */
typedef struct source {
    const ek_rows *rows;
    int32_t first_channel;
    int32_t channels;
} source;

static int32_t clamped(int32_t x, int32_t high) { return x < 0 ? 0 : (x < high ? x : high); }

/* Reads a window whose pixels lie side by side, of all channels: in each row what is left of the
 * image, inside and right of it. */
static void read_dense(const ek_conv2d_s8_params *params, const ek_rows *rows, int32_t y, int32_t x,
                       int8_t *to) {
    const int32_t pixel_bytes = params->input_channels, taps = params->kernel_width;
    const int32_t left = x * params->stride_width - params->pad_left;
    const int32_t first = clamped(-left, taps), end = clamped(params->input_width - left, taps);
    const int32_t row_bytes = taps * pixel_bytes, inside = (end - first) * pixel_bytes;
    const int32_t before = first * pixel_bytes, from = left * pixel_bytes + before;
    const int32_t height = params->input_height, down = params->dilation_height;
    const int32_t zero_point = params->input_zero_point;
    int32_t line = y * params->stride_height - params->pad_top;
    for (int32_t left_rows = params->kernel_height; left_rows > 0; left_rows--) {
        const int32_t is_inside = line >= 0 && line < height && inside > 0;
        if (!is_inside || inside < row_bytes) {
            ek_set_bytes(to, zero_point, row_bytes);
        }
        if (is_inside) {
            ek_copy_bytes(to + before, ek_row(rows, line) + from, inside);
        }
        to += row_bytes;
        line += down;
    }
}

/* Reads a window pixel by pixel. */
static void read_sparse(const ek_conv2d_s8_params *params, const source *from, int32_t y, int32_t x,
                        int8_t *to) {
    const int32_t top = y * params->stride_height - params->pad_top;
    const int32_t left = x * params->stride_width - params->pad_left;
    for (int32_t i = 0; i < params->kernel_height; i++) {
        const int32_t line = top + i * params->dilation_height;
        for (int32_t tap = 0; tap < params->kernel_width; tap++) {
            const int32_t column = left + tap * params->dilation_width;
            if (line < 0 || line >= params->input_height || column < 0 ||
                column >= params->input_width) {
                ek_set_bytes(to, params->input_zero_point, from->channels);
            } else {
                ek_copy_bytes(to,
                              ek_row(from->rows, line) + column * params->input_channels +
                                  from->first_channel,
                              from->channels);
            }
            to += from->channels;
        }
    }
}

/* Reads what lies under the window of an output pixel; beyond the image lies the zero point. */
static void read_patch(const ek_conv2d_s8_params *params, const source *from, int32_t y, int32_t x,
                       int8_t *to) {
    if (params->dilation_width == 1 && params->groups == 1) {
        read_dense(params, from->rows, y, x, to);
    } else {
        read_sparse(params, from, y, x, to);
    }
}

/* The weights of a group, its rows of factors, and what is the same for all. */
typedef struct layer {
    const int8_t *weights;
    const int32_t *channels; /* blocks of four: biases, multipliers, shifts */
    int32_t count;
    int32_t depth;
    ek_output_stage stage;
} layer;

/* All channels of a group for two pixels; the outputs may be the same. */
static void multiply_any(const layer *group, const int8_t *first, const int8_t *second,
                         int8_t *first_output, int8_t *second_output) {
    const int8_t *weights = group->weights;
    const int32_t *channel = group->channels;
    for (int32_t left = group->count; left > 0; left -= 4) {
        int32x4_t a, b;
        weights = ek_multiply_4x2(weights, first, second, group->depth, &a, &b);
        const int32x4_t bias = vldrwq_s32(channel), multiplier = vldrwq_s32(channel + 4);
        const int32x4_t shift = vldrwq_s32(channel + 8);
        const int32_t is_simple = group->stage.is_simple;
        a = ek_rescale4(vaddq_s32(a, bias), multiplier, shift, is_simple);
        b = ek_rescale4(vaddq_s32(b, bias), multiplier, shift, is_simple);
        a = ek_stored4(a, &group->stage);
        b = ek_stored4(b, &group->stage);
        if (left < 4) {
            vstrbq_p_s32(first_output, a, ek_words(left));
            vstrbq_p_s32(second_output, b, ek_words(left));
        } else {
            vstrbq_s32(first_output, a);
            vstrbq_s32(second_output, b);
        }
        first_output += 4;
        second_output += 4;
        channel += 4 * EK_CHANNEL_FIELDS;
    }
}

#if defined(__ARM_FEATURE_MVE)

/* What two pixels are made with, at the places where the code below reads it. */
typedef struct pair_stage {
    const int8_t *first;
    const int8_t *second;
    int32_t head;  /* places of the first vector */
    int32_t whole; /* vectors behind it */
    int8_t *first_output;
    int8_t *second_output;
    const int32_t *channels;
    int32_t left;
    int32_t low[4];
    int32_t high[4];
    int32_t zero_point;
    int32_t kept; /* the compiler's predicate */
} pair_stage;

_Static_assert(offsetof(pair_stage, head) == 8 && offsetof(pair_stage, first_output) == 16 &&
                   offsetof(pair_stage, channels) == 24 && offsetof(pair_stage, low) == 32 &&
                   offsetof(pair_stage, high) == 48 && offsetof(pair_stage, zero_point) == 64 &&
                   offsetof(pair_stage, kept) == 68,
               "the code below has these numbers");

/* The same for simple factors. The first vector is read in a loop of one pass that leaves out what
 * is behind its places; sums are scalars in registers with even numbers, all there are. */
EK_APART void multiply_simple(pair_stage *stage, const int8_t *weights) {
    int32_t first, second, whole;
    __asm__ volatile(
        "vmrs r0, p0\n\t"
        "str r0, [%[stage], #68]\n"
        "4:\n\t"
        "ldrd %[first], %[second], [%[stage]]\n\t"
        "ldrd r0, %[whole], [%[stage], #8]\n\t"
        "dlstp.8 lr, r0\n"
        "3:\n\t"
        "vldrb.8 q0, [%[first]]\n\t"
        "vldrb.8 q1, [%[second]]\n\t"
        "add %[first], r0\n\t"
        "add %[second], r0\n\t" EK_HEAD(
            "r0") "letp lr, 3b\n\t"
                  "vmladav.s8 r0, q0, q2\n\t"
                  "vmladav.s8 r2, q0, q3\n\t"
                  "vmladav.s8 r4, q0, q4\n\t"
                  "vmladav.s8 r6, q0, q5\n\t"
                  "vmladav.s8 r8, q1, q2\n\t"
                  "vmladav.s8 r10, q1, q3\n\t"
                  "vmladav.s8 r12, q1, q4\n\t"
                  "vmladav.s8 lr, q1, q5\n\t"
                  "cmp %[whole], #0\n\t"
                  "beq 2f\n"
                  "1:\n\t" EK_VECTOR_STEP(
                      "%[first]",
                      "%[second]") "subs %[whole], #1\n\t"
                                   "bne 1b\n"
                                   "2:\n\t"
                                   "vmov d12, r0, r2\n\t"
                                   "vmov d14, r8, r10\n\t"
                                   "vmov d13, r4, r6\n\t"
                                   "vmov d15, r12, lr\n\t"
                                   "ldrd r0, r6, [%[stage], #24]\n\t" /* channels, left */
                                   "vldrw.32 q0, [r0], #16\n\t"
                                   "ldr r8, [%[stage], #64]\n\t" /* zero point */
                                   "vldrw.32 q1, [r0], #16\n\t"
                                   "vadd.i32 q6, q6, q0\n\t"
                                   "vldrw.32 q2, [r0], #16\n\t"
                                   "vqrdmulh.s32 q6, q6, q1\n\t"
                                   "vadd.i32 q7, q7, q0\n\t"
                                   "vqrdmulh.s32 q7, q7, q1\n\t"
                                   "vshr.s32 q3, q6, #31\n\t"
                                   "vldrw.32 q0, [%[stage], #32]\n\t" /* low */
                                   "vadd.i32 q6, q6, q3\n\t"
                                   "vldrw.32 q1, [%[stage], #48]\n\t" /* high */
                                   "vshr.s32 q4, q7, #31\n\t"
                                   "vrshl.s32 q6, q6, q2\n\t"
                                   "vadd.i32 q7, q7, q4\n\t"
                                   "vadd.i32 q6, q6, r8\n\t"
                                   "vrshl.s32 q7, q7, q2\n\t"
                                   "vmax.s32 q6, q6, q0\n\t"
                                   "vadd.i32 q7, q7, r8\n\t"
                                   "vmin.s32 q6, q6, q1\n\t"
                                   "vmax.s32 q7, q7, q0\n\t"
                                   "ldrd r2, r4, [%[stage], #16]\n\t" /* outputs */
                                   "vmin.s32 q7, q7, q1\n\t"
                                   "vctp.32 r6\n\t"
                                   "vpstt\n\t"
                                   "vstrbt.32 q6, [r2], #4\n\t"
                                   "vstrbt.32 q7, [r4], #4\n\t"
                                   "subs r6, #4\n\t"
                                   "strd r2, r4, [%[stage], #16]\n\t"
                                   "strd r0, r6, [%[stage], #24]\n\t"
                                   "bgt 4b\n\t"
                                   "ldr r0, [%[stage], #68]\n\t"
                                   "vmsr p0, r0"
        : [w] "+r"(weights), [first] "=&r"(first), [second] "=&r"(second), [whole] "=&r"(whole)
        : [stage] "r"(stage)
        : "r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr", "q0", "q1", "q2", "q3", "q4", "q5",
          "q6", "q7", "cc", "memory");
}

static void multiply_patches(const layer *group, const int8_t *first, const int8_t *second,
                             int8_t *first_output, int8_t *second_output) {
    if (!group->stage.is_simple) {
        multiply_any(group, first, second, first_output, second_output);
        return;
    }
    pair_stage stage;
    stage.first = first;
    stage.second = second;
    stage.whole = ek_whole_vectors(group->depth);
    stage.head = group->depth - 16 * stage.whole;
    stage.first_output = first_output;
    stage.second_output = second_output;
    stage.channels = group->channels;
    stage.left = group->count;
    vstrwq_s32(stage.low, vdupq_n_s32(group->stage.low));
    vstrwq_s32(stage.high, vdupq_n_s32(group->stage.high));
    stage.zero_point = group->stage.zero_point;
    multiply_simple(&stage, group->weights);
}

#else

static void multiply_patches(const layer *group, const int8_t *first, const int8_t *second,
                             int8_t *first_output, int8_t *second_output) {
    multiply_any(group, first, second, first_output, second_output);
}

#endif

/* Whether an output pixel is made of the input's same pixel alone. */
static int32_t is_pointwise(const ek_conv2d_s8_params *params) {
    return params->kernel_height == 1 && params->kernel_width == 1 && params->stride_height == 1 &&
           params->stride_width == 1 && params->groups == 1 &&
           params->input_height == params->output_height &&
           params->input_width == params->output_width;
}

/* Where channels stay as many the output may overwrite the input, which is copied then. */
static int32_t copies_pixels(const ek_conv2d_s8_params *params) {
    return params->input_channels == params->output_channels;
}

static void convolve_pixels(const ek_conv2d_s8_params *params, const layer *only, int8_t *patches,
                            const int8_t *input, int8_t *output) {
    const int32_t pixel_bytes = params->input_channels, copies = copies_pixels(params);
    const int32_t output_bytes = params->output_channels;
    for (int32_t left = params->output_height * params->output_width; left > 0; left -= 2) {
        const int32_t is_pair = left > 1;
        const int8_t *first = copies ? patches : input;
        if (copies) {
            ek_copy_bytes(patches, input, (1 + is_pair) * pixel_bytes);
        }
        multiply_patches(only, first, first + is_pair * pixel_bytes, output,
                         output + is_pair * output_bytes);
        input += 2 * pixel_bytes;
        output += 2 * output_bytes;
    }
}

static int32_t group_depth(const ek_conv2d_s8_params *params) {
    return params->kernel_height * params->kernel_width * (params->input_channels / params->groups);
}

/* What the outputs of one group are made with. */
static layer layer_of(const ek_conv2d_s8_params *params, int32_t group) {
    const int32_t count = params->output_channels / params->groups;
    const int32_t depth = group_depth(params), places = (count + 3) & ~3;
    return (layer){.weights = params->weights + group * ek_blocks_bytes(count, depth),
                   .channels = params->channels + group * places * EK_CHANNEL_FIELDS,
                   .count = count,
                   .depth = depth,
                   .stage = {params->output_zero_point, params->activation_min,
                             params->activation_max, params->simple_rescale}};
}

static void convolve_image(const ek_conv2d_s8_params *params, ek_rows *rows, int8_t *patches,
                           int8_t *output) {
    const int32_t pixels = params->output_height * params->output_width;
    int32_t y = 0, x = 0;
    for (int32_t pixel = 0; pixel < pixels; pixel += 2) {
        const int32_t is_pair = pixel + 1 < pixels;
        const int32_t is_next_row = x + 1 == params->output_width;
        const int32_t next_y = is_pair ? y + is_next_row : y;
        const int32_t next_x = is_pair ? (is_next_row ? 0 : x + 1) : x;
        for (int32_t group = 0; group < params->groups; group++) {
            const layer own = layer_of(params, group);
            const int32_t inputs = params->input_channels / params->groups;
            const source from = {rows, group * inputs, inputs};
            int8_t *second = patches + own.depth;
            ek_keep_row(rows, y);
            read_patch(params, &from, y, x, patches);
            ek_keep_row(rows, next_y);
            read_patch(params, &from, next_y, next_x, second);
            int8_t *target = output + group * own.count;
            multiply_patches(&own, patches, second, target,
                             target + is_pair * params->output_channels);
        }
        output += 2 * params->output_channels;
        x = next_x + 1 == params->output_width ? 0 : next_x + 1;
        y = x == 0 ? next_y + 1 : next_y;
    }
}

ek_status ek_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input, void *scratch,
                       int8_t *output) {
    int8_t *patches = scratch;
    int8_t *ring = patches + ek_conv2d_s8_scratch_bytes(params);
    const int32_t in_place = input == output;
    for (int32_t batch = 0; batch < params->batches; batch++) {
        if (is_pointwise(params)) {
            const layer only = layer_of(params, 0);
            convolve_pixels(params, &only, patches, input, output);
        } else {
            ek_rows rows = ek_rows_of(params, input, ring, in_place);
            convolve_image(params, &rows, patches, output);
        }
        input += params->input_height * params->input_width * params->input_channels;
        output += params->output_height * params->output_width * params->output_channels;
    }
    return EK_STATUS_OK;
}

/* Patches of two pixels, unless the input's pixels are read where they are. */
size_t ek_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params) {
    const int32_t pixels = params->output_height * params->output_width;
    if (is_pointwise(params)) {
        return copies_pixels(params) ? (size_t)((pixels > 1 ? 2 : 1) * params->input_channels) : 0;
    }
    return (size_t)(2 * group_depth(params));
}
