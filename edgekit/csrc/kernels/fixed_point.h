/* Fixed-point arithmetic of quantized kernels; edgekit/ops/int8.py says what it is equal to. */
#ifndef EDGEKIT_KERNELS_FIXED_POINT_H
#define EDGEKIT_KERNELS_FIXED_POINT_H

#include <stdint.h>

/* round(a * b / 2**31); b is never the lowest int32. */
static inline int32_t ek_high_mul(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + (INT64_C(1) << 30)) >> 31);
}

/* As ek_high_mul, where a times two fits 32 bits: without shifts of 64 bits. */
static inline int32_t ek_doubled_high_mul(int32_t a, int32_t b) {
#if defined(__ARM_FEATURE_DSP)
    int32_t result;
    __asm__("smmulr %0, %1, %2" : "=r"(result) : "r"(2 * a), "r"(b));
    return result;
#else
    return (int32_t)(((int64_t)(2 * a) * b + (INT64_C(1) << 31)) >> 32);
#endif
}

/* x / 2**exponent, halves away from zero. */
static inline int32_t ek_rounding_shift_right(int32_t x, int32_t exponent) {
    const int32_t mask = (int32_t)((UINT32_C(1) << exponent) - 1u);
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> exponent) + ((x & mask) > threshold ? 1 : 0);
}

/* Shifts in 32 bits, where what overflows is lost. */
static inline int32_t ek_shift_left(int32_t x, int32_t exponent) {
    return (int32_t)((uint32_t)x << exponent);
}

/* Sums in 32 bits, where what overflows is lost. */
static inline int32_t ek_wrapping_add(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

static inline int32_t ek_rescale(int32_t x, int32_t multiplier, int32_t shift) {
    if (shift > 0) {
        return ek_high_mul(ek_shift_left(x, shift), multiplier);
    }
    return ek_rounding_shift_right(ek_high_mul(x, multiplier), -shift);
}

static inline int32_t ek_clamp(int32_t x, int32_t low, int32_t high) {
    return x < low ? low : (x > high ? high : x);
}

static inline int8_t ek_saturate_s8(int32_t x) { return (int8_t)ek_clamp(x, -128, 127); }

static inline int16_t ek_saturate_s16(int32_t x) { return (int16_t)ek_clamp(x, -32768, 32767); }

/* What a sum is rescaled to, the same for all channels. */
typedef struct ek_output_stage {
    int32_t zero_point;
    int32_t low;
    int32_t high;
    int32_t is_simple;
} ek_output_stage;

/* Rescales by a factor below a half, where x times two fits 32 bits: high_mul of 2 x needs no
 * shift of 64 bits, and the zero point is added together with the half that rounds. */
static inline int32_t ek_simple_rescale(int32_t x, int32_t multiplier, int32_t shift,
                                        int32_t zero_point) {
    const int64_t product = (int64_t)ek_shift_left(x, 1) * multiplier;
    const int32_t high = (int32_t)((product + (INT64_C(1) << 31)) >> 32);
    const int32_t half = ek_shift_left(2 * zero_point + 1, -shift - 1);
    return (high + (high >> 31) + half) >> -shift;
}

static inline int8_t ek_finish_by(int32_t sum, int32_t multiplier, int32_t shift,
                                  const ek_output_stage *stage) {
    int32_t stored;
    if (stage->is_simple) {
        stored = ek_simple_rescale(sum, multiplier, shift, stage->zero_point);
    } else {
        stored = ek_wrapping_add(ek_rescale(sum, multiplier, shift), stage->zero_point);
    }
    return (int8_t)ek_clamp(stored, stage->low, stage->high);
}

/* Rescales a sum by the factor of its channel, a row of (bias, multiplier, shift). */
static inline int8_t ek_finish(int32_t sum, const int32_t *channel, const ek_output_stage *stage) {
    return ek_finish_by(sum, channel[1], channel[2], stage);
}

#endif
