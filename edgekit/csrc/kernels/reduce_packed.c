#include "packed_words.h"

EK_APART void add_4(const uint8_t *from, int32_t step, int32_t bytes, int32_t pixels,
                    int32_t sums[EK_WORD_CHANNELS]) {
    ek_reduce_fields(from, step, bytes, pixels, 4, 1, sums);
}

EK_APART void add_2(const uint8_t *from, int32_t step, int32_t bytes, int32_t pixels,
                    int32_t sums[EK_WORD_CHANNELS]) {
    ek_reduce_fields(from, step, bytes, pixels, 2, 1, sums);
}

/* The sums of some channels of an image; `image` begins at them. */
static void reduce(const ek_reduce_sum_packed_params *params, const uint8_t *image,
                   int32_t channels, int8_t *output) {
    const int32_t bits = params->input_bits, step = ek_values_bytes(params->channels, bits);
    const int32_t bytes = ek_values_bytes(channels, bits);
    /* Fields count from the lowest value. */
    const int32_t bias = params->bias - params->pixels * (ek_highest(bits) + 1);
    int32_t sums[EK_WORD_CHANNELS] = {0};
    if (bits == 4) {
        add_4(image, step, bytes, params->pixels, sums);
    } else {
        add_2(image, step, bytes, params->pixels, sums);
    }
    for (int32_t i = 0; i < channels; i++) {
        const int32_t stored = ek_rescale(bias + sums[i], params->multiplier, params->shift);
        output[i] = ek_saturate_s8(ek_wrapping_add(stored, params->output_zero_point));
    }
}

ek_status ek_reduce_sum_packed(const ek_reduce_sum_packed_params *params, const void *input,
                               int8_t *output) {
    const int32_t bits = params->input_bits;
    const uint8_t *image = input;
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t first = 0; first < params->channels; first += EK_WORD_CHANNELS) {
            reduce(params, image + ek_values_bytes(first, bits),
                   ek_least(EK_WORD_CHANNELS, params->channels - first), output + first);
        }
        image += params->pixels * ek_values_bytes(params->channels, bits);
        output += params->channels;
    }
    return EK_STATUS_OK;
}
