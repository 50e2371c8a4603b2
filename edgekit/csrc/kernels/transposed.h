/* Where a tap of a transposed convolution comes from. */
#ifndef EDGEKIT_KERNELS_TRANSPOSED_H
#define EDGEKIT_KERNELS_TRANSPOSED_H

#include <stdint.h>

/* Returns the place along one axis of the input that adds to `position` of the full result by this
 * tap, -1 where there is none. */
static inline int32_t ek_source_of(int32_t position, int32_t tap, int32_t dilation, int32_t stride,
                                   int32_t input_size) {
    const int32_t distance = position - tap * dilation;
    if (distance < 0 || distance % stride != 0 || distance / stride >= input_size) {
        return -1;
    }
    return distance / stride;
}

#endif
