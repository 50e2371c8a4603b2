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

/* Whether assembly may use every register: an optimizing compiler needs none to find its frame. */
#if defined(__OPTIMIZE__)
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

/* round(sum + a * b / 2**32) */
static inline int32_t ek_add_top(int32_t sum, int32_t a, int32_t b) {
    int32_t result;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
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

static inline int32_t ek_add_top(int32_t sum, int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + sum * (INT64_C(1) << 32) + (INT64_C(1) << 31)) >> 32);
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

/* What the simple rescaling of a channel needs, the multiplier times two less 2**32. */
typedef struct ek_factor {
    int32_t doubled;
    int32_t half;
    int32_t shift;
} ek_factor;

static inline ek_factor ek_factor_of(const int32_t *channel, const ek_output_stage *stage) {
    const int32_t shift = -channel[2];
    return (ek_factor){ek_shift_left(channel[1], 1),
                       ek_shift_left(2 * stage->zero_point + 1, shift - 1), shift};
}

/* As ek_simple_rescale, saturated to 8 bits. Sum times two times the multiplier is
 * sum * 2**32 + sum * (2 * multiplier - 2**32), because multipliers are 2**30 at least. */
static inline int32_t ek_rescale_dsp(int32_t sum, const ek_factor *by) {
    const int32_t high = ek_add_top(sum, sum, by->doubled);
    return ek_saturate8((high + (high >> 31) + by->half) >> by->shift);
}

/* Rescales four sums of one channel and stores them `step` apart. */
static inline void ek_finish_4(int32_t a, int32_t b, int32_t c, int32_t d, const int32_t *channel,
                               const ek_output_stage *stage, int8_t *output, int32_t step) {
    if (stage->is_simple) {
        const ek_factor by = ek_factor_of(channel, stage);
        a = ek_rescale_dsp(a, &by), b = ek_rescale_dsp(b, &by);
        c = ek_rescale_dsp(c, &by), d = ek_rescale_dsp(d, &by);
    } else {
        a = ek_wrapping_add(ek_rescale(a, channel[1], channel[2]), stage->zero_point);
        b = ek_wrapping_add(ek_rescale(b, channel[1], channel[2]), stage->zero_point);
        c = ek_wrapping_add(ek_rescale(c, channel[1], channel[2]), stage->zero_point);
        d = ek_wrapping_add(ek_rescale(d, channel[1], channel[2]), stage->zero_point);
    }
    if (!stage->is_simple || stage->low > -128 || stage->high < 127) {
        a = ek_clamp(a, stage->low, stage->high), b = ek_clamp(b, stage->low, stage->high);
        c = ek_clamp(c, stage->low, stage->high), d = ek_clamp(d, stage->low, stage->high);
    }
    output[0] = (int8_t)a;
    output[step] = (int8_t)b;
    output[2 * step] = (int8_t)c;
    output[3 * step] = (int8_t)d;
}

#endif
