#include "axes.h"
#include "edgekit/kernels.h"
#include "float_functions.h"

/* Defines ek_reduce_NAME_f32: FIRST, then STEP of the total and x for every element, then LAST. */
#define EK_REDUCE(NAME, FIRST, STEP, LAST)                                                         \
    ek_status ek_reduce_##NAME##_f32(const ek_reduce_f32_params *params, const float *input,       \
                                     float *output) {                                              \
        int32_t kept[EK_KERNEL_AXES] = {0}, begin = 0, unused = 0;                                 \
        do {                                                                                       \
            int32_t place[EK_KERNEL_AXES] = {0}, at = begin;                                       \
            float total = (FIRST);                                                                 \
            do {                                                                                   \
                const float x = input[at];                                                         \
                total = (STEP);                                                                    \
            } while (ek_next_place(params->reduced_dims, EK_KERNEL_AXES, place,                    \
                                   params->reduced_strides, &at, params->reduced_strides,          \
                                   &unused));                                                      \
            *output++ = (LAST);                                                                    \
        } while (ek_next_place(params->kept_dims, EK_KERNEL_AXES, kept, params->kept_strides,      \
                               &begin, params->kept_strides, &unused));                            \
        return EK_STATUS_OK;                                                                       \
    }

EK_REDUCE(sum, 0.0F, total + x, total / params->divisor)
/* With a NaN the result is NaN. */
EK_REDUCE(max, -__builtin_inff(), total >= x || total != total ? total : x, total)
EK_REDUCE(min, __builtin_inff(), total <= x || total != total ? total : x, total)
EK_REDUCE(l2, 0.0F, total + x * x, ek_sqrt_of(total))
