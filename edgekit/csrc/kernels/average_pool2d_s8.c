#include "edgekit/kernels.h"

#include "fixed_point.h"

static int32_t average(const ek_window *w, const int8_t *image, int32_t row, int32_t column,
                       int32_t channel) {
    int32_t sum = 0;
    int32_t count = 0;
    for (int32_t y = row < 0 ? 0 : row; y < row + w->kernel_height && y < w->input_height; ++y) {
        for (int32_t x = column < 0 ? 0 : column;
             x < column + w->kernel_width && x < w->input_width; ++x) {
            sum += image[(y * w->input_width + x) * w->input_channels + channel];
            ++count;
        }
    }
    if (count == 0) {
        return 0;
    }
    return sum >= 0 ? (sum + count / 2) / count : (sum - count / 2) / count;
}

ek_status ek_average_pool2d_s8(const ek_pool2d_s8_params *params, const int8_t *input,
                               int8_t *output) {
    if (params == NULL || input == NULL || output == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    const ek_window *w = &params->window;
    const int32_t image_elements = w->input_height * w->input_width * w->input_channels;
    for (int32_t n = 0; n < w->batch; ++n, input += image_elements) {
        for (int32_t oy = 0; oy < w->output_height; ++oy) {
            for (int32_t ox = 0; ox < w->output_width; ++ox) {
                const int32_t row = oy * w->stride_height - w->pad_top;
                const int32_t column = ox * w->stride_width - w->pad_left;
                for (int32_t c = 0; c < w->output_channels; ++c) {
                    *output++ = (int8_t)ek_clamp(average(w, input, row, column, c),
                                                 params->activation_min, params->activation_max);
                }
            }
        }
    }
    return EK_STATUS_OK;
}
