#include <string.h>

#include "edgekit/kernels.h"
#include "fixed_point.h"

/* The newest entry of one filter's window: a dense layer on the state's scale, not yet clamped. */
static int32_t feature(const ek_svdf_s8_params *params, const int8_t *input, int32_t filter) {
    const int8_t *weights = params->feature_weights + filter * params->depth;
    int32_t sum = params->feature_bias[filter];
    for (int32_t i = 0; i < params->depth; i++) {
        sum += input[i] * weights[i];
    }
    return params->state_zero_point +
           ek_rescale(sum, params->feature_multiplier, params->feature_shift);
}

static int8_t finish(const ek_svdf_s8_params *params, int32_t sum) {
    const int32_t stored = ek_rescale(sum, params->output_multiplier, params->output_shift);
    return ek_saturate_s8(ek_wrapping_add(stored, params->output_zero_point));
}

ek_status ek_svdf_s8(const ek_svdf_s8_params *params, const int8_t *input, int8_t *state,
                     int8_t *output) {
    for (int32_t batch = 0; batch < params->batches; batch++) {
        const int8_t *time = params->time_weights;
        for (int32_t unit = 0; unit < params->units; unit++) {
            uint32_t sum = (uint32_t)params->bias[unit];
            for (int32_t rank = 0; rank < params->rank; rank++) {
                const int32_t newest = feature(params, input, unit * params->rank + rank);
                memmove(state, state + 1, (size_t)(params->memory - 1));
                state[params->memory - 1] = ek_saturate_s8(newest);
                for (int32_t i = 0; i < params->memory; i++) {
                    sum += (uint32_t)((*state++ - params->state_zero_point) * *time++);
                }
            }
            *output++ = finish(params, (int32_t)sum);
        }
        input += params->depth;
    }
    return EK_STATUS_OK;
}

ek_status ek_svdf_s8_s16(const ek_svdf_s8_params *params, const int8_t *input, int16_t *state,
                         int8_t *output) {
    for (int32_t batch = 0; batch < params->batches; batch++) {
        const int16_t *time = params->time_weights;
        for (int32_t unit = 0; unit < params->units; unit++) {
            uint32_t sum = (uint32_t)params->bias[unit];
            for (int32_t rank = 0; rank < params->rank; rank++) {
                const int32_t newest = feature(params, input, unit * params->rank + rank);
                memmove(state, state + 1, sizeof *state * (size_t)(params->memory - 1));
                state[params->memory - 1] = ek_saturate_s16(newest);
                for (int32_t i = 0; i < params->memory; i++) {
                    sum += (uint32_t)((int32_t)(*state++ - params->state_zero_point) * *time++);
                }
            }
            *output++ = finish(params, (int32_t)sum);
        }
        input += params->depth;
    }
    return EK_STATUS_OK;
}
