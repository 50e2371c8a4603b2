#include "dsp.h"

void ek_finish_any_4(const int32_t sums[4], const int32_t *channel, const ek_output_stage *stage,
                     int8_t *output, int32_t step) {
    for (int32_t i = 0; i < 4; i++) {
        int32_t stored;
        if (channel[1] == 0) {
            stored = stage->zero_point;
        } else if (channel[2] == 0) {
            stored = ek_wrapping_add(ek_high(sums[i], channel[1]), stage->zero_point);
        } else {
            *output = ek_finish_dsp(sums[i], channel[1], channel[2], stage);
            output += step;
            continue;
        }
        *output = (int8_t)ek_clamp(stored, stage->low, stage->high);
        output += step;
    }
}
