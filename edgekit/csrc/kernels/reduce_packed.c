#include "edgekit/kernels.h"
#include "packed_values.h"

ek_status ek_reduce_sum_packed(const ek_reduce_sum_packed_params *params, const void *input,
                               int8_t *output) {
    const int32_t pixel_bytes = ek_values_bytes(params->channels, params->input_bits);
    const uint8_t *image = input;
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t channel = 0; channel < params->channels; channel++) {
            int32_t total = params->bias;
            for (int32_t pixel = 0; pixel < params->pixels; pixel++) {
                total += ek_value_at(image + pixel * pixel_bytes, channel, params->input_bits);
            }
            const int32_t stored = ek_rescale(total, params->multiplier, params->shift);
            *output++ = ek_saturate_s8(ek_wrapping_add(stored, params->output_zero_point));
        }
        image += params->pixels * pixel_bytes;
    }
    return EK_STATUS_OK;
}
