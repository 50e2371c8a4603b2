/* Walks over the places of several axes, the last one fastest. */
#ifndef EDGEKIT_KERNELS_AXES_H
#define EDGEKIT_KERNELS_AXES_H

#include "edgekit/kernels.h"

/* Goes to the next place; adds what two tensors move to their positions. Returns 0 behind the last
 * place, with both positions where they began. `axes` counts those in front that are walked. */
static inline int32_t ek_next_place(const int32_t dims[], int32_t axes, int32_t place[],
                                    const int32_t first_strides[], int32_t *first,
                                    const int32_t second_strides[], int32_t *second) {
    for (int32_t axis = axes - 1; axis >= 0; axis--) {
        *first += first_strides[axis];
        *second += second_strides[axis];
        if (++place[axis] < dims[axis]) {
            return 1;
        }
        *first -= dims[axis] * first_strides[axis];
        *second -= dims[axis] * second_strides[axis];
        place[axis] = 0;
    }
    return 0;
}

#endif
