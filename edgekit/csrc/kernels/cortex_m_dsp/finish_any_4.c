#include "dsp.h"

void ek_finish_any_4(const int32_t sums[4], const int32_t *factor, const ek_output_stage *stage,
                     int8_t *output, int32_t step) {
    const int32_t multiplier = factor[0], shift = -factor[1];
    if (multiplier != 0 && shift <= 0) {
        for (int32_t i = 0; i < 4; i++) {
            const int32_t high = ek_high(ek_shift_left(sums[i], -shift), multiplier);
            const int32_t stored = ek_wrapping_add(high, stage->zero_point);
            output[i * step] = (int8_t)ek_clamp(stored, stage->low, stage->high);
        }
        return;
    }
    if (!ek_is_short(multiplier, -shift)) {
        for (int32_t i = 0; i < 4; i++) {
            output[i * step] = ek_finish_dsp(sums[i], multiplier, -shift, stage);
        }
        return;
    }
    const int32_t half = ek_half_of(stage, shift);
    for (int32_t i = 0; i < 4; i++) {
        const int32_t stored = ek_round(ek_high(sums[i], multiplier), half, shift);
        output[i * step] = (int8_t)ek_clamp(stored, stage->low, stage->high);
    }
}
