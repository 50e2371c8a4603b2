#include <string.h>

#include "packed.h"

/* Adds up to four channels times a row whose last places are in `tail`. */
static const int8_t *multiply_row(const int8_t *weights, const int8_t *row, const int8_t tail[4],
                                  int32_t depth, int32_t width, int32_t sums[4]) {
    if (width > 2) {
        weights = ek_packed_4x1(weights, row, depth / 4, sums);
        return (depth & 3) ? ek_packed_4x1(weights, tail, 1, sums) : weights;
    }
    weights = ek_packed_2x1(weights, row, depth / 4, sums);
    return (depth & 3) ? ek_packed_2x1(weights, tail, 1, sums) : weights;
}

ek_status ek_fully_connected_s8(const ek_fully_connected_s8_params *params, const int8_t *input,
                                int8_t *output) {
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    for (int32_t row = 0; row < params->rows; row++) {
        const int8_t *weights = params->weights;
        const int32_t *bias = params->bias, *factor = params->factors;
        const int32_t offset = ek_row_offset(params, input);
        int8_t tail[4] = {0};
        memcpy(tail, input + (params->depth & ~3), (size_t)(params->depth & 3));
        for (int32_t done = 0; done < params->output_channels;) {
            const int32_t left = params->output_channels - done;
            const int32_t width = left < 4 ? left : 4;
            int32_t sums[4] = {0};
            weights = multiply_row(weights, input, tail, params->depth, width, sums);
            for (int32_t i = 0; i < width; i++) {
                const int32_t sum = ek_wrapping_add(sums[i] - offset, *bias++);
                *output++ = ek_finish_by(sum, factor[0], factor[1], &stage);
                factor += params->factor_step;
            }
            done += width;
        }
        input += params->depth;
    }
    return EK_STATUS_OK;
}
