#include "edgekit/kernels.h"

#include "fixed_point.h"

static int32_t accumulate(const ek_conv2d_s8_params *p, const int8_t *image, const int8_t *weights,
                          int32_t row, int32_t column, int32_t first_channel) {
    const ek_window *w = &p->window;
    const int32_t channels = w->input_channels / p->groups;
    int32_t sum = 0;
    for (int32_t ky = 0; ky < w->kernel_height; ++ky) {
        const int32_t y = row + ky * w->dilation_height;
        if (y < 0 || y >= w->input_height) {
            weights += w->kernel_width * channels;
            continue;
        }
        for (int32_t kx = 0; kx < w->kernel_width; ++kx, weights += channels) {
            const int32_t x = column + kx * w->dilation_width;
            if (x < 0 || x >= w->input_width) {
                continue;
            }
            const int8_t *pixel =
                image + (y * w->input_width + x) * w->input_channels + first_channel;
            for (int32_t c = 0; c < channels; ++c) {
                sum += (pixel[c] + p->input_offset) * weights[c];
            }
        }
    }
    return sum;
}

ek_status ek_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input,
                       const int8_t *weights, const int32_t *bias, int8_t *output) {
    if (params == NULL || input == NULL || weights == NULL || output == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    const ek_window *w = &params->window;
    const int32_t image_elements = w->input_height * w->input_width * w->input_channels;
    const int32_t filter_elements =
        w->kernel_height * w->kernel_width * (w->input_channels / params->groups);
    for (int32_t n = 0; n < w->batch; ++n, input += image_elements) {
        for (int32_t oy = 0; oy < w->output_height; ++oy) {
            for (int32_t ox = 0; ox < w->output_width; ++ox) {
                const int32_t row = oy * w->stride_height - w->pad_top;
                const int32_t column = ox * w->stride_width - w->pad_left;
                for (int32_t c = 0; c < w->output_channels; ++c) {
                    const int32_t group = c / (w->output_channels / params->groups);
                    int32_t sum = accumulate(params, input, weights + c * filter_elements, row,
                                             column, group * (w->input_channels / params->groups));
                    sum += bias == NULL ? 0 : bias[c];
                    sum = ek_multiply(sum, params->multipliers[c], params->shifts[c]);
                    *output++ = (int8_t)ek_clamp(sum + params->output_offset,
                                                 params->activation_min, params->activation_max);
                }
            }
        }
    }
    return EK_STATUS_OK;
}
