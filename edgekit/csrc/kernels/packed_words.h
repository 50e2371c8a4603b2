/* Reductions of packed values over pixels, up to eight channels at a time.
 *
 * Signs are flipped, so that fields count from the lowest value. Fields of channels i and i + 4
 * make a pair, 16 bits apart, whose halves hold the sum of many. */
#ifndef EDGEKIT_KERNELS_PACKED_WORDS_H
#define EDGEKIT_KERNELS_PACKED_WORDS_H

#include "packed_values.h"
#include "plane.h"

enum { EK_WORD_CHANNELS = 8 };

static inline int32_t ek_greatest(int32_t a, int32_t b) { return a > b ? a : b; }

/* Up to four bytes of a pixel, the first in the lowest bits. */
static inline uint32_t ek_bytes_at(const uint8_t *from, int32_t bytes) {
    if (bytes == 4) {
        return ek_word_at(from);
    }
    if (bytes == 2) {
        return ek_half_at(from);
    }
    uint32_t word = 0;
    for (int32_t i = 0; i < bytes; i++) {
        word |= (uint32_t)from[i] << (8 * i);
    }
    return word;
}

/* The greater halves of two pairs of fields, or their sums. */
static inline uint32_t ek_reduced_pair(uint32_t a, uint32_t b, uint32_t field, int32_t is_sum) {
    if (is_sum) {
        return a + b;
    }
    /* A bit above each half keeps halves from borrowing of each other. */
    const uint32_t is_less = ~((a | 0x80008000u) - b) >> 15 & 0x00010001u;
    return a ^ ((a ^ b) & (is_less * field));
}

static inline int32_t ek_reduced(int32_t a, uint32_t b, int32_t is_sum) {
    return is_sum ? a + (int32_t)b : ek_greatest(a, (int32_t)b);
}

/* Adds the fields of pixels that lie `step` bytes apart to the results of their channels; or keeps
 * the greatest. */
EK_INLINED void ek_reduce_fields(const uint8_t *from, int32_t step, int32_t bytes, int32_t pixels,
                                 int32_t bits, int32_t is_sum, int32_t results[EK_WORD_CHANNELS]) {
    const uint32_t field = (1u << bits) - 1u, mask = field * 0x00010001u;
    const uint32_t signs = (field + 1u) / 2u * (0xFFFFFFFFu / field);
    const int32_t most = (int32_t)(0xFFFFu / field);
    while (pixels > 0) {
        uint32_t a = 0, b = 0, c = 0, d = 0;
        const int32_t count = ek_least(pixels, most);
        pixels -= count;
        for (int32_t left = count; left > 0; left--, from += step) {
            uint32_t word = ek_bytes_at(from, bytes) ^ signs;
            word = bits == 4 ? word : word & 0xFFFFu;
            word = bits == 4 ? word : word | word << 8;
            a = ek_reduced_pair(a, word & mask, field, is_sum);
            b = ek_reduced_pair(b, word >> bits & mask, field, is_sum);
            c = ek_reduced_pair(c, word >> 2 * bits & mask, field, is_sum);
            d = ek_reduced_pair(d, word >> 3 * bits & mask, field, is_sum);
        }
        const uint32_t pairs[4] = {a, b, c, d};
        for (int32_t i = 0; i < 4; i++) {
            results[i] = ek_reduced(results[i], pairs[i] & 0xFFFFu, is_sum);
            results[i + 4] = ek_reduced(results[i + 4], pairs[i] >> 16, is_sum);
        }
    }
}

#endif
