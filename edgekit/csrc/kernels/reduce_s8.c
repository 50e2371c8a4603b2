#include "edgekit/kernels.h"
#include "fixed_point.h"
#include "inlined.h"

/* Goes to the next place of the axes; returns how far that is, 0 after the last place. */
static int32_t advance(const int32_t dims[], const int32_t strides[], int32_t place[],
                       int32_t *is_more) {
    int32_t distance = 0;
    for (int32_t axis = EK_KERNEL_AXES - 1; axis >= 0; axis--) {
        distance += strides[axis];
        if (++place[axis] < dims[axis]) {
            *is_more = 1;
            return distance;
        }
        distance -= dims[axis] * strides[axis];
        place[axis] = 0;
    }
    *is_more = 0;
    return 0;
}

typedef int32_t reduction(const ek_reduce_s8_params *, const int8_t *);

static int32_t sum(const ek_reduce_s8_params *params, const int8_t *input) {
    int32_t place[EK_KERNEL_AXES] = {0}, is_more = 1, total = params->bias;
    while (is_more) {
        total += *input;
        input += advance(params->reduced_dims, params->reduced_strides, place, &is_more);
    }
    const int32_t stored = ek_rescale(total, params->multiplier, params->shift);
    return ek_wrapping_add(stored, params->output_zero_point);
}

static int32_t highest(const ek_reduce_s8_params *params, const int8_t *input) {
    int32_t place[EK_KERNEL_AXES] = {0}, is_more = 1, found = -128;
    while (is_more) {
        found = *input > found ? *input : found;
        input += advance(params->reduced_dims, params->reduced_strides, place, &is_more);
    }
    return found;
}

static int32_t lowest(const ek_reduce_s8_params *params, const int8_t *input) {
    int32_t place[EK_KERNEL_AXES] = {0}, is_more = 1, found = 127;
    while (is_more) {
        found = *input < found ? *input : found;
        input += advance(params->reduced_dims, params->reduced_strides, place, &is_more);
    }
    return found;
}

EK_INLINED ek_status reduce(const ek_reduce_s8_params *params, const int8_t *input, int8_t *output,
                            reduction *compute) {
    int32_t place[EK_KERNEL_AXES] = {0}, is_more = 1;
    while (is_more) {
        *output++ = ek_saturate_s8(compute(params, input));
        input += advance(params->kept_dims, params->kept_strides, place, &is_more);
    }
    return EK_STATUS_OK;
}

ek_status ek_reduce_sum_s8(const ek_reduce_s8_params *params, const int8_t *input, int8_t *output) {
    return reduce(params, input, output, sum);
}

ek_status ek_reduce_max_s8(const ek_reduce_s8_params *params, const int8_t *input, int8_t *output) {
    return reduce(params, input, output, highest);
}

ek_status ek_reduce_min_s8(const ek_reduce_s8_params *params, const int8_t *input, int8_t *output) {
    return reduce(params, input, output, lowest);
}
