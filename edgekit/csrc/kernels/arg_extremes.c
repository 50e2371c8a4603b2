#include "edgekit/kernels.h"

static void put_index(const ek_arg_params *params, int32_t place, int32_t index, void *output) {
    if (params->output_bytes == 8) {
        ((int64_t *)output)[place] = index;
    } else {
        ((int32_t *)output)[place] = index;
    }
}

/* Defines ek_arg_NAME: the first x for which BETTER than the best before holds. */
#define EK_ARG(NAME, TYPE, BETTER)                                                                 \
    ek_status ek_arg_##NAME(const ek_arg_params *params, const TYPE *input, void *output) {        \
        for (int32_t outer = 0; outer < params->outer; outer++) {                                  \
            for (int32_t inner = 0; inner < params->inner; inner++) {                              \
                TYPE best = input[inner];                                                          \
                int32_t index = 0;                                                                 \
                for (int32_t i = 1; i < params->depth; i++) {                                      \
                    const TYPE x = input[i * params->inner + inner];                               \
                    if (BETTER) {                                                                  \
                        best = x;                                                                  \
                        index = i;                                                                 \
                    }                                                                              \
                }                                                                                  \
                put_index(params, outer * params->inner + inner, index, output);                   \
            }                                                                                      \
            input += params->depth * params->inner;                                                \
        }                                                                                          \
        return EK_STATUS_OK;                                                                       \
    }

EK_ARG(max_s8, int8_t, x > best)
EK_ARG(min_s8, int8_t, x < best)
/* What compares with nothing wins, and nothing wins over it. */
EK_ARG(max_f32, float, !(x <= best) && best == best)
EK_ARG(min_f32, float, !(x >= best) && best == best)
