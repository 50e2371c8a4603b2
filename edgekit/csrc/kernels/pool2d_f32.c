#include "edgekit/kernels.h"
#include "float_functions.h"

/* What a window holds: sum and maximum of the taps inside the image, and how many there are. */
typedef struct window {
    float sum;
    float highest;
    int32_t taps;
} window;

static window window_at(const ek_pool2d_f32_params *params, const float *input, int32_t top,
                        int32_t left) {
    window found = {0.0F, -__builtin_inff(), 0};
    for (int32_t row = 0; row < params->kernel_height; row++) {
        const int32_t y = top + row * params->dilation_height;
        for (int32_t column = 0; column < params->kernel_width; column++) {
            const int32_t x = left + column * params->dilation_width;
            if (y < 0 || y >= params->input_height || x < 0 || x >= params->input_width) {
                continue;
            }
            const float value = input[(y * params->input_width + x) * params->channels];
            found.sum += value;
            /* A maximum with a NaN is NaN. */
            found.highest = found.highest >= value ? found.highest : value;
            found.taps++;
        }
    }
    return found;
}

static float average(const ek_pool2d_f32_params *params, const window *at) {
    const int32_t all = params->kernel_height * params->kernel_width;
    const int32_t taps = params->padding_counts ? all : (at->taps > 0 ? at->taps : 1);
    return at->sum / (float)taps;
}

static void pool(const ek_pool2d_f32_params *params, const float *input, float *output,
                 int32_t takes_maximum) {
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t y = 0; y < params->output_height; y++) {
            for (int32_t x = 0; x < params->output_width; x++) {
                const int32_t top = y * params->stride_height - params->pad_top;
                const int32_t left = x * params->stride_width - params->pad_left;
                for (int32_t channel = 0; channel < params->channels; channel++) {
                    const window at = window_at(params, input + channel, top, left);
                    const float value = takes_maximum ? at.highest : average(params, &at);
                    *output++ = ek_clamp_f32(value, params->activation_min, params->activation_max);
                }
            }
        }
        input += params->input_height * params->input_width * params->channels;
    }
}

ek_status ek_average_pool2d_f32(const ek_pool2d_f32_params *params, const float *input,
                                float *output) {
    pool(params, input, output, 0);
    return EK_STATUS_OK;
}

ek_status ek_max_pool2d_f32(const ek_pool2d_f32_params *params, const float *input, float *output) {
    pool(params, input, output, 1);
    return EK_STATUS_OK;
}
