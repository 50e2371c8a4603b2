#include "fixed_point.h"
#include "plane.h"

/* Sets the padding, which is the same for all channels, to the zero point. */
static void pad_plane(const ek_conv2d_s8_params *params, int32_t elements, int8_t *plane) {
    for (int32_t i = 0; i < elements; i++) {
        plane[i] = (int8_t)params->input_zero_point;
    }
}

/* Copies one channel of the image into a padded plane. */
static void read_plane(const ek_conv2d_s8_params *params, const ek_inside *inside,
                       const int8_t *channel, int32_t width, int8_t *plane) {
    const int32_t step = params->input_channels;
    for (int32_t y = inside->top; y < inside->bottom; y++) {
        const int8_t *from = channel + (y - params->pad_top) * params->input_width * step;
        int8_t *to = plane + y * width + inside->left;
        const int8_t *end = plane + y * width + inside->right;
        while (to < end) {
            *to++ = *from;
            from += step;
        }
    }
}

static ek_output_stage stage_of(const ek_conv2d_s8_params *params) {
    return (ek_output_stage){params->output_zero_point, params->activation_min,
                             params->activation_max, params->simple_rescale};
}

/* One output channel from the plane of its input channel. */
static void convolve_plane(const ek_conv2d_s8_params *params, const int8_t *plane, int32_t width,
                           int32_t out_channel, int8_t *output) {
    const ek_output_stage stage = stage_of(params);
    const int32_t *channel = params->channels + out_channel * EK_CHANNEL_FIELDS;
    for (int32_t y = 0; y < params->output_height; y++) {
        const int8_t *corner = plane + y * params->stride_height * width;
        for (int32_t x = 0; x < params->output_width; x++) {
            const int8_t *weight = params->weights + out_channel;
            int32_t sum = channel[0];
            for (int32_t i = 0; i < params->kernel_height; i++) {
                const int8_t *tap = corner + i * params->dilation_height * width;
                for (int32_t j = 0; j < params->kernel_width; j++) {
                    sum += *tap * *weight;
                    tap += params->dilation_width;
                    weight += params->output_channels;
                }
            }
            *output = ek_finish(sum, channel, &stage);
            output += params->output_channels;
            corner += params->stride_width;
        }
    }
}

/* The same for a kernel of 3 by 3. */
static void convolve_plane_3x3(const ek_conv2d_s8_params *params, const int8_t *plane,
                               int32_t width, int32_t out_channel, int8_t *output) {
    const ek_output_stage stage = stage_of(params);
    const int32_t *channel = params->channels + out_channel * EK_CHANNEL_FIELDS;
    const int32_t step = params->output_channels, stride = params->stride_width;
    const int8_t *w = params->weights + out_channel;
    const int32_t a = w[0], b = w[step], c = w[2 * step];
    const int32_t d = w[3 * step], e = w[4 * step], f = w[5 * step];
    const int32_t g = w[6 * step], h = w[7 * step], i = w[8 * step];
    for (int32_t y = 0; y < params->output_height; y++) {
        const int8_t *top = plane + y * params->stride_height * width;
        const int8_t *middle = top + width, *bottom = middle + width;
        for (int32_t x = params->output_width; x > 0; x--) {
            int32_t sum = channel[0] + a * top[0] + b * top[1] + c * top[2];
            sum += d * middle[0] + e * middle[1] + f * middle[2];
            sum += g * bottom[0] + h * bottom[1] + i * bottom[2];
            *output = ek_finish(sum, channel, &stage);
            output += step;
            top += stride;
            middle += stride;
            bottom += stride;
        }
    }
}

ek_status ek_depthwise_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input,
                                 void *scratch, int8_t *output) {
    const int32_t height = ek_plane_height(params), width = ek_plane_width(params);
    const ek_inside inside = ek_inside_of(params, height, width);
    const int32_t multiplier = params->output_channels / params->input_channels;
    pad_plane(params, height * width, scratch);
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t channel = 0; channel < params->input_channels; channel++) {
            read_plane(params, &inside, input + channel, width, scratch);
            for (int32_t i = 0; i < multiplier; i++) {
                const int32_t out_channel = channel * multiplier + i;
                if (ek_is_3x3(params)) {
                    convolve_plane_3x3(params, scratch, width, out_channel, output + out_channel);
                } else {
                    convolve_plane(params, scratch, width, out_channel, output + out_channel);
                }
            }
        }
        input += params->input_height * params->input_width * params->input_channels;
        output += params->output_height * params->output_width * params->output_channels;
    }
    return EK_STATUS_OK;
}

/* A plane with its padding. */
size_t ek_depthwise_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params) {
    return (size_t)(ek_plane_height(params) * ek_plane_width(params));
}
