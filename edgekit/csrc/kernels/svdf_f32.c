#include "edgekit/kernels.h"
#include "float_functions.h"

/* Drops the oldest step of one filter, appends the newest; returns the filtered window. */
static float filtered(const ek_svdf_f32_params *params, const float *input, int32_t filter,
                      float *window) {
    const float *weights = params->feature_weights + filter * params->depth;
    float newest = 0.0F;
    for (int32_t i = 0; i < params->depth; i++) {
        newest += input[i] * weights[i];
    }
    for (int32_t step = 0; step + 1 < params->memory; step++) {
        window[step] = window[step + 1];
    }
    window[params->memory - 1] = newest;
    const float *time = params->time_weights + filter * params->memory;
    float sum = 0.0F;
    for (int32_t step = 0; step < params->memory; step++) {
        sum += window[step] * time[step];
    }
    return sum;
}

ek_status ek_svdf_f32(const ek_svdf_f32_params *params, const float *input, float *state,
                      float *output) {
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t unit = 0; unit < params->units; unit++) {
            float total = 0.0F;
            for (int32_t rank = 0; rank < params->rank; rank++) {
                total += filtered(params, input, unit * params->rank + rank, state);
                state += params->memory;
            }
            *output++ = ek_clamp_f32(total + params->bias[unit], params->activation_min,
                                     params->activation_max);
        }
        input += params->depth;
    }
    return EK_STATUS_OK;
}
