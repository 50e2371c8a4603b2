#include "edgekit/kernels.h"
#include "fixed_point.h"

static int32_t plane_height(const ek_conv2d_s8_params *params) {
    return (params->output_height - 1) * params->stride_height +
           (params->kernel_height - 1) * params->dilation_height + 1;
}

static int32_t plane_width(const ek_conv2d_s8_params *params) {
    return (params->output_width - 1) * params->stride_width +
           (params->kernel_width - 1) * params->dilation_width + 1;
}

/* Copies one channel of the image; beyond the image lies the zero point. */
static void read_plane(const ek_conv2d_s8_params *params, const int8_t *channel, int32_t height,
                       int32_t width, int8_t *plane) {
    for (int32_t y = 0; y < height; y++) {
        const int32_t line = y - params->pad_top;
        const int32_t is_line = line >= 0 && line < params->input_height;
        for (int32_t x = 0; x < width; x++) {
            const int32_t column = x - params->pad_left;
            const int32_t is_inside = is_line && column >= 0 && column < params->input_width;
            const int32_t pixel = line * params->input_width + column;
            *plane++ = is_inside ? channel[pixel * params->input_channels]
                                 : (int8_t)params->input_zero_point;
        }
    }
}

/* One output channel from the plane of its input channel. */
static void convolve_plane(const ek_conv2d_s8_params *params, const int8_t *plane, int32_t width,
                           int32_t out_channel, int8_t *output) {
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
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

ek_status ek_depthwise_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input,
                                 void *scratch, int8_t *output) {
    const int32_t height = plane_height(params), width = plane_width(params);
    const int32_t multiplier = params->output_channels / params->input_channels;
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t channel = 0; channel < params->input_channels; channel++) {
            read_plane(params, input + channel, height, width, scratch);
            for (int32_t i = 0; i < multiplier; i++) {
                const int32_t out_channel = channel * multiplier + i;
                convolve_plane(params, scratch, width, out_channel, output + out_channel);
            }
        }
        input += params->input_height * params->input_width * params->input_channels;
        output += params->output_height * params->output_width * params->output_channels;
    }
    return EK_STATUS_OK;
}

/* A plane with its padding, held in 16 bits by the kernels that need it, and four bytes more. */
size_t ek_depthwise_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params) {
    const int32_t elements = plane_height(params) * plane_width(params);
    return 4u * (size_t)((elements + 1) / 2 + 1);
}
