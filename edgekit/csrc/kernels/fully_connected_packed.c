#include <string.h>

#include "packed.h"

ek_status ek_fully_connected_packed(const ek_fully_connected_s8_params *params, const int8_t *input,
                                    int8_t *output) {
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    const int32_t fours = params->depth / 4, tail_places = params->depth & 3;
    for (int32_t row = 0; row < params->rows; row++, input += params->depth) {
        const uint8_t *weights = (const uint8_t *)params->weights;
        const int32_t *bias = params->bias, *factor = params->factors;
        const int32_t offset = ek_row_offset(params, input);
        int8_t tail[4] = {0};
        memcpy(tail, input + 4 * fours, (size_t)tail_places);
        for (int32_t left = params->output_channels; left > 0; left -= 4) {
            const int32_t width = left < 4 ? left : 4;
            int32_t sums[4] = {0};
            weights = ek_nibbles_by_row(weights, input, fours, width, sums);
            weights = ek_nibbles_by_row(weights, tail, tail_places > 0, width, sums);
            for (int32_t i = 0; i < width; i++, factor += params->factor_step) {
                const int32_t sum = ek_wrapping_add(sums[i] - offset, *bias++);
                *output++ = ek_finish_by(sum, factor[0], factor[1], &stage);
            }
        }
    }
    return EK_STATUS_OK;
}
