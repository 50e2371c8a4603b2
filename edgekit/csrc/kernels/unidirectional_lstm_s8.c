#include "edgekit/kernels.h"
#include "fixed_point.h"

enum { GATES = 4, CELL_GATE = 2, TABLE_END = 255 };

/* Looks a magnitude up, with `bits` bits between entries; `end` past the table. */
static int32_t interpolated(const uint16_t *table, int32_t magnitude, int32_t bits, int32_t end) {
    const int32_t index = magnitude >> bits;
    if (index >= TABLE_END) {
        return end;
    }
    const int32_t fraction = magnitude & ((1 << bits) - 1);
    const int32_t low = table[index], high = table[index + 1];
    return low * (1 << bits) + fraction * (high - low);
}

/* Sigmoid as Q0.15 of Q3.12. */
static int32_t sigmoid(const uint16_t *table, int32_t x) {
    const int32_t argument = 3 * x, rounding = 1 << 9;
    const int32_t value = interpolated(table, argument < 0 ? -argument : argument, 9, 0x7FFF << 10);
    return (argument >= 0 ? value + rounding : (1 << 25) - value + rounding - 1) >> 10;
}

/* Tanh as Q0.15 of int16 with the scale 2**power. */
static int32_t hyperbolic_tangent(const uint16_t *table, int32_t x, int32_t power) {
    const int32_t shift = power + 12;
    const int32_t argument =
        shift >= 0 ? 3 * x * (1 << shift) : (3 * x + (1 << (-shift - 1))) >> -shift;
    const int32_t value = interpolated(table, argument < 0 ? -argument : argument, 8, 0xFFFF << 8);
    const int32_t half = 1 << 23, rounding = 1 << 7;
    return (argument >= 0 ? value - half + rounding : half - value + rounding - 1) >> 8;
}

static int32_t dot(const int8_t *weights, const int8_t *row, int32_t depth, int32_t sum) {
    for (int32_t i = 0; i < depth; i++) {
        sum += weights[i] * row[i];
    }
    return sum;
}

/* One gate of one unit as Q0.15. */
static int32_t gate(const ek_unidirectional_lstm_s8_params *params, const int8_t *input,
                    const int8_t *hidden, int32_t index, int32_t unit) {
    const int32_t row = index * params->units + unit;
    const int32_t from_input = dot(params->input_weights + row * params->depth, input,
                                   params->depth, params->input_bias[row]);
    const int32_t from_hidden = dot(params->recurrent_weights + row * params->units, hidden,
                                    params->units, params->recurrent_bias[row]);
    const int32_t total =
        ek_saturate_s16(
            ek_rescale(from_input, params->input_multipliers[index], params->input_shifts[index])) +
        ek_saturate_s16(ek_rescale(from_hidden, params->recurrent_multipliers[index],
                                   params->recurrent_shifts[index]));
    const int32_t argument = ek_saturate_s16(total);
    return index == CELL_GATE ? hyperbolic_tangent(params->sigmoid, argument, -12)
                              : sigmoid(params->sigmoid, argument);
}

/* One unit in one step: its cell is updated, its new hidden value returned. */
static int8_t advance(const ek_unidirectional_lstm_s8_params *params, const int8_t *input,
                      const int8_t *hidden, int32_t unit, int16_t *cell) {
    int32_t gates[GATES];
    for (int32_t index = 0; index < GATES; index++) {
        gates[index] = gate(params, input, hidden, index, unit);
    }
    const int32_t kept = ek_saturate_s16(
        ek_rescale(gates[1] * *cell, params->forget_multiplier, params->forget_shift));
    const int32_t added = ek_saturate_s16(
        ek_rescale(gates[0] * gates[CELL_GATE], params->cell_multiplier, params->cell_shift));
    int32_t memory = ek_saturate_s16(kept + added);
    if (params->cell_clip > 0) {
        memory = ek_clamp(memory, -params->cell_clip, params->cell_clip);
    }
    *cell = (int16_t)memory;
    const int32_t product =
        hyperbolic_tangent(params->sigmoid, memory, params->cell_scale_power) * gates[3];
    return ek_saturate_s8(params->hidden_zero_point +
                          ek_rescale(product, params->hidden_multiplier, params->hidden_shift));
}

ek_status ek_unidirectional_lstm_s8(const ek_unidirectional_lstm_s8_params *params,
                                    const int8_t *input, int8_t *output_state, int16_t *cell_state,
                                    void *scratch, int8_t *output) {
    int8_t *next = scratch;
    for (int32_t step = 0; step < params->steps; step++) {
        for (int32_t batch = 0; batch < params->batches; batch++) {
            const int32_t row = step * params->step_stride + batch * params->batch_stride;
            int8_t *hidden = output_state + batch * params->units;
            int16_t *cell = cell_state + batch * params->units;
            for (int32_t unit = 0; unit < params->units; unit++) {
                next[unit] =
                    advance(params, input + row * params->depth, hidden, unit, cell + unit);
            }
            for (int32_t unit = 0; unit < params->units; unit++) {
                hidden[unit] = output[row * params->units + unit] = next[unit];
            }
        }
    }
    return EK_STATUS_OK;
}

size_t ek_unidirectional_lstm_s8_scratch_bytes(const ek_unidirectional_lstm_s8_params *params) {
    return (size_t)params->units;
}
