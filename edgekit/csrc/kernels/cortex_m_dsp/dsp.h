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

static inline void ek_store(void *to, uint32_t word) { __builtin_memcpy(to, &word, sizeof word); }

static inline uint32_t ek_pair(int32_t first, int32_t second) {
    return ((uint32_t)first & 0xFFFFu) | ((uint32_t)second << 16);
}

#if defined(__ARM_FEATURE_DSP)

/* Whether assembly may use every register: none is needed to find the frame of a function. An
 * optimizing gcc works so; clang does with -fomit-frame-pointer, which cannot be seen here. */
#if defined(EK_ALL_REGISTERS) || (defined(__OPTIMIZE__) && !defined(__clang__))
#define EK_DSP_REGISTERS
#endif

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
EK_DSP_ACCUMULATE(ek_mac_bt, "smlabt")
EK_DSP_ACCUMULATE(ek_mac_tb, "smlatb")

/* The lower halves of two words as a pair, and the upper ones. */
static inline uint32_t ek_pack_low(uint32_t x, uint32_t y) {
    uint32_t result;
    __asm__ volatile("pkhbt %0, %1, %2, lsl #16" : "=r"(result) : "r"(x), "r"(y));
    return result;
}

static inline uint32_t ek_pack_high(uint32_t x, uint32_t y) {
    uint32_t result;
    __asm__ volatile("pkhtb %0, %1, %2, asr #16" : "=r"(result) : "r"(y), "r"(x));
    return result;
}

/* Loads two words from an address that is a multiple of four. */
static inline void ek_load_two(const uint32_t *from, uint32_t *first, uint32_t *second) {
    __asm__ volatile("ldrd %0, %1, [%2]"
                     : "=&r"(*first), "=r"(*second)
                     : "r"(from), "m"(*from), "m"(from[1]));
}

/* The same; returns what is behind. */
static inline const uint32_t *ek_next_two(const uint32_t *from, uint32_t *first, uint32_t *second) {
    __asm__ volatile("ldrd %0, %1, [%2], #8"
                     : "=&r"(*first), "=&r"(*second), "+&r"(from)
                     :
                     : "memory");
    return from;
}

/* Stores two words at an address that is a multiple of four; returns what is behind. */
static inline uint32_t *ek_store_two(uint32_t *to, uint32_t first, uint32_t second) {
    __asm__ volatile("strd %1, %2, [%0], #8" : "+r"(to) : "r"(first), "r"(second) : "memory");
    return to;
}

/* round(sum + a * b / 2**32) */
static inline int32_t ek_add_top(int32_t sum, int32_t a, int32_t b) {
    int32_t result;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

static inline int32_t ek_saturating_add(int32_t a, int32_t b) {
    int32_t result;
    __asm__("qadd %0, %1, %2" : "=r"(result) : "r"(a), "r"(b) : "cc");
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

static inline int32_t ek_mac_bt(uint32_t x, uint32_t y, int32_t sum) {
    return ek_wrapping_add(sum, ek_half(x, 0) * ek_half(y, 1));
}

static inline int32_t ek_mac_tb(uint32_t x, uint32_t y, int32_t sum) {
    return ek_wrapping_add(sum, ek_half(x, 1) * ek_half(y, 0));
}

static inline int32_t ek_dot(uint32_t x, uint32_t y, int32_t sum) {
    sum = ek_wrapping_add(sum, ek_half(x, 0) * ek_half(y, 0));
    return ek_wrapping_add(sum, ek_half(x, 1) * ek_half(y, 1));
}

static inline uint32_t ek_pack_low(uint32_t x, uint32_t y) { return (x & 0xFFFFu) | y << 16; }

static inline uint32_t ek_pack_high(uint32_t x, uint32_t y) { return x >> 16 | (y & 0xFFFF0000u); }

static inline void ek_load_two(const uint32_t *from, uint32_t *first, uint32_t *second) {
    *first = from[0], *second = from[1];
}

static inline const uint32_t *ek_next_two(const uint32_t *from, uint32_t *first, uint32_t *second) {
    ek_load_two(from, first, second);
    return from + 2;
}

static inline uint32_t *ek_store_two(uint32_t *to, uint32_t first, uint32_t second) {
    to[0] = first, to[1] = second;
    return to + 2;
}

static inline int32_t ek_add_top(int32_t sum, int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + sum * (INT64_C(1) << 32) + (INT64_C(1) << 31)) >> 32);
}

static inline int32_t ek_saturating_add(int32_t a, int32_t b) {
    const int64_t sum = (int64_t)a + b;
    return sum > INT32_MAX ? INT32_MAX : (sum < INT32_MIN ? INT32_MIN : (int32_t)sum);
}

static inline int32_t ek_saturate8(int32_t x) { return ek_clamp(x, -128, 127); }

#endif

/* Rescaling takes one multiplication where a factor is not zero and its shift not positive:
 * 2 * sum * multiplier is sum * 2**32 + sum * (2 * multiplier - 2**32), because multipliers are
 * 2**30 at least. */
static inline int32_t ek_high(int32_t sum, int32_t multiplier) {
    return ek_add_top(sum, sum, ek_shift_left(multiplier, 1));
}

/* Divides by 2**shift, halves away from zero, adds the zero point and saturates. `half` is both
 * what rounds and the zero point, which fits 32 bits up to this shift; larger sums saturate. */
enum { EK_LARGEST_SHIFT = 20 };

static inline int32_t ek_round(int32_t high, int32_t half, int32_t shift) {
    return ek_saturate8(ek_saturating_add(high + (high >> 31), half) >> shift);
}

static inline int32_t ek_half_of(const ek_output_stage *stage, int32_t shift) {
    return ek_shift_left(2 * stage->zero_point + 1, shift - 1);
}

/* Whether bounds are those of int8, so that saturating suffices. */
static inline int32_t ek_is_full(const ek_output_stage *stage) {
    return stage->low == -128 && stage->high == 127;
}

/* Whether a factor is rescaled by these. */
static inline int32_t ek_is_short(int32_t multiplier, int32_t shift) {
    return multiplier != 0 && (uint32_t)(-1 - shift) < EK_LARGEST_SHIFT;
}

/* As ek_finish of fixed_point.h. */
static inline int8_t ek_finish_dsp(int32_t sum, int32_t multiplier, int32_t shift,
                                   const ek_output_stage *stage) {
    int32_t stored;
    if (ek_is_short(multiplier, shift)) {
        stored = ek_round(ek_high(sum, multiplier), ek_half_of(stage, -shift), -shift);
    } else {
        stored = ek_wrapping_add(ek_rescale(sum, multiplier, shift), stage->zero_point);
    }
    return (int8_t)ek_clamp(stored, stage->low, stage->high);
}

/* Whether all of some factors, (multiplier, shift) every `step` words, are; and bounds are full. */
static inline int32_t ek_is_usual(const ek_output_stage *stage, const int32_t *factor, int32_t step,
                                  int32_t count) {
    for (; count > 0; count--, factor += step) {
        if (!ek_is_short(factor[0], factor[1])) {
            return 0;
        }
    }
    return ek_is_full(stage);
}

/* Finishes four sums by one factor and stores them `step` apart. */
void ek_finish_any_4(const int32_t sums[4], const int32_t *factor, const ek_output_stage *stage,
                     int8_t *output, int32_t step);

/* The same, without a call where factor and bounds are the usual ones. */
__attribute__((always_inline)) static inline void
ek_finish_4(int32_t is_usual, int32_t a, int32_t b, int32_t c, int32_t d, const int32_t *factor,
            const ek_output_stage *stage, int8_t *output, int32_t step) {
    if (!is_usual) {
        const int32_t sums[4] = {a, b, c, d};
        ek_finish_any_4(sums, factor, stage, output, step);
        return;
    }
    const int32_t multiplier = factor[0], shift = -factor[1];
    const int32_t half = ek_half_of(stage, shift);
    output[0] = (int8_t)ek_round(ek_high(a, multiplier), half, shift);
    output[step] = (int8_t)ek_round(ek_high(b, multiplier), half, shift);
    output[2 * step] = (int8_t)ek_round(ek_high(c, multiplier), half, shift);
    output[3 * step] = (int8_t)ek_round(ek_high(d, multiplier), half, shift);
}

#endif
