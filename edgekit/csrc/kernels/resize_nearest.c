#include <string.h>

#include "edgekit/kernels.h"

ek_status ek_resize_nearest(const ek_resize_nearest_params *params, const void *input,
                            void *output) {
    const unsigned char *image = input;
    unsigned char *to = output;
    const int32_t row_bytes = params->input_width * params->pixel_bytes;
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t y = 0; y < params->output_height; y++) {
            const unsigned char *row = image + params->rows[y] * row_bytes;
            for (int32_t x = 0; x < params->output_width; x++) {
                memcpy(to, row + params->columns[x] * params->pixel_bytes,
                       (size_t)params->pixel_bytes);
                to += params->pixel_bytes;
            }
        }
        image += params->input_height * row_bytes;
    }
    return EK_STATUS_OK;
}
