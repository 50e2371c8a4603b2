#include "dsp.h"
#include "plane.h"

/* Sets the padding, which is the same for all channels, to the zero point. */
static void pad_plane(const ek_conv2d_s8_params *params, int32_t elements, int16_t *plane) {
    for (int32_t i = 0; i < elements; i++) {
        plane[i] = (int16_t)params->input_zero_point;
    }
}

/* Copies one channel of the image into a padded plane. */
static void read_plane(const ek_conv2d_s8_params *params, const ek_inside *inside,
                       const int8_t *channel, int32_t width, int16_t *plane) {
    const int32_t step = params->input_channels;
    for (int32_t y = inside->top; y < inside->bottom; y++) {
        const int8_t *from = channel + (y - params->pad_top) * params->input_width * step;
        int16_t *to = plane + y * width + inside->left;
        const int16_t *end = plane + y * width + inside->right;
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
static void convolve_plane(const ek_conv2d_s8_params *params, const int16_t *plane, int32_t width,
                           int32_t out_channel, int8_t *output) {
    const ek_output_stage stage = stage_of(params);
    const int32_t *channel = params->channels + out_channel * EK_CHANNEL_FIELDS;
    for (int32_t y = 0; y < params->output_height; y++) {
        const int16_t *corner = plane + y * params->stride_height * width;
        for (int32_t x = 0; x < params->output_width; x++) {
            const int8_t *weight = params->weights + out_channel;
            int32_t sum = channel[0];
            for (int32_t i = 0; i < params->kernel_height; i++) {
                const int16_t *tap = corner + i * params->dilation_height * width;
                for (int32_t j = 0; j < params->kernel_width; j++) {
                    sum += *tap * *weight;
                    tap += params->dilation_width;
                    weight += params->output_channels;
                }
            }
            *output = ek_finish_dsp(sum, channel[1], channel[2], &stage);
            output += params->output_channels;
            corner += params->stride_width;
        }
    }
}

/* The weights of a kernel of 3 by 3: of each row, the first two and the last two as pairs. */
typedef struct kernel_3x3 {
    uint32_t first[3];
    uint32_t last[3];
} kernel_3x3;

static kernel_3x3 kernel_of(const int8_t *weight, int32_t step) {
    kernel_3x3 kernel;
    for (int32_t row = 0; row < 3; row++) {
        kernel.first[row] = ek_pair(weight[0], weight[step]);
        kernel.last[row] = ek_pair(weight[step], weight[2 * step]);
        weight += 3 * step;
    }
    return kernel;
}

/* Adds one row of the kernel to one output. */
static inline int32_t add_row(const kernel_3x3 *kernel, int32_t row, const int16_t *x,
                              int32_t sum) {
    const uint32_t right = ek_pair(x[2], 0);
    return ek_mac_bt(right, kernel->last[row], ek_dot(ek_load(x), kernel->first[row], sum));
}

/* Adds one row of the kernel to two outputs beside each other. */
static inline void add_rows(const kernel_3x3 *kernel, int32_t row, const int16_t *x, int32_t *first,
                            int32_t *second) {
    const uint32_t left = ek_load(x), right = ek_load(x + 2);
    *first = ek_mac_bt(right, kernel->last[row], ek_dot(left, kernel->first[row], *first));
    *second = ek_dot(right, kernel->last[row], ek_mac_tb(left, kernel->first[row], *second));
}

/* One output channel by a kernel of 3 by 3; pairs of outputs share what they read. */
static void convolve_plane_3x3(const ek_conv2d_s8_params *params, const int16_t *plane,
                               int32_t width, int32_t out_channel, int8_t *output) {
    const ek_output_stage stage = stage_of(params);
    const int32_t *channel = params->channels + out_channel * EK_CHANNEL_FIELDS;
    const int32_t step = params->output_channels, stride = params->stride_width;
    const kernel_3x3 kernel = kernel_of(params->weights + out_channel, step);
    for (int32_t y = 0; y < params->output_height; y++) {
        const int16_t *top = plane + y * params->stride_height * width;
        int32_t left = params->output_width;
        for (; stride == 1 && left > 1; left -= 2) {
            int32_t first = channel[0], second = first;
            add_rows(&kernel, 0, top, &first, &second);
            add_rows(&kernel, 1, top + width, &first, &second);
            add_rows(&kernel, 2, top + 2 * width, &first, &second);
            output[0] = ek_finish_dsp(first, channel[1], channel[2], &stage);
            output[step] = ek_finish_dsp(second, channel[1], channel[2], &stage);
            output += 2 * step;
            top += 2;
        }
        for (; left > 0; left--) {
            int32_t sum = add_row(&kernel, 0, top, channel[0]);
            sum = add_row(&kernel, 1, top + width, sum);
            sum = add_row(&kernel, 2, top + 2 * width, sum);
            *output = ek_finish_dsp(sum, channel[1], channel[2], &stage);
            output += step;
            top += stride;
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

/* A plane with its padding, in 16 bits. */
size_t ek_depthwise_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params) {
    return 2u * (size_t)(ek_plane_height(params) * ek_plane_width(params));
}
