#include <string.h>

#include "dsp.h"
#include "packed.h"

/* What the weights' zero point takes from every sum: it times the sum of the row. */
static int32_t row_offset(const ek_fully_connected_s8_params *params, const int8_t *row) {
    int32_t total = 0;
    if (params->weights_zero_point != 0) {
        for (int32_t i = 0; i < params->depth; i++) {
            total += row[i];
        }
    }
    return params->weights_zero_point * total;
}

/* Two places of the depth, which are a pair, of two channels. */
#define EK_PAIR_STEP(WORD, X, A, B)                                                                \
    do {                                                                                           \
        const uint32_t word = (WORD);                                                              \
        A = ek_dot(ek_even(word), (X), A);                                                         \
        B = ek_dot(ek_odd(word), (X), B);                                                          \
    } while (0)

/* Adds four channels times a row; returns the weights behind. */
static const int8_t *multiply_4(const int8_t *weights, const int8_t *row, int32_t fours,
                                int32_t sums[4]) {
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    for (const int8_t *end = row + 4 * fours; row < end; row += 4) {
        const uint32_t bytes = ek_load(row);
        const uint32_t even = ek_even(bytes), odd = ek_odd(bytes);
        EK_PAIR_STEP(ek_load(weights), even, a, b);
        EK_PAIR_STEP(ek_load(weights + 4), even, c, d);
        EK_PAIR_STEP(ek_load(weights + 8), odd, a, b);
        EK_PAIR_STEP(ek_load(weights + 12), odd, c, d);
        weights += 16;
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
    return weights;
}

/* Adds two channels times a row. */
static const int8_t *multiply_2(const int8_t *weights, const int8_t *row, int32_t fours,
                                int32_t sums[4]) {
    for (const int8_t *end = row + 4 * fours; row < end; row += 4) {
        const uint32_t bytes = ek_load(row);
        EK_PAIR_STEP(ek_load(weights), ek_even(bytes), sums[0], sums[1]);
        EK_PAIR_STEP(ek_load(weights + 4), ek_odd(bytes), sums[0], sums[1]);
        weights += 8;
    }
    return weights;
}

/* Adds up to four channels times a row whose last places are in `tail`. */
static const int8_t *multiply_row(const int8_t *weights, const int8_t *row, const int8_t tail[4],
                                  int32_t depth, int32_t width, int32_t sums[4]) {
    if (width > 2) {
        weights = multiply_4(weights, row, depth / 4, sums);
        return (depth & 3) ? multiply_4(weights, tail, 1, sums) : weights;
    }
    weights = multiply_2(weights, row, depth / 4, sums);
    return (depth & 3) ? multiply_2(weights, tail, 1, sums) : weights;
}

ek_status ek_fully_connected_s8(const ek_fully_connected_s8_params *params, const int8_t *input,
                                int8_t *output) {
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    for (int32_t row = 0; row < params->rows; row++) {
        const int8_t *weights = params->weights;
        const int32_t *bias = params->bias, *factor = params->factors;
        const int32_t offset = row_offset(params, input);
        int8_t tail[4] = {0};
        memcpy(tail, input + (params->depth & ~3), (size_t)(params->depth & 3));
        for (int32_t done = 0; done < params->output_channels;) {
            const int32_t left = params->output_channels - done;
            const int32_t width = left < 4 ? left : 4;
            int32_t sums[4] = {0};
            weights = multiply_row(weights, input, tail, params->depth, width, sums);
            for (int32_t i = 0; i < width; i++) {
                const int32_t sum = ek_wrapping_add(sums[i] - offset, *bias++);
                *output++ = ek_finish_dsp(sum, factor[0], factor[1], &stage);
                factor += params->factor_step;
            }
            done += width;
        }
        input += params->depth;
    }
    return EK_STATUS_OK;
}
