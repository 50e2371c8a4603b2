#include "axes.h"
#include "edgekit/kernels.h"
#include "float_functions.h"

static void multiply(const ek_matmul_f32_params *params, const float *first, const float *second,
                     float *output) {
    for (int32_t row = 0; row < params->rows; row++) {
        const float *const begin = first + row * params->first_row_stride;
        for (int32_t column = 0; column < params->columns; column++) {
            const float *a = begin;
            const float *b = second + column * params->second_column_stride;
            float sum = 0.0F;
            for (int32_t i = 0; i < params->depth; i++) {
                sum += *a * *b;
                a += params->first_depth_stride;
                b += params->second_depth_stride;
            }
            *output++ = ek_clamp_f32(sum + params->bias[column], params->activation_min,
                                     params->activation_max);
        }
    }
}

ek_status ek_matmul_f32(const ek_matmul_f32_params *params, const float *first, const float *second,
                        float *output) {
    int32_t place[EK_KERNEL_AXES] = {0}, a = 0, b = 0;
    do {
        multiply(params, first + a, second + b, output);
        output += params->rows * params->columns;
    } while (ek_next_place(params->batch_dims, EK_KERNEL_AXES, place, params->first_strides, &a,
                           params->second_strides, &b));
    return EK_STATUS_OK;
}
