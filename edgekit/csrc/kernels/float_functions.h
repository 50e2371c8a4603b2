/* Elementary functions of float32 without a mathematical library, to a few units in the last place.
 *
 * Only additions, multiplications, divisions and the bits of floats are used, so that every core
 * gives the same result as the host.
 */
#ifndef EDGEKIT_KERNELS_FLOAT_FUNCTIONS_H
#define EDGEKIT_KERNELS_FLOAT_FUNCTIONS_H

#include <stdint.h>

static inline float ek_clamp_f32(float x, float low, float high) {
    return x < low ? low : (x > high ? high : x);
}

/* The float that has these bits, and back. */
static inline float ek_float_of(uint32_t bits) {
    const union {
        uint32_t bits;
        float value;
    } both = {.bits = bits};
    return both.value;
}

static inline uint32_t ek_bits_of(float value) {
    const union {
        float value;
        uint32_t bits;
    } both = {.value = value};
    return both.bits;
}

static inline float ek_abs_of(float x) { return ek_float_of(ek_bits_of(x) & 0x7FFFFFFFu); }

/* x * 2**exponent for exponents from -252 to 254, in two steps that neither overflow nor lose. */
static inline float ek_scale_by_power(float x, int32_t exponent) {
    const int32_t half = exponent / 2, rest = exponent - half;
    return x * ek_float_of((uint32_t)(half + 127) << 23) *
           ek_float_of((uint32_t)(rest + 127) << 23);
}

/* exp(x): 2**k times a polynomial on [-ln 2 / 2, ln 2 / 2]. */
static inline float ek_exp_of(float x) {
    const float highest = 89.0F, lowest = -104.0F;
    if (!(x > lowest)) {
        return x == x ? 0.0F : x;
    }
    x = x < highest ? x : highest;
    const float scaled = x * 1.44269504F;
    const int32_t power = (int32_t)(scaled + (scaled < 0.0F ? -0.5F : 0.5F));
    /* ln 2 in two parts: power times the first is exact. */
    const float r = (x - (float)power * 0.693359375F) + (float)power * 2.12194440e-4F;
    float sum = 1.0F / 5040.0F;
    sum = sum * r + 1.0F / 720.0F;
    sum = sum * r + 1.0F / 120.0F;
    sum = sum * r + 1.0F / 24.0F;
    sum = sum * r + 1.0F / 6.0F;
    sum = sum * r + 0.5F;
    sum = sum * r * r + r;
    return ek_scale_by_power(sum + 1.0F, power);
}

/* ln(x) of positive finite x: ln of the power of two plus 2 artanh((m - 1) / (m + 1)). */
static inline float ek_log_of(float x) {
    if (!(x > 0.0F) || x > 3.4028234e38F) {
        /* -inf of zero, NaN of what is negative or no number, inf of inf. */
        return x == 0.0F ? ek_float_of(0xFF800000u) : (x > 0.0F ? x : ek_float_of(0x7FC00000u));
    }
    int32_t exponent = 0;
    if (x < 1.17549435e-38F) {
        x *= 16777216.0F;
        exponent = -24;
    }
    /* The mantissa lies in [sqrt(1/2), sqrt(2)). */
    const uint32_t bits = ek_bits_of(x) - 0x3F3504F3u;
    exponent += (int32_t)bits >> 23;
    const float m = ek_float_of((bits & 0x007FFFFFu) + 0x3F3504F3u);
    const float s = (m - 1.0F) / (m + 1.0F), z = s * s;
    float sum = 2.0F / 9.0F;
    sum = sum * z + 2.0F / 7.0F;
    sum = sum * z + 2.0F / 5.0F;
    sum = sum * z + 2.0F / 3.0F;
    const float power = (float)exponent;
    return power * 0.693359375F + ((s * z * sum - power * 2.12194440e-4F) + 2.0F * s);
}

/* x to the power of y, of a negative x for whole y only. The exponential makes |y ln x| as many
 * times larger what the logarithm is off by, so this alone is not right to the last places. */
static inline float ek_pow_of(float x, float y) {
    /* From 2**24 on every float is even. */
    const int32_t is_large = ek_abs_of(y) >= 16777216.0F;
    if (y == 0.0F || x == 1.0F || (x == -1.0F && is_large)) {
        return 1.0F;
    }
    const float magnitude = ek_exp_of(y * ek_log_of(ek_abs_of(x)));
    if (x >= 0.0F || x != x) {
        return magnitude;
    }
    const int32_t whole = is_large || y != y ? 0 : (int32_t)y;
    if (!is_large && !((float)whole >= y && (float)whole <= y)) {
        return ek_float_of(0x7FC00000u);
    }
    return whole % 2 != 0 ? -magnitude : magnitude;
}

/* 1 / (1 + exp(-x)); exp of the negative magnitude cannot overflow. */
static inline float ek_sigmoid_of(float x) {
    const float power = ek_exp_of(-ek_abs_of(x));
    return (x >= 0.0F ? 1.0F : power) / (1.0F + power);
}

/* tanh(x): the series about 0, elsewhere by the exponential. */
static inline float ek_tanh_of(float x) {
    const float magnitude = ek_abs_of(x);
    if (magnitude < 0.4F) {
        const float z = x * x;
        float sum = 21844.0F / 6081075.0F;
        sum = sum * z - 1382.0F / 155925.0F;
        sum = sum * z + 62.0F / 2835.0F;
        sum = sum * z - 17.0F / 315.0F;
        sum = sum * z + 2.0F / 15.0F;
        sum = sum * z - 1.0F / 3.0F;
        return sum * z * x + x;
    }
    const float value = 1.0F - 2.0F / (ek_exp_of(2.0F * magnitude) + 1.0F);
    return x < 0.0F ? -value : value;
}

/* sqrt(x): Newton's method from a guess that halves the exponent. */
static inline float ek_sqrt_of(float x) {
    if (!(x > 0.0F) || x > 3.4028234e38F) {
        return x == 0.0F || x > 0.0F ? x : ek_float_of(0x7FC00000u);
    }
    float back = 1.0F;
    if (x < 1.17549435e-38F) {
        x *= 16777216.0F;
        back = 1.0F / 4096.0F;
    }
    float root = ek_float_of((ek_bits_of(x) >> 1) + 0x1FBD1DF5u);
    for (int32_t step = 0; step < 4; step++) {
        root = 0.5F * (root + x / root);
    }
    return root * back;
}

/* erf(x): the series about 0, elsewhere Abramowitz and Stegun, 7.1.26 (error below 1.5e-7). */
static inline float ek_erf_of(float x) {
    const float magnitude = ek_abs_of(x);
    if (magnitude < 0.5F) {
        const float z = x * x;
        float sum = 1.0F / 1320.0F;
        sum = 1.0F / 216.0F - sum * z;
        sum = 1.0F / 42.0F - sum * z;
        sum = 1.0F / 10.0F - sum * z;
        sum = 1.0F / 3.0F - sum * z;
        return 1.12837917F * (x - x * z * sum);
    }
    const float t = 1.0F / (1.0F + 0.3275911F * magnitude);
    float sum = 1.061405429F;
    sum = sum * t - 1.453152027F;
    sum = sum * t + 1.421413741F;
    sum = sum * t - 0.284496736F;
    sum = sum * t + 0.254829592F;
    const float value = 1.0F - sum * t * ek_exp_of(-magnitude * magnitude);
    return x < 0.0F ? -value : value;
}

#endif
