/* Rows that dense layers multiply. */
#ifndef EDGEKIT_KERNELS_INPUT_ROW_H
#define EDGEKIT_KERNELS_INPUT_ROW_H

#include <string.h>

#include "packed.h"

/* A row of the input. */
typedef struct input_row {
    const int8_t *bytes;
    int32_t fours;  /* whole fours of places */
    uint32_t tail;  /* the places behind them, filled up with zeros */
    int32_t offset; /* what the weights' zero point takes from every sum */
} input_row;

static inline input_row row_of(const ek_fully_connected_s8_params *params, const int8_t *bytes) {
    input_row row = {.bytes = bytes, .fours = params->depth / 4};
    memcpy(&row.tail, bytes + 4 * row.fours, (size_t)(params->depth & 3));
    row.offset = ek_row_offset(params, bytes);
    return row;
}

#endif
