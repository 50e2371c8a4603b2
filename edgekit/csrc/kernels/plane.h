/* Planes of a depthwise convolution: one channel of an image with its padding. */
#ifndef EDGEKIT_KERNELS_PLANE_H
#define EDGEKIT_KERNELS_PLANE_H

#include "edgekit/kernels.h"

static inline int32_t ek_plane_height(const ek_conv2d_s8_params *params) {
    return (params->output_height - 1) * params->stride_height +
           (params->kernel_height - 1) * params->dilation_height + 1;
}

static inline int32_t ek_plane_width(const ek_conv2d_s8_params *params) {
    return (params->output_width - 1) * params->stride_width +
           (params->kernel_width - 1) * params->dilation_width + 1;
}

/* The part of a plane that lies inside the image: rows [top, bottom), columns [left, right). */
typedef struct ek_inside {
    int32_t top;
    int32_t bottom;
    int32_t left;
    int32_t right;
} ek_inside;

static inline int32_t ek_least(int32_t a, int32_t b) { return a < b ? a : b; }

static inline ek_inside ek_inside_of(const ek_conv2d_s8_params *params, int32_t height,
                                     int32_t width) {
    return (ek_inside){
        ek_least(params->pad_top, height), ek_least(params->pad_top + params->input_height, height),
        ek_least(params->pad_left, width), ek_least(params->pad_left + params->input_width, width)};
}

/* Whether the kernel is the usual one: 3 by 3 without gaps. */
static inline int32_t ek_is_3x3(const ek_conv2d_s8_params *params) {
    return params->kernel_height == 3 && params->kernel_width == 3 &&
           params->dilation_height == 1 && params->dilation_width == 1;
}

#endif
