/* Instructions of the DSP extension of Cortex-M, and the same in C for tests on other computers.
 *
 * A pair is two int16 in 32 bits, the first one in the lower half. */
#ifndef EDGEKIT_KERNELS_DSP_H
#define EDGEKIT_KERNELS_DSP_H

#include <stdint.h>

#include "fixed_point.h"

/* Any address. The builtin, because freestanding code would call a function for four bytes. */
static inline uint32_t ek_load(const void *from) {
    uint32_t word;
    __builtin_memcpy(&word, from, sizeof word);
    return word;
}

static inline uint32_t ek_pair(int32_t first, int32_t second) {
    return ((uint32_t)first & 0xFFFFu) | ((uint32_t)second << 16);
}

#if defined(__ARM_FEATURE_DSP)

/* Volatile keeps their order: a compiler that moves loads ahead runs out of registers. */
#define EK_DSP_UNARY(NAME, TEXT)                                                                   \
    static inline uint32_t NAME(uint32_t x) {                                                      \
        uint32_t result;                                                                           \
        __asm__ volatile(TEXT : "=r"(result) : "r"(x));                                            \
        return result;                                                                             \
    }
#define EK_DSP_ACCUMULATE(NAME, TEXT)                                                              \
    static inline int32_t NAME(uint32_t x, uint32_t y, int32_t sum) {                              \
        int32_t result;                                                                            \
        __asm__ volatile(TEXT " %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(sum));        \
        return result;                                                                             \
    }

/* Bytes 0 and 2, and bytes 1 and 3, as a pair. */
EK_DSP_UNARY(ek_even, "sxtb16 %0, %1")
EK_DSP_UNARY(ek_odd, "sxtb16 %0, %1, ror #8")
/* sum + x.first * y.first + x.second * y.second */
EK_DSP_ACCUMULATE(ek_dot, "smlad")
/* sum + one product of a half of x (b: first, t: second) and a half of y. */
EK_DSP_ACCUMULATE(ek_mac_bb, "smlabb")
EK_DSP_ACCUMULATE(ek_mac_bt, "smlabt")
EK_DSP_ACCUMULATE(ek_mac_tb, "smlatb")
EK_DSP_ACCUMULATE(ek_mac_tt, "smlatt")

/* round(a * b / 2**32) */
static inline int32_t ek_top(int32_t a, int32_t b) {
    int32_t result;
    __asm__("smmulr %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
    return result;
}

static inline int32_t ek_saturate8(int32_t x) {
    int32_t result;
    __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(x) : "cc");
    return result;
}

#else

static inline int32_t ek_half(uint32_t pair, int32_t is_second) {
    return (int16_t)(is_second ? pair >> 16 : pair & 0xFFFFu);
}

static inline uint32_t ek_even(uint32_t x) {
    return ek_pair((int8_t)(x & 0xFFu), (int8_t)((x >> 16) & 0xFFu));
}

static inline uint32_t ek_odd(uint32_t x) { return ek_even(x >> 8); }

static inline int32_t ek_mac_bb(uint32_t x, uint32_t y, int32_t sum) {
    return ek_wrapping_add(sum, ek_half(x, 0) * ek_half(y, 0));
}

static inline int32_t ek_mac_bt(uint32_t x, uint32_t y, int32_t sum) {
    return ek_wrapping_add(sum, ek_half(x, 0) * ek_half(y, 1));
}

static inline int32_t ek_mac_tb(uint32_t x, uint32_t y, int32_t sum) {
    return ek_wrapping_add(sum, ek_half(x, 1) * ek_half(y, 0));
}

static inline int32_t ek_mac_tt(uint32_t x, uint32_t y, int32_t sum) {
    return ek_wrapping_add(sum, ek_half(x, 1) * ek_half(y, 1));
}

static inline int32_t ek_dot(uint32_t x, uint32_t y, int32_t sum) {
    return ek_mac_tt(x, y, ek_mac_bb(x, y, sum));
}

static inline int32_t ek_top(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + (INT64_C(1) << 31)) >> 32);
}

static inline int32_t ek_saturate8(int32_t x) { return ek_clamp(x, -128, 127); }

#endif

/* As ek_finish of fixed_point.h, with one multiplication and one saturation. */
static inline int8_t ek_finish_dsp(int32_t sum, int32_t multiplier, int32_t shift,
                                   const ek_output_stage *stage) {
    if (!stage->is_simple) {
        const int32_t stored =
            ek_wrapping_add(ek_rescale(sum, multiplier, shift), stage->zero_point);
        return (int8_t)ek_clamp(stored, stage->low, stage->high);
    }
    const int32_t high = ek_top(ek_shift_left(sum, 1), multiplier);
    const int32_t half = ek_shift_left(2 * stage->zero_point + 1, -shift - 1);
    const int32_t stored = ek_saturate8((high + (high >> 31) + half) >> -shift);
    return (int8_t)ek_clamp(stored, stage->low, stage->high);
}

#endif
