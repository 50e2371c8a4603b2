#include "dsp.h"

void ek_finish_any_4(const int32_t sums[4], const int32_t *factor, const ek_output_stage *stage,
                     int8_t *output, int32_t step) {
    for (int32_t i = 0; i < 4; i++) {
        *output = ek_finish_dsp(sums[i], factor[0], factor[1], stage);
        output += step;
    }
}
