#include "edgekit/kernels.h"
#include "float_functions.h"

enum { GATES = 4, CELL_GATE = 2 };

static float dot(const float *weights, const float *row, int32_t depth) {
    float sum = 0.0F;
    for (int32_t i = 0; i < depth; i++) {
        sum += weights[i] * row[i];
    }
    return sum;
}

/* One gate of one unit. */
static float gate(const ek_unidirectional_lstm_f32_params *params, const float *input,
                  const float *hidden, int32_t index, int32_t unit) {
    const int32_t row = index * params->units + unit;
    const float total = dot(params->input_weights + row * params->depth, input, params->depth) +
                        params->bias[row] +
                        dot(params->recurrent_weights + row * params->units, hidden, params->units);
    return index == CELL_GATE ? ek_tanh_of(total) : ek_sigmoid_of(total);
}

/* One unit in one step: its cell is updated, its new hidden value returned. */
static float advance(const ek_unidirectional_lstm_f32_params *params, const float *input,
                     const float *hidden, int32_t unit, float *cell) {
    float gates[GATES];
    for (int32_t index = 0; index < GATES; index++) {
        gates[index] = gate(params, input, hidden, index, unit);
    }
    const float memory = gates[1] * *cell + gates[0] * gates[CELL_GATE];
    const float clip = params->cell_clip;
    *cell = clip > 0.0F ? ek_clamp_f32(memory, -clip, clip) : memory;
    return gates[3] * ek_tanh_of(*cell);
}

ek_status ek_unidirectional_lstm_f32(const ek_unidirectional_lstm_f32_params *params,
                                     const float *input, float *output_state, float *cell_state,
                                     float *output) {
    for (int32_t step = 0; step < params->steps; step++) {
        for (int32_t batch = 0; batch < params->batches; batch++) {
            const int32_t row = step * params->step_stride + batch * params->batch_stride;
            float *hidden = output_state + batch * params->units;
            float *cell = cell_state + batch * params->units;
            float *next = output + row * params->units;
            for (int32_t unit = 0; unit < params->units; unit++) {
                next[unit] =
                    advance(params, input + row * params->depth, hidden, unit, cell + unit);
            }
            for (int32_t unit = 0; unit < params->units; unit++) {
                hidden[unit] = next[unit];
            }
        }
    }
    return EK_STATUS_OK;
}
