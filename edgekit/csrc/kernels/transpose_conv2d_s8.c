#include "edgekit/kernels.h"
#include "fixed_point.h"
#include "transposed.h"

/* What all input pixels add to one channel of the output pixel (y, x) of the full result. */
static int32_t gathered(const ek_conv2d_s8_params *params, const int8_t *input,
                        const int8_t *weights, int32_t y, int32_t x) {
    int32_t sum = 0;
    for (int32_t row = 0; row < params->kernel_height; row++) {
        const int32_t from_y = ek_source_of(y, row, params->dilation_height, params->stride_height,
                                            params->input_height);
        for (int32_t column = 0; column < params->kernel_width; column++) {
            const int32_t from_x = ek_source_of(x, column, params->dilation_width,
                                                params->stride_width, params->input_width);
            if (from_y >= 0 && from_x >= 0) {
                const int8_t *pixel =
                    input + (from_y * params->input_width + from_x) * params->input_channels;
                for (int32_t i = 0; i < params->input_channels; i++) {
                    sum += (pixel[i] - params->input_zero_point) * weights[i];
                }
            }
            weights += params->input_channels;
        }
    }
    return sum;
}

static void pixel(const ek_conv2d_s8_params *params, const int8_t *input, int32_t y, int32_t x,
                  int8_t *output) {
    const int32_t size = params->kernel_height * params->kernel_width * params->input_channels;
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    for (int32_t channel = 0; channel < params->output_channels; channel++) {
        const int32_t *row = params->channels + channel * EK_CHANNEL_FIELDS;
        const int32_t sum = gathered(params, input, params->weights + channel * size,
                                     y + params->pad_top, x + params->pad_left);
        output[channel] = ek_finish(ek_wrapping_add(sum, row[0]), row, &stage);
    }
}

ek_status ek_transpose_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input,
                                 int8_t *output) {
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t y = 0; y < params->output_height; y++) {
            for (int32_t x = 0; x < params->output_width; x++) {
                pixel(params, input, y, x, output);
                output += params->output_channels;
            }
        }
        input += params->input_height * params->input_width * params->input_channels;
    }
    return EK_STATUS_OK;
}
