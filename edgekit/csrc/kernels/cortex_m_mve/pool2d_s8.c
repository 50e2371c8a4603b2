#include "helium.h"
#include "pool_window.h"
#include "products.h"

/* Averages of up to four channels beside each other. */
static void average4(const ek_pool2d_s8_params *params, const int8_t *input, const ek_window *at,
                     int32_t channels, int8_t *output) {
    const mve_pred16_t used = ek_words(channels);
    const int32_t step = params->dilation_width * params->channels;
    int32x4_t sums = vdupq_n_s32(0);
    for (int32_t row = at->first_row; row < at->end_row; row++) {
        const int8_t *tap = ek_tap_of(params, input, at, row, at->first_column);
        for (int32_t column = at->first_column; column < at->end_column; column++) {
            sums = vaddq_s32(sums, vldrbq_z_s32(tap, used));
            tap += step;
        }
    }
    int32_t totals[4];
    vstrwq_s32(totals, sums);
    const int32_t count = ek_taps_of(at);
    for (int32_t i = 0; i < 4 && i < channels; i++) {
        output[i] = (int8_t)ek_clamp(ek_divided(totals[i], count), params->activation_min,
                                     params->activation_max);
    }
}

/* Maxima of up to sixteen channels beside each other. */
static void maximum16(const ek_pool2d_s8_params *params, const int8_t *input, const ek_window *at,
                      int32_t channels, int8_t *output) {
    const mve_pred16_t used = ek_bytes(channels);
    const int32_t step = params->dilation_width * params->channels;
    int8x16_t highest = vdupq_n_s8((int8_t)(params->activation_min));
    for (int32_t row = at->first_row; row < at->end_row; row++) {
        const int8_t *tap = ek_tap_of(params, input, at, row, at->first_column);
        for (int32_t column = at->first_column; column < at->end_column; column++) {
            highest = vmaxq_s8(highest, vldrbq_z_s8(tap, used));
            tap += step;
        }
    }
    vstrbq_p_s8(output, vminq_s8(highest, vdupq_n_s8((int8_t)params->activation_max)), used);
}

static void pool(const ek_pool2d_s8_params *params, const int8_t *input, int8_t *output,
                 int32_t takes_maximum) {
    const int32_t lanes = takes_maximum ? 16 : 4;
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t y = 0; y < params->output_height; y++) {
            for (int32_t x = 0; x < params->output_width; x++) {
                const ek_window at = ek_window_at(params, y, x);
                for (int32_t done = 0; done < params->channels; done += lanes) {
                    const int32_t left = params->channels - done;
                    if (takes_maximum) {
                        maximum16(params, input + done, &at, left, output + done);
                    } else {
                        average4(params, input + done, &at, left, output + done);
                    }
                }
                output += params->channels;
            }
        }
        input += params->input_height * params->input_width * params->channels;
    }
}

ek_status ek_average_pool2d_s8(const ek_pool2d_s8_params *params, const int8_t *input,
                               int8_t *output) {
    pool(params, input, output, 0);
    return EK_STATUS_OK;
}

ek_status ek_max_pool2d_s8(const ek_pool2d_s8_params *params, const int8_t *input, int8_t *output) {
    pool(params, input, output, 1);
    return EK_STATUS_OK;
}
