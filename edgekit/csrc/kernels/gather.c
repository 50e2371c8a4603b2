#include <string.h>

#include "edgekit/kernels.h"

static int64_t index_at(const ek_gather_params *params, const void *indices, int32_t place) {
    return params->index_bytes == 8 ? ((const int64_t *)indices)[place]
                                    : ((const int32_t *)indices)[place];
}

ek_status ek_gather(const ek_gather_params *params, const void *table, const void *indices,
                    void *output) {
    const unsigned char *from = table;
    unsigned char *to = output;
    for (int32_t outer = 0; outer < params->outer; outer++) {
        for (int32_t place = 0; place < params->indices; place++) {
            int64_t index = index_at(params, indices, place);
            index += index < 0 ? params->entries : 0;
            if (index < 0 || index >= params->entries) {
                return EK_STATUS_OUT_OF_RANGE;
            }
            memcpy(to, from + (int32_t)index * params->row_bytes, (size_t)params->row_bytes);
            to += params->row_bytes;
        }
        from += params->entries * params->row_bytes;
    }
    return EK_STATUS_OK;
}
