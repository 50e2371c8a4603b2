#include "edgekit/kernels.h"
#include "float_functions.h"

/* Sum over the window whose first tap is at (top, left), for one output channel. */
static float window_sum(const ek_conv2d_f32_params *params, const float *input,
                        const float *weights, int32_t top, int32_t left, int32_t depth) {
    float sum = 0.0F;
    for (int32_t row = 0; row < params->kernel_height; row++) {
        const int32_t y = top + row * params->dilation_height;
        for (int32_t column = 0; column < params->kernel_width; column++) {
            const int32_t x = left + column * params->dilation_width;
            if (y >= 0 && y < params->input_height && x >= 0 && x < params->input_width) {
                const float *pixel = input + (y * params->input_width + x) * params->input_channels;
                for (int32_t i = 0; i < depth; i++) {
                    sum += pixel[i] * weights[i];
                }
            }
            weights += depth;
        }
    }
    return sum;
}

/* All output channels of one pixel. */
static void pixel(const ek_conv2d_f32_params *params, const float *input, const float *weights,
                  int32_t y, int32_t x, float *output) {
    const int32_t depth = params->input_channels / params->groups;
    const int32_t group_channels = params->output_channels / params->groups;
    const int32_t top = y * params->stride_height - params->pad_top;
    const int32_t left = x * params->stride_width - params->pad_left;
    for (int32_t channel = 0; channel < params->output_channels; channel++) {
        const float *group = input + channel / group_channels * depth;
        const float sum = window_sum(params, group, weights, top, left, depth);
        output[channel] = ek_clamp_f32(sum + params->bias[channel], params->activation_min,
                                       params->activation_max);
        weights += params->kernel_height * params->kernel_width * depth;
    }
}

ek_status ek_conv2d_f32(const ek_conv2d_f32_params *params, const float *input,
                        const float *weights, float *output) {
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t y = 0; y < params->output_height; y++) {
            for (int32_t x = 0; x < params->output_width; x++) {
                pixel(params, input, weights, y, x, output);
                output += params->output_channels;
            }
        }
        input += params->input_height * params->input_width * params->input_channels;
    }
    return EK_STATUS_OK;
}
