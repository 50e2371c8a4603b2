#include "edgekit/kernels.h"

/* All channels of one pixel, between two pixels above and two below. */
static void pixel(const ek_resize_bilinear_f32_params *params, const float *image, int32_t y,
                  int32_t x, float *output) {
    const int32_t line = params->input_width * params->channels;
    const float *top = image + params->rows[2 * y] * line;
    const float *bottom = image + params->rows[2 * y + 1] * line;
    const int32_t left = params->columns[2 * x] * params->channels;
    const int32_t right = params->columns[2 * x + 1] * params->channels;
    const float dy = params->row_distances[y], dx = params->column_distances[x];
    for (int32_t i = 0; i < params->channels; i++) {
        output[i] = top[left + i] * (1.0F - dy) * (1.0F - dx) +
                    bottom[left + i] * dy * (1.0F - dx) + top[right + i] * (1.0F - dy) * dx +
                    bottom[right + i] * dy * dx;
    }
}

ek_status ek_resize_bilinear_f32(const ek_resize_bilinear_f32_params *params, const float *input,
                                 float *output) {
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t y = 0; y < params->output_height; y++) {
            for (int32_t x = 0; x < params->output_width; x++) {
                pixel(params, input, y, x, output);
                output += params->channels;
            }
        }
        input += params->input_height * params->input_width * params->channels;
    }
    return EK_STATUS_OK;
}
