#include <string.h>

#include "edgekit/kernels.h"

/* Copies one row of the last axis, unless it lies where it is to go. */
static void copy_row(const ek_copy_params *params, const unsigned char *input,
                     unsigned char *output) {
    const int32_t last = EK_KERNEL_AXES - 1;
    const size_t item_bytes = (size_t)params->item_bytes;
    const int32_t input_step = params->input_strides[last] * params->item_bytes;
    const int32_t output_step = params->output_strides[last] * params->item_bytes;
    if (params->input_strides[last] == 1 && params->output_strides[last] == 1) {
        if (output != input) {
            memcpy(output, input, item_bytes * (size_t)params->dims[last]);
        }
        return;
    }
    for (int32_t n = 0; n < params->dims[last]; n++) {
        for (size_t byte = 0; byte < item_bytes; byte++) {
            output[n * output_step + (int32_t)byte] = input[n * input_step + (int32_t)byte];
        }
    }
}

ek_status ek_copy(const ek_copy_params *params, const void *input, void *output) {
    int32_t from = params->input_start, to = params->output_start;
    int32_t place[EK_KERNEL_AXES] = {0};
    for (;;) {
        copy_row(params, (const unsigned char *)input + from * params->item_bytes,
                 (unsigned char *)output + to * params->item_bytes);
        int32_t axis = EK_KERNEL_AXES - 2;
        for (; axis >= 0; axis--) {
            from += params->input_strides[axis];
            to += params->output_strides[axis];
            if (++place[axis] < params->dims[axis]) {
                break;
            }
            from -= params->dims[axis] * params->input_strides[axis];
            to -= params->dims[axis] * params->output_strides[axis];
            place[axis] = 0;
        }
        if (axis < 0) {
            return EK_STATUS_OK;
        }
    }
}

ek_status ek_fill(const ek_fill_params *params, void *output) {
    memset(output, params->value, (size_t)params->bytes);
    return EK_STATUS_OK;
}

ek_status ek_fill_words(const ek_fill_words_params *params, void *output) {
    unsigned char *to = output;
    for (int32_t i = 0; i < params->words; i++) {
        memcpy(to, &params->value, sizeof params->value);
        to += sizeof params->value;
    }
    return EK_STATUS_OK;
}
