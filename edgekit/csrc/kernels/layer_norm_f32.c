#include "edgekit/kernels.h"
#include "float_functions.h"

static void normalize(const ek_layer_norm_f32_params *params, const float *input, float *output) {
    const float depth = (float)params->depth;
    float sum = 0.0F, squares = 0.0F;
    for (int32_t i = 0; i < params->depth; i++) {
        sum += input[i];
    }
    const float mean = sum / depth;
    for (int32_t i = 0; i < params->depth; i++) {
        squares += (input[i] - mean) * (input[i] - mean);
    }
    const float deviation = ek_sqrt_of(squares / depth + params->epsilon);
    for (int32_t i = 0; i < params->depth; i++) {
        output[i] = (input[i] - mean) / deviation * params->gamma[i] + params->beta[i];
    }
}

ek_status ek_layer_norm_f32(const ek_layer_norm_f32_params *params, const float *input,
                            float *output) {
    for (int32_t row = 0; row < params->rows; row++) {
        normalize(params, input, output);
        input += params->depth;
        output += params->depth;
    }
    return EK_STATUS_OK;
}
