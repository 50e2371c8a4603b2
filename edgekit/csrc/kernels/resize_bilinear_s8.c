#include "edgekit/kernels.h"

enum { FRACTION_BITS = 10, AXIS_FIELDS = 3 };

/* Rounded to nearest with halves away from zero, 20 bits less. */
static int8_t rounded(int64_t total) {
    const int64_t half = INT64_C(1) << (2 * FRACTION_BITS - 1);
    const int64_t magnitude = ((total < 0 ? -total : total) + half) >> (2 * FRACTION_BITS);
    return (int8_t)(total < 0 ? -magnitude : magnitude);
}

/* All channels of one pixel, between two pixels above and two below. */
static void pixel(const ek_resize_bilinear_s8_params *params, const int8_t *image,
                  const int32_t *row, const int32_t *column, int8_t *output) {
    const int32_t one = 1 << FRACTION_BITS, dy = row[2], dx = column[2];
    const int32_t line = params->input_width * params->channels;
    const int8_t *top = image + row[0] * line, *bottom = image + row[1] * line;
    const int32_t left = column[0] * params->channels, right = column[1] * params->channels;
    for (int32_t i = 0; i < params->channels; i++) {
        const int32_t before = top[left + i] * (one - dy) + bottom[left + i] * dy;
        const int32_t after = top[right + i] * (one - dy) + bottom[right + i] * dy;
        output[i] = rounded((int64_t)before * (one - dx) + (int64_t)after * dx);
    }
}

ek_status ek_resize_bilinear_s8(const ek_resize_bilinear_s8_params *params, const int8_t *input,
                                int8_t *output) {
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t y = 0; y < params->output_height; y++) {
            for (int32_t x = 0; x < params->output_width; x++) {
                pixel(params, input, params->rows + y * AXIS_FIELDS,
                      params->columns + x * AXIS_FIELDS, output);
                output += params->channels;
            }
        }
        input += params->input_height * params->input_width * params->channels;
    }
    return EK_STATUS_OK;
}
