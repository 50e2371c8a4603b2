#include "edgekit/nand_function.h"

static ek_status check(const void *weights, int32_t rows, int32_t columns, const int8_t *input,
                       const int32_t *sums) {
    if (!weights || !input || !sums) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    if (rows < 0 || columns < 0 || columns > EK_NAND_MAX_COLUMNS) {
        return EK_STATUS_OUT_OF_RANGE;
    }
    return EK_STATUS_OK;
}

ek_status ek_nand_gemv_s8(const int8_t *weights, int32_t rows, int32_t columns, const int8_t *input,
                          int32_t *sums) {
    const ek_status status = check(weights, rows, columns, input, sums);
    if (status != EK_STATUS_OK) {
        return status;
    }
    for (int32_t row = 0; row < rows; row++) {
        int32_t sum = 0;
        for (int32_t i = 0; i < columns; i++) {
            sum += (int32_t)weights[i] * input[i];
        }
        sums[row] += sum;
        weights += columns;
    }
    return EK_STATUS_OK;
}

static int32_t weight_s4(const uint8_t *weights, size_t index) {
    const int32_t half = (index & 1) ? weights[index / 2] >> 4 : weights[index / 2] & 15;
    return (half ^ 8) - 8;
}

ek_status ek_nand_gemv_s4(const uint8_t *weights, int32_t rows, int32_t columns,
                          const int8_t *input, int32_t *sums) {
    const ek_status status = check(weights, rows, columns, input, sums);
    if (status != EK_STATUS_OK) {
        return status;
    }
    size_t index = 0;
    for (int32_t row = 0; row < rows; row++) {
        int32_t sum = 0;
        for (int32_t i = 0; i < columns; i++, index++) {
            sum += weight_s4(weights, index) * input[i];
        }
        sums[row] += sum;
    }
    return EK_STATUS_OK;
}
