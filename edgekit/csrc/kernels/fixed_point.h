/* Fixed-point arithmetic with the roundings of gemmlowp (fixedpoint/fixedpoint.h). */
#ifndef EDGEKIT_FIXED_POINT_H
#define EDGEKIT_FIXED_POINT_H

#include <stdint.h>

/* round(a * b / 2^31), saturated. */
static inline int32_t ek_high_mul(int32_t a, int32_t b) {
    const int64_t product = (int64_t)a * b + ((int64_t)1 << 30);
    const int64_t high = product >> 31;
    return high > INT32_MAX ? INT32_MAX : (int32_t)high;
}

/* x / 2^exponent to nearest, halves away from zero; exponent 0 .. 31. */
static inline int32_t ek_rounding_shift_right(int32_t x, int32_t exponent) {
    const int32_t mask = (int32_t)(((uint32_t)1 << exponent) - 1u);
    const int32_t remainder = x & mask;
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> exponent) + (remainder > threshold ? 1 : 0);
}

/* x * multiplier * 2^(shift - 31), rounded twice. */
static inline int32_t ek_multiply(int32_t x, int32_t multiplier, int32_t shift) {
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t right = shift > 0 ? 0 : -shift;
    const int32_t shifted = (int32_t)((uint32_t)x << left);
    return ek_rounding_shift_right(ek_high_mul(shifted, multiplier), right);
}

static inline int32_t ek_clamp(int32_t x, int32_t least, int32_t most) {
    return x < least ? least : x > most ? most : x;
}

#endif
