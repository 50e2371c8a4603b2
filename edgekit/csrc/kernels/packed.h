/* Products of packed weights (see kernels.h) with one or two rows of stored values. */
#ifndef EDGEKIT_KERNELS_PACKED_H
#define EDGEKIT_KERNELS_PACKED_H

#include <stdint.h>

#include "edgekit/kernels.h"
#include "fixed_point.h"

/* Bytes of the weights of one group of channels. */
static inline int32_t ek_packed_bytes(int32_t channels, int32_t depth) {
    const int32_t padded = (depth + 3) & ~3;
    const int32_t rest = channels & 3;
    const int32_t columns = (channels & ~3) + (rest == 0 ? 0 : (rest < 3 ? 2 : 4));
    return columns * padded;
}

/* Where place 0 to 3 of channel 0 to 3 lies in the bytes of four places of a block of four. */
#define EK_PACKED4(channel, place)                                                                 \
    ((((place)&1) << 3) + (((channel) >> 1) << 2) + (((place) >> 1) << 1) + ((channel)&1))
/* The same in a block of two. */
#define EK_PACKED2(channel, place) ((((place)&1) << 2) + (((place) >> 1) << 1) + (channel))

#define EK_ADD4(place)                                                                             \
    do {                                                                                           \
        const int32_t x = row[place];                                                              \
        a += x * weights[EK_PACKED4(0, place)];                                                    \
        b += x * weights[EK_PACKED4(1, place)];                                                    \
        c += x * weights[EK_PACKED4(2, place)];                                                    \
        d += x * weights[EK_PACKED4(3, place)];                                                    \
    } while (0)

/* Adds four channels times one row of fours * 4 values; returns the weights behind. */
static inline const int8_t *ek_packed_4x1(const int8_t *weights, const int8_t *row, int32_t fours,
                                          int32_t sums[4]) {
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    for (int32_t four = 0; four < fours; four++) {
        EK_ADD4(0);
        EK_ADD4(1);
        EK_ADD4(2);
        EK_ADD4(3);
        row += 4;
        weights += 16;
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
    return weights;
}

/* Adds two channels times one row. */
static inline const int8_t *ek_packed_2x1(const int8_t *weights, const int8_t *row, int32_t fours,
                                          int32_t sums[2]) {
    int32_t a = sums[0], b = sums[1];
    for (int32_t four = 0; four < fours; four++) {
        for (int32_t place = 0; place < 4; place++) {
            a += row[place] * weights[EK_PACKED2(0, place)];
            b += row[place] * weights[EK_PACKED2(1, place)];
        }
        row += 4;
        weights += 8;
    }
    sums[0] = a, sums[1] = b;
    return weights;
}

/* What the weights' zero point takes from every sum: it times the sum of the row. */
static inline int32_t ek_row_offset(const ek_fully_connected_s8_params *params, const int8_t *row) {
    int32_t total = 0;
    if (params->weights_zero_point != 0) {
        for (int32_t i = 0; i < params->depth; i++) {
            total += row[i];
        }
    }
    return params->weights_zero_point * total;
}

/* Bytes of the weights of one group of channels, which have 8 or 4 bits. */
static inline int32_t ek_weights_bytes(int32_t channels, int32_t depth, int32_t weight_bits) {
    return ek_packed_bytes(channels, depth) * weight_bits / 8;
}

/* A weight of 4 bits: place 0 to 3 of channel 0 or 1 of those whose weights share a word. */
static inline int32_t ek_nibble(uint32_t word, int32_t channel, int32_t place) {
    const int32_t at = (place >> 1) * 4 + channel * 2 + (place & 1);
    return (int32_t)(word << (28 - 4 * at)) >> 28;
}

#endif
