#include "edgekit/kernels.h"
#include "float_functions.h"

static void softmax(const ek_softmax_f32_params *params, const float *input, float *output) {
    const int32_t end = params->depth * params->inner;
    float highest = input[0], total = 0.0F;
    for (int32_t i = 0; i < end; i += params->inner) {
        highest = input[i] > highest ? input[i] : highest;
    }
    for (int32_t i = 0; i < end; i += params->inner) {
        output[i] = ek_exp_of((input[i] - highest) * params->beta);
        total += output[i];
    }
    for (int32_t i = 0; i < end; i += params->inner) {
        output[i] /= total;
    }
}

ek_status ek_softmax_f32(const ek_softmax_f32_params *params, const float *input, float *output) {
    for (int32_t outer = 0; outer < params->outer; outer++) {
        for (int32_t inner = 0; inner < params->inner; inner++) {
            softmax(params, input + inner, output + inner);
        }
        input += params->depth * params->inner;
        output += params->depth * params->inner;
    }
    return EK_STATUS_OK;
}
