#include "fixed_point.h"
#include "inlined.h"
#include "pool_window.h"

/* Sum over a window of one channel, divided with halves away from zero. */
static int32_t average(const ek_pool2d_s8_params *params, const int8_t *input,
                       const ek_window *at) {
    int32_t total = 0;
    for (int32_t row = at->first_row; row < at->end_row; row++) {
        for (int32_t column = at->first_column; column < at->end_column; column++) {
            total += *ek_tap_of(params, input, at, row, column);
        }
    }
    return ek_divided(total, ek_taps_of(at));
}

static int32_t maximum(const ek_pool2d_s8_params *params, const int8_t *input,
                       const ek_window *at) {
    int32_t highest = -128;
    for (int32_t row = at->first_row; row < at->end_row; row++) {
        for (int32_t column = at->first_column; column < at->end_column; column++) {
            const int32_t x = *ek_tap_of(params, input, at, row, column);
            highest = x > highest ? x : highest;
        }
    }
    return highest;
}

typedef int32_t reduction(const ek_pool2d_s8_params *, const int8_t *, const ek_window *);

EK_INLINED void pool(const ek_pool2d_s8_params *params, const int8_t *input, int8_t *output,
                     reduction *reduce) {
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t y = 0; y < params->output_height; y++) {
            for (int32_t x = 0; x < params->output_width; x++) {
                const ek_window at = ek_window_at(params, y, x);
                for (int32_t channel = 0; channel < params->channels; channel++) {
                    const int32_t value = reduce(params, input + channel, &at);
                    *output++ =
                        (int8_t)ek_clamp(value, params->activation_min, params->activation_max);
                }
            }
        }
        input += params->input_height * params->input_width * params->channels;
    }
}

ek_status ek_average_pool2d_s8(const ek_pool2d_s8_params *params, const int8_t *input,
                               int8_t *output) {
    pool(params, input, output, average);
    return EK_STATUS_OK;
}

ek_status ek_max_pool2d_s8(const ek_pool2d_s8_params *params, const int8_t *input, int8_t *output) {
    pool(params, input, output, maximum);
    return EK_STATUS_OK;
}
