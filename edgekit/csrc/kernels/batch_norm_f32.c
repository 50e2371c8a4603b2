#include "edgekit/kernels.h"

ek_status ek_batch_norm_f32(const ek_batch_norm_f32_params *params, const float *input,
                            float *output) {
    for (int32_t outer = 0; outer < params->outer; outer++) {
        for (int32_t channel = 0; channel < params->channels; channel++) {
            for (int32_t inner = 0; inner < params->inner; inner++) {
                const float centred = *input++ - params->mean[channel];
                *output++ = centred * params->scale[channel] + params->offset[channel];
            }
        }
    }
    return EK_STATUS_OK;
}
