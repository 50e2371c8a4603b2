#include "edgekit/kernels.h"

#include "fixed_point.h"

ek_status ek_fully_connected_s8(const ek_fully_connected_s8_params *params, const int8_t *input,
                                const int8_t *weights, const int32_t *bias, int8_t *output) {
    if (params == NULL || input == NULL || weights == NULL || output == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    for (int32_t row = 0; row < params->rows; ++row, input += params->input_channels) {
        const int8_t *filter = weights;
        for (int32_t c = 0; c < params->output_channels; ++c, filter += params->input_channels) {
            int32_t sum = bias == NULL ? 0 : bias[c];
            for (int32_t i = 0; i < params->input_channels; ++i) {
                sum += (input[i] + params->input_offset) * (filter[i] + params->weights_offset);
            }
            const int32_t at = params->per_channel ? c : 0;
            sum = ek_multiply(sum, params->multipliers[at], params->shifts[at]);
            *output++ = (int8_t)ek_clamp(sum + params->output_offset, params->activation_min,
                                         params->activation_max);
        }
    }
    return EK_STATUS_OK;
}
