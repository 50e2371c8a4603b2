#include "edgekit/kernels.h"

ek_status ek_copy_when(const ek_copy_when_params *params, const uint8_t *flag, const void *input,
                       void *output) {
    return *flag == params->when ? ek_copy(&params->copy, input, output) : EK_STATUS_OK;
}
