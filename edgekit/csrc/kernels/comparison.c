#include "axes.h"
#include "edgekit/kernels.h"

/* Defines ek_NAME, which says whether CONDITION of x and y holds. */
#define EK_COMPARE(NAME, TYPE, CONDITION)                                                          \
    ek_status ek_##NAME(const ek_compare_params *params, const TYPE *first, const TYPE *second,    \
                        uint8_t *output) {                                                         \
        int32_t place[EK_KERNEL_AXES] = {0}, a = 0, b = 0;                                         \
        do {                                                                                       \
            const TYPE x = first[a], y = second[b];                                                \
            *output++ = (CONDITION) ? 1 : 0;                                                       \
        } while (ek_next_place(params->dims, EK_KERNEL_AXES, place, params->first_strides, &a,     \
                               params->second_strides, &b));                                       \
        return EK_STATUS_OK;                                                                       \
    }

EK_COMPARE(equal_f32, float, x >= y && x <= y)
EK_COMPARE(less_f32, float, x < y)
EK_COMPARE(greater_f32, float, x > y)
EK_COMPARE(less_equal_f32, float, x <= y)
EK_COMPARE(greater_equal_f32, float, x >= y)
EK_COMPARE(logical_and, uint8_t, x &&y)
EK_COMPARE(logical_or, uint8_t, x || y)

ek_status ek_logical_not(const ek_compare_params *params, const uint8_t *first, uint8_t *output) {
    int32_t place[EK_KERNEL_AXES] = {0}, a = 0, unused = 0;
    do {
        *output++ = first[a] ? 0 : 1;
    } while (ek_next_place(params->dims, EK_KERNEL_AXES, place, params->first_strides, &a,
                           params->first_strides, &unused));
    return EK_STATUS_OK;
}

ek_status ek_where(const ek_where_params *params, const uint8_t *condition, const void *input,
                   void *output) {
    const unsigned char *from = input;
    unsigned char *to = output;
    int32_t place[EK_KERNEL_AXES] = {0}, at = 0, source = 0;
    do {
        for (int32_t byte = 0; byte < params->item_bytes; byte++) {
            to[byte] = condition[at] ? from[source * params->item_bytes + byte] : to[byte];
        }
        to += params->item_bytes;
    } while (ek_next_place(params->dims, EK_KERNEL_AXES, place, params->condition_strides, &at,
                           params->input_strides, &source));
    return EK_STATUS_OK;
}
