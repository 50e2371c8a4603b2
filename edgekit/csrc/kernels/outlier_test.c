#include "edgekit/kernels.h"

/* Returns how many elements of a row are outside. */
static int32_t outside_of(const ek_outlier_test_params *params, const uint8_t *row) {
    int32_t outside = 0, shift = 0;
    for (int32_t column = 0; column < params->columns; column++) {
        /* To the top of a byte, from where the sign comes down with the rest. */
        const uint8_t raised = (uint8_t)(*row << (8 - params->bits - shift));
        const int32_t value = (int8_t)raised >> (8 - params->bits);
        outside += value < params->low || value > params->high;
        shift += params->bits;
        if (shift == 8) {
            shift = 0;
            row++;
        }
    }
    return outside;
}

ek_status ek_outlier_test(const ek_outlier_test_params *params, const void *input,
                          uint8_t *output) {
    const int32_t row_bytes = (params->columns * params->bits + 7) / 8;
    const uint8_t *row = input;
    int32_t outside = 0;
    for (int32_t n = 0; n < params->rows; n++, row += row_bytes) {
        outside += outside_of(params, row);
    }
    *output = outside > params->most;
    return EK_STATUS_OK;
}
