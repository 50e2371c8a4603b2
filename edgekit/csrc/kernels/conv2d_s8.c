#include <string.h>

#include "packed.h"
#include "rows.h"

/* One group of input channels, seen from one output pixel. */
typedef struct patch {
    const ek_rows *rows;
    int32_t first_channel;
    int32_t group_channels;
    int32_t top;
    int32_t left;
} patch;

/* Copies what lies under the window, row after row; beyond the image lies the zero point. */
static void gather(const ek_conv2d_s8_params *params, const patch *from, int8_t *row) {
    for (int32_t y = 0; y < params->kernel_height; y++) {
        const int32_t line = from->top + y * params->dilation_height;
        const int32_t is_line = line >= 0 && line < params->input_height;
        for (int32_t x = 0; x < params->kernel_width; x++) {
            const int32_t column = from->left + x * params->dilation_width;
            if (is_line && column >= 0 && column < params->input_width) {
                const int8_t *pixel = ek_row(from->rows, line) + column * params->input_channels;
                memcpy(row, pixel + from->first_channel, (size_t)from->group_channels);
            } else {
                memset(row, params->input_zero_point, (size_t)from->group_channels);
            }
            row += from->group_channels;
        }
    }
}

/* Reads an output pixel's patch into a row that is filled up with zeros. */
static void read_row(const ek_conv2d_s8_params *params, ek_rows *rows, int32_t group, int32_t pixel,
                     int8_t *row) {
    const int32_t y = pixel / params->output_width;
    const int32_t x = pixel - y * params->output_width;
    const int32_t channels = params->input_channels / params->groups;
    ek_keep_row(rows, y);
    const patch from = {rows, group * channels, channels,
                        y * params->stride_height - params->pad_top,
                        x * params->stride_width - params->pad_left};
    gather(params, &from, row);
    int32_t end = params->kernel_height * params->kernel_width * channels;
    while (end & 3) {
        row[end++] = 0;
    }
}

/* Two rows, four places of the depth: each weight is read once. */
#define EK_ADD8(place)                                                                             \
    do {                                                                                           \
        const int32_t x = first[place], y = second[place];                                         \
        int32_t w = weights[EK_PACKED4(0, place)];                                                 \
        a += x * w, e += y * w, w = weights[EK_PACKED4(1, place)];                                 \
        b += x * w, f += y * w, w = weights[EK_PACKED4(2, place)];                                 \
        c += x * w, g += y * w, w = weights[EK_PACKED4(3, place)];                                 \
        d += x * w, h += y * w;                                                                    \
    } while (0)

/* Adds four channels times two rows. */
static const int8_t *packed_4x2(const int8_t *weights, const int8_t *first, const int8_t *second,
                                int32_t fours, int32_t sums[8]) {
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    int32_t e = sums[4], f = sums[5], g = sums[6], h = sums[7];
    for (const int8_t *end = first + 4 * fours; first < end;) {
        EK_ADD8(0);
        EK_ADD8(1);
        EK_ADD8(2);
        EK_ADD8(3);
        first += 4;
        second += 4;
        weights += 16;
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
    sums[4] = e, sums[5] = f, sums[6] = g, sums[7] = h;
    return weights;
}

/* All channels of a group for two rows; the outputs may be the same. */
static void multiply_rows(const int8_t *weights, const int32_t *channels, int32_t count,
                          const int8_t *rows, int32_t fours, const ek_output_stage *stage,
                          int8_t *first, int8_t *second) {
    const int8_t *next = rows + 4 * fours;
    int32_t done = 0;
    while (count - done > 2) {
        const int32_t width = count - done < 4 ? count - done : 4;
        const int32_t *channel = channels + done * EK_CHANNEL_FIELDS;
        int32_t sums[8];
        for (int32_t i = 0; i < 4; i++) {
            sums[i] = sums[4 + i] = i < width ? channel[i * EK_CHANNEL_FIELDS] : 0;
        }
        weights = packed_4x2(weights, rows, next, fours, sums);
        for (int32_t i = 0; i < width; i++) {
            first[done + i] = ek_finish(sums[i], channel, stage);
            second[done + i] = ek_finish(sums[4 + i], channel, stage);
            channel += EK_CHANNEL_FIELDS;
        }
        done += width;
    }
    if (done < count) {
        for (int32_t pixel = 0; pixel < 2; pixel++) {
            int32_t sums[2] = {0};
            for (int32_t i = 0; i < count - done; i++) {
                sums[i] = channels[(done + i) * EK_CHANNEL_FIELDS];
            }
            ek_packed_2x1(weights, pixel ? next : rows, fours, sums);
            for (int32_t i = 0; i < count - done; i++) {
                (pixel ? second : first)[done + i] =
                    ek_finish(sums[i], channels + (done + i) * EK_CHANNEL_FIELDS, stage);
            }
        }
    }
}

ek_status ek_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input, void *scratch,
                       int8_t *output) {
    const int32_t pixels = params->output_height * params->output_width;
    const int32_t group_outputs = params->output_channels / params->groups;
    const int32_t depth =
        params->kernel_height * params->kernel_width * (params->input_channels / params->groups);
    const int32_t fours = (depth + 3) / 4;
    const int32_t weights_bytes = ek_packed_bytes(group_outputs, depth);
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    int8_t *patches = scratch;
    for (int32_t batch = 0; batch < params->batches; batch++) {
        ek_rows rows = ek_rows_of(params, input, patches + 8 * fours, input == output);
        for (int32_t pixel = 0; pixel < pixels; pixel += 2) {
            const int32_t other = pixel + 1 < pixels ? pixel + 1 : pixel;
            for (int32_t group = 0; group < params->groups; group++) {
                const int32_t first_channel = group * group_outputs;
                read_row(params, &rows, group, pixel, patches);
                read_row(params, &rows, group, other, patches + 4 * fours);
                multiply_rows(params->weights + group * weights_bytes,
                              params->channels + first_channel * EK_CHANNEL_FIELDS, group_outputs,
                              patches, fours, &stage,
                              output + pixel * params->output_channels + first_channel,
                              output + other * params->output_channels + first_channel);
            }
        }
        input += params->input_height * params->input_width * params->input_channels;
        output += pixels * params->output_channels;
    }
    return EK_STATUS_OK;
}

/* Two rows. */
size_t ek_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params) {
    const int32_t depth =
        params->kernel_height * params->kernel_width * (params->input_channels / params->groups);
    return 2u * (size_t)((depth + 3) & ~3);
}
