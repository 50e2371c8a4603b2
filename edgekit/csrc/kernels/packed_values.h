/* Values of 4 or 2 bits, packed as kernels_packed.h says, from and to bytes. Four are handled at
 * once, in the bytes of a word. */
#ifndef EDGEKIT_KERNELS_PACKED_VALUES_H
#define EDGEKIT_KERNELS_PACKED_VALUES_H

#include <stdint.h>

#include "fixed_point.h"
#include "inlined.h"

static inline int32_t ek_values_bytes(int32_t values, int32_t bits) {
    return (values * bits + 7) / 8;
}

/* The highest value of some bits; the lowest one is -1 - this. */
static inline int32_t ek_highest(int32_t bits) { return (1 << (bits - 1)) - 1; }

/* Words at any address. The builtins, because freestanding code would call a function. */
static inline uint32_t ek_word_at(const void *from) {
    uint32_t word;
    __builtin_memcpy(&word, from, sizeof word);
    return word;
}

static inline void ek_put_word(void *to, uint32_t word) {
    __builtin_memcpy(to, &word, sizeof word);
}

static inline uint32_t ek_half_at(const void *from) {
    uint16_t half;
    __builtin_memcpy(&half, from, sizeof half);
    return half;
}

static inline void ek_put_half(void *to, uint32_t word) {
    const uint16_t half = (uint16_t)word;
    __builtin_memcpy(to, &half, sizeof half);
}

/* Copies bytes, few at most. */
static inline void ek_copy_bytes(const void *from, int32_t count, void *to) {
    const uint8_t *bytes = from;
    uint8_t *copies = to;
    for (; count >= 4; count -= 4, bytes += 4, copies += 4) {
        ek_put_word(copies, ek_word_at(bytes));
    }
    while (count-- > 0) {
        *copies++ = *bytes++;
    }
}

/* Extends the sign, which `sign` has set in every byte. */
static inline uint32_t ek_extended(uint32_t bytes, uint32_t sign) {
#if defined(__ARM_FEATURE_DSP)
    uint32_t result;
    __asm__("ssub8 %0, %1, %2" : "=r"(result) : "r"(bytes ^ sign), "r"(sign) : "cc");
    return result;
#else
    /* A bit above keeps bytes from borrowing of each other. */
    return ((bytes ^ (sign | 0x80808080u)) - sign) ^ 0x80808080u;
#endif
}

/* Four values as bytes. */
static inline uint32_t ek_four_of_4(const uint8_t *from) {
    const uint32_t halves = from[0] | (uint32_t)from[1] << 16;
    return ek_extended((halves | halves << 4) & 0x0F0F0F0Fu, 0x08080808u);
}

static inline uint32_t ek_four_of_2(const uint8_t *from) {
    uint32_t bytes = from[0];
    bytes |= bytes << 6;
    bytes |= bytes << 12;
    return ek_extended(bytes & 0x03030303u, 0x02020202u);
}

/* The field of one value. */
static inline int32_t ek_field_at(const uint8_t *from, int32_t index, int32_t bits) {
    const int32_t place = index * bits;
    return (from[place >> 3] >> (place & 7)) & ((1 << bits) - 1);
}

/* One value. */
static inline int8_t ek_value_at(const uint8_t *from, int32_t index, int32_t bits) {
    const int32_t sign = ek_highest(bits) + 1;
    return (int8_t)((ek_field_at(from, index, bits) ^ sign) - sign);
}

/* Unpacks values from the begin of a byte on. */
EK_INLINED void ek_unpack(const uint8_t *from, int32_t bits, int32_t count, int8_t *to) {
    if (bits == 8) {
        ek_copy_bytes(from, count, to);
        return;
    }
    if (bits == 4) {
        for (; count >= 8; count -= 8, from += 4, to += 8) {
            const uint32_t first = ek_four_of_4(from), second = ek_four_of_4(from + 2);
            ek_put_word(to, first);
            ek_put_word(to + 4, second);
        }
        if (count >= 4) {
            ek_put_word(to, ek_four_of_4(from));
            count -= 4, from += 2, to += 4;
        }
    } else {
        for (; count >= 4; count -= 4, from += 1, to += 4) {
            ek_put_word(to, ek_four_of_2(from));
        }
    }
    for (int32_t i = 0; i < count; i++) {
        to[i] = ek_value_at(from, i, bits);
    }
}

/* Bytes 0 and 2, or 1 and 3, and what they are in 4 and 2 bits if they saturate; 16 bits each. */
#if defined(__ARM_FEATURE_DSP)
#define EK_PAIR(NAME, TEXT)                                                                        \
    static inline uint32_t NAME(uint32_t x) {                                                      \
        uint32_t result;                                                                           \
        __asm__(TEXT : "=r"(result) : "r"(x) : "cc");                                              \
        return result;                                                                             \
    }
EK_PAIR(ek_even_bytes, "sxtb16 %0, %1")
EK_PAIR(ek_odd_bytes, "sxtb16 %0, %1, ror #8")
EK_PAIR(ek_saturated_4, "ssat16 %0, #4, %1")
EK_PAIR(ek_saturated_2, "ssat16 %0, #2, %1")
#else
static inline uint32_t ek_pair_of(int32_t first, int32_t second) {
    return ((uint32_t)first & 0xFFFFu) | (uint32_t)second << 16;
}

static inline uint32_t ek_even_bytes(uint32_t x) {
    return ek_pair_of((int8_t)(x & 0xFFu), (int8_t)(x >> 16 & 0xFFu));
}

static inline uint32_t ek_odd_bytes(uint32_t x) { return ek_even_bytes(x >> 8); }

static inline uint32_t ek_clamped(uint32_t pair, int32_t high) {
    return ek_pair_of(ek_clamp((int16_t)(pair & 0xFFFFu), -1 - high, high),
                      ek_clamp((int16_t)(pair >> 16), -1 - high, high));
}

static inline uint32_t ek_saturated_4(uint32_t pair) { return ek_clamped(pair, 7); }

static inline uint32_t ek_saturated_2(uint32_t pair) { return ek_clamped(pair, 1); }
#endif

/* Four bytes as packed values, in the lowest bits. */
static inline uint32_t ek_packed_4(uint32_t bytes) {
    const uint32_t even = ek_saturated_4(ek_even_bytes(bytes)) & 0x000F000Fu;
    const uint32_t odd = ek_saturated_4(ek_odd_bytes(bytes)) & 0x000F000Fu;
    const uint32_t pairs = even | odd << 4;
    return pairs | pairs >> 8;
}

static inline uint32_t ek_packed_2(uint32_t bytes) {
    const uint32_t even = ek_saturated_2(ek_even_bytes(bytes)) & 0x00030003u;
    const uint32_t odd = ek_saturated_2(ek_odd_bytes(bytes)) & 0x00030003u;
    const uint32_t pairs = even | odd << 2;
    return pairs | pairs >> 12;
}

/* Packs bytes, which saturate; bits that are left in the last byte are zero. */
EK_INLINED void ek_pack(const int8_t *from, int32_t count, int32_t bits, uint8_t *to) {
    if (bits == 8) {
        ek_copy_bytes(from, count, to);
        return;
    }
    if (bits == 4) {
        for (; count >= 8; count -= 8, from += 8, to += 4) {
            const uint32_t first = ek_packed_4(ek_word_at(from));
            ek_put_half(to + 2, ek_packed_4(ek_word_at(from + 4)));
            ek_put_half(to, first);
        }
        if (count >= 4) {
            ek_put_half(to, ek_packed_4(ek_word_at(from)));
            count -= 4, from += 4, to += 2;
        }
    } else {
        for (; count >= 4; count -= 4, from += 4) {
            *to++ = (uint8_t)ek_packed_2(ek_word_at(from));
        }
    }
    if (count > 0) {
        uint32_t four = 0;
        for (int32_t i = 0; i < count; i++) {
            four |= (uint32_t)(uint8_t)from[i] << (8 * i);
        }
        four = bits == 4 ? ek_packed_4(four) : ek_packed_2(four);
        for (int32_t left = ek_values_bytes(count, bits); left > 0; left--, four >>= 8) {
            *to++ = (uint8_t)four;
        }
    }
}

/* Packs pixels that follow each other. */
static inline void ek_pack_pixels(const int8_t *from, int32_t pixels, int32_t channels,
                                  int32_t bits, uint8_t *to) {
    if ((channels * bits & 7) == 0) {
        channels *= pixels;
        pixels = 1;
    }
    for (; pixels > 0; pixels--) {
        ek_pack(from, channels, bits, to);
        from += channels;
        to += ek_values_bytes(channels, bits);
    }
}

/* Unpacks some channels of pixels that lie `step` bytes apart; the first is at the begin of a byte.
 */
static inline void ek_unpack_apart(const uint8_t *from, int32_t step, int32_t bits, int32_t pixels,
                                   int32_t channels, int8_t *to) {
    if (channels != 4) {
        for (; pixels > 0; pixels--, from += step) {
            for (int32_t i = 0; i < channels; i++) {
                *to++ = ek_value_at(from, i, bits);
            }
        }
    } else if (bits == 8) {
        for (; pixels > 0; pixels--, from += step, to += 4) {
            ek_put_word(to, ek_word_at(from));
        }
    } else if (bits == 4) {
        for (; pixels > 0; pixels--, from += step, to += 4) {
            ek_put_word(to, ek_four_of_4(from));
        }
    } else {
        for (; pixels > 0; pixels--, from += step, to += 4) {
            ek_put_word(to, ek_four_of_2(from));
        }
    }
}

/* The reverse. */
static inline void ek_pack_apart(const int8_t *from, int32_t channels, int32_t bits, int32_t pixels,
                                 uint8_t *to, int32_t step) {
    if (channels != 4) {
        for (; pixels > 0; pixels--, from += channels, to += step) {
            ek_pack(from, channels, bits, to);
        }
    } else if (bits == 8) {
        for (; pixels > 0; pixels--, from += 4, to += step) {
            ek_put_word(to, ek_word_at(from));
        }
    } else if (bits == 4) {
        for (; pixels > 0; pixels--, from += 4, to += step) {
            ek_put_half(to, ek_packed_4(ek_word_at(from)));
        }
    } else {
        for (; pixels > 0; pixels--, from += 4, to += step) {
            *to = (uint8_t)ek_packed_2(ek_word_at(from));
        }
    }
}

/* Clamps to bounds that are narrower than what packing saturates to. */
static inline void ek_clamp_values(int8_t *values, int32_t count, int32_t bits, int32_t low,
                                   int32_t high) {
    if (low <= -1 - ek_highest(bits) && high >= ek_highest(bits)) {
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        values[i] = (int8_t)ek_clamp(values[i], low, high);
    }
}

#endif
