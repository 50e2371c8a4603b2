#include "products.h"

/* What the weights' zero point takes from every sum: it times the sum of the row. */
static int32_t row_offset(const ek_fully_connected_s8_params *params, const int8_t *row) {
    int32_t total = 0;
    if (params->weights_zero_point != 0) {
        for (int32_t i = 0; i < params->depth; i++) {
            total += row[i];
        }
    }
    return params->weights_zero_point * total;
}

ek_status ek_fully_connected_s8(const ek_fully_connected_s8_params *params, const int8_t *input,
                                int8_t *output) {
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    const uint32x4_t at = ek_steps(params->factor_step);
    for (int32_t row = 0; row < params->rows; row++) {
        const int8_t *weights = params->weights;
        const int32_t *bias = params->bias, *factor = params->factors;
        const int32_t offset = row_offset(params, input);
        for (int32_t left = params->output_channels; left > 0; left -= 4) {
            const mve_pred16_t used = ek_words(left);
            int32x4_t sums;
            weights = ek_multiply_4x1(weights, input, params->depth, &sums);
            sums = vaddq_n_s32(vaddq_s32(sums, vldrwq_z_s32(bias, used)), -offset);
            const int32x4_t multiplier = vldrwq_gather_shifted_offset_z_s32(factor, at, used);
            const int32x4_t shift = vldrwq_gather_shifted_offset_z_s32(factor + 1, at, used);
            const int32x4_t rescaled = ek_rescale4(sums, multiplier, shift, stage.is_simple);
            vstrbq_p_s32(output, ek_stored4(rescaled, &stage), used);
            bias += 4;
            factor += 4 * params->factor_step;
            output += left < 4 ? left : 4;
        }
        input += params->depth;
    }
    return EK_STATUS_OK;
}
