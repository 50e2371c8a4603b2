#include "edgekit/kernels.h"

#include "fixed_point.h"

#define LEFT_SHIFT 20

ek_status ek_add_s8(const ek_add_s8_params *params, const int8_t *first, const int8_t *second,
                    int8_t *output) {
    if (params == NULL || first == NULL || second == NULL || output == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    for (int32_t i = 0; i < params->elements; ++i) {
        const int32_t a = (first[i] + params->first_offset) * (1 << LEFT_SHIFT);
        const int32_t b = (second[i] + params->second_offset) * (1 << LEFT_SHIFT);
        const int32_t sum = ek_multiply(a, params->first_multiplier, params->first_shift) +
                            ek_multiply(b, params->second_multiplier, params->second_shift);
        const int32_t scaled = ek_multiply(sum, params->output_multiplier, params->output_shift);
        output[i] = (int8_t)ek_clamp(scaled + params->output_offset, params->activation_min,
                                     params->activation_max);
    }
    return EK_STATUS_OK;
}
