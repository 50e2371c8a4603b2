#include "packed_words.h"
#include "pool_window.h"

#define EK_REDUCTION(NAME, BITS, IS_SUM)                                                           \
    EK_APART void NAME(const uint8_t *from, int32_t step, int32_t bytes, int32_t pixels,           \
                       int32_t results[EK_WORD_CHANNELS]) {                                        \
        ek_reduce_fields(from, step, bytes, pixels, BITS, IS_SUM, results);                        \
    }
EK_REDUCTION(add_4, 4, 1)
EK_REDUCTION(add_2, 2, 1)
EK_REDUCTION(greatest_4, 4, 0)
EK_REDUCTION(greatest_2, 2, 0)

typedef void reduction(const uint8_t *, int32_t, int32_t, int32_t, int32_t *);

/* Reduces the taps of a window that lie inside the image; `image` begins at the channels. */
EK_INLINED void reduce_window(const ek_pool2d_packed_params *params, const uint8_t *image,
                              const ek_window *at, int32_t bytes, reduction *by_4, reduction *by_2,
                              int32_t results[EK_WORD_CHANNELS]) {
    const ek_pool2d_s8_params *base = &params->base;
    const int32_t pixel_bytes = ek_values_bytes(base->channels, params->value_bits);
    const int32_t column = at->left + at->first_column * base->dilation_width;
    for (int32_t i = 0; i < EK_WORD_CHANNELS; i++) {
        results[i] = 0;
    }
    for (int32_t row = at->first_row; row < at->end_row; row++) {
        const int32_t line = (at->top + row * base->dilation_height) * base->input_width;
        const uint8_t *from = image + (line + column) * pixel_bytes;
        const int32_t step = base->dilation_width * pixel_bytes;
        const int32_t pixels = at->end_column - at->first_column;
        if (params->value_bits == 4) {
            by_4(from, step, bytes, pixels, results);
        } else {
            by_2(from, step, bytes, pixels, results);
        }
    }
}

/* Divides sums of fields, which count from the lowest value. */
static void divide(const ek_window *at, int32_t lowest, int32_t channels, int32_t *results) {
    const int32_t rows = ek_greatest(at->end_row - at->first_row, 0);
    const int32_t taps = rows * ek_greatest(at->end_column - at->first_column, 0);
    for (int32_t i = 0; i < channels; i++) {
        results[i] = ek_divided(results[i] + taps * lowest, ek_greatest(taps, 1));
    }
}

/* One image. */
EK_INLINED void pool(const ek_pool2d_packed_params *params, const uint8_t *image, uint8_t *output,
                     reduction *by_4, reduction *by_2, int32_t is_sum) {
    const ek_pool2d_s8_params *base = &params->base;
    const int32_t bits = params->value_bits, lowest = -1 - ek_highest(bits);
    for (int32_t y = 0; y < base->output_height; y++) {
        for (int32_t x = 0; x < base->output_width; x++) {
            const ek_window at = ek_window_at(base, y, x);
            for (int32_t first = 0; first < base->channels; first += EK_WORD_CHANNELS) {
                const int32_t channels = ek_least(EK_WORD_CHANNELS, base->channels - first);
                int32_t results[EK_WORD_CHANNELS];
                int8_t bytes[EK_WORD_CHANNELS];
                reduce_window(params, image + ek_values_bytes(first, bits), &at,
                              ek_values_bytes(channels, bits), by_4, by_2, results);
                if (is_sum) {
                    divide(&at, lowest, channels, results);
                }
                for (int32_t i = 0; i < channels; i++) {
                    bytes[i] = (int8_t)ek_clamp(results[i] + (is_sum ? 0 : lowest),
                                                base->activation_min, base->activation_max);
                }
                ek_pack(bytes, channels, bits, output + ek_values_bytes(first, bits));
            }
            output += ek_values_bytes(base->channels, bits);
        }
    }
}

EK_INLINED ek_status pool_all(const ek_pool2d_packed_params *params, const void *input,
                              void *output, reduction *by_4, reduction *by_2, int32_t is_sum) {
    const ek_pool2d_s8_params *base = &params->base;
    const int32_t pixel_bytes = ek_values_bytes(base->channels, params->value_bits);
    const uint8_t *from = input;
    uint8_t *to = output;
    for (int32_t batch = 0; batch < base->batches; batch++) {
        pool(params, from, to, by_4, by_2, is_sum);
        from += base->input_height * base->input_width * pixel_bytes;
        to += base->output_height * base->output_width * pixel_bytes;
    }
    return EK_STATUS_OK;
}

ek_status ek_average_pool2d_packed(const ek_pool2d_packed_params *params, const void *input,
                                   void *output) {
    return pool_all(params, input, output, add_4, add_2, 1);
}

ek_status ek_max_pool2d_packed(const ek_pool2d_packed_params *params, const void *input,
                               void *output) {
    return pool_all(params, input, output, greatest_4, greatest_2, 0);
}
