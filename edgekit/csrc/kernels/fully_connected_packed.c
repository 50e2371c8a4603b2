#include <string.h>

#include "packed.h"
#include "packed_values.h"

/* One place of the depth of two channels. */
#define EK_ADD_NIBBLES(word, place, a, b)                                                          \
    do {                                                                                           \
        a += row[place] * ek_nibble(word, 0, place);                                               \
        b += row[place] * ek_nibble(word, 1, place);                                               \
    } while (0)

/* Adds four channels times one row; returns the weights behind. */
static const uint8_t *nibbles_4x1(const uint8_t *weights, const int8_t *row, int32_t fours,
                                  int32_t sums[4]) {
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    for (const int8_t *end = row + 4 * fours; row < end; row += 4, weights += 8) {
        const uint32_t first = ek_word_at(weights), second = ek_word_at(weights + 4);
        EK_ADD_NIBBLES(first, 0, a, b);
        EK_ADD_NIBBLES(second, 0, c, d);
        EK_ADD_NIBBLES(first, 1, a, b);
        EK_ADD_NIBBLES(second, 1, c, d);
        EK_ADD_NIBBLES(first, 2, a, b);
        EK_ADD_NIBBLES(second, 2, c, d);
        EK_ADD_NIBBLES(first, 3, a, b);
        EK_ADD_NIBBLES(second, 3, c, d);
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
    return weights;
}

/* Adds one or two channels times one row. */
static const uint8_t *nibbles_2x1(const uint8_t *weights, const int8_t *row, int32_t fours,
                                  int32_t sums[2]) {
    int32_t a = sums[0], b = sums[1];
    for (const int8_t *end = row + 4 * fours; row < end; row += 4, weights += 4) {
        const uint32_t word = ek_word_at(weights);
        EK_ADD_NIBBLES(word, 0, a, b);
        EK_ADD_NIBBLES(word, 1, a, b);
        EK_ADD_NIBBLES(word, 2, a, b);
        EK_ADD_NIBBLES(word, 3, a, b);
    }
    sums[0] = a, sums[1] = b;
    return weights;
}

/* Adds up to four channels times a row whose last places are in `tail`. */
static const uint8_t *multiply_row(const uint8_t *weights, const int8_t *row, const int8_t tail[4],
                                   int32_t depth, int32_t width, int32_t sums[4]) {
    if (width > 2) {
        weights = nibbles_4x1(weights, row, depth / 4, sums);
        return nibbles_4x1(weights, tail, (depth & 3) > 0, sums);
    }
    weights = nibbles_2x1(weights, row, depth / 4, sums);
    return nibbles_2x1(weights, tail, (depth & 3) > 0, sums);
}

ek_status ek_fully_connected_packed(const ek_fully_connected_s8_params *params, const int8_t *input,
                                    int8_t *output) {
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    const int32_t tail_places = params->depth & 3;
    for (int32_t row = 0; row < params->rows; row++, input += params->depth) {
        const uint8_t *weights = (const uint8_t *)params->weights;
        const int32_t *bias = params->bias, *factor = params->factors;
        const int32_t offset = ek_row_offset(params, input);
        int8_t tail[4] = {0};
        memcpy(tail, input + params->depth - tail_places, (size_t)tail_places);
        for (int32_t left = params->output_channels; left > 0; left -= 4) {
            const int32_t width = left < 4 ? left : 4;
            int32_t sums[4] = {0};
            weights = multiply_row(weights, input, tail, params->depth, width, sums);
            for (int32_t i = 0; i < width; i++, factor += params->factor_step) {
                const int32_t sum = ek_wrapping_add(sums[i] - offset, *bias++);
                *output++ = ek_finish_by(sum, factor[0], factor[1], &stage);
            }
        }
    }
    return EK_STATUS_OK;
}
