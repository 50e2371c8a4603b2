/* Floating-point functions that every kernel variant computes with the same operations in the same
 * order, so that results are the same to the bit on every processor.
 */
#ifndef EDGEKIT_ENGINE_SCALAR_MATH_H
#define EDGEKIT_ENGINE_SCALAR_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Added and taken away again, it rounds to the nearest whole number, ties to even. */
#define EK_ROUND_MAGIC 12582912.0f
#define EK_ROUND_MAGIC_BITS 0x4B400000

/* exp: Cody-Waite reduction and the polynomial of Cephes expf (S. Moshier, netlib.org/cephes).
 * Arguments outside of [EK_EXP_LOW, EK_EXP_HIGH] give the value at the limit. */
#define EK_EXP_LOW (-87.0f)
#define EK_EXP_HIGH 88.0f
#define EK_EXP_LOG2E 1.44269504088896341f
#define EK_EXP_LN2_HIGH 0.693359375f
#define EK_EXP_LN2_LOW (-2.12194440e-4f)
#define EK_EXP_P0 1.9875691500e-4f
#define EK_EXP_P1 1.3981999507e-3f
#define EK_EXP_P2 8.3334519073e-3f
#define EK_EXP_P3 4.1665795894e-2f
#define EK_EXP_P4 1.6666665459e-1f
#define EK_EXP_P5 5.0000001201e-1f

static inline float ek_exp(float x) {
    x = x < EK_EXP_LOW ? EK_EXP_LOW : x;
    x = x > EK_EXP_HIGH ? EK_EXP_HIGH : x;
    float shifted = fmaf(x, EK_EXP_LOG2E, EK_ROUND_MAGIC);
    int32_t power;
    memcpy(&power, &shifted, sizeof power);
    power -= EK_ROUND_MAGIC_BITS;
    float whole = shifted - EK_ROUND_MAGIC;
    float rest = fmaf(whole, -EK_EXP_LN2_HIGH, x);
    rest = fmaf(whole, -EK_EXP_LN2_LOW, rest);
    float sum = fmaf(EK_EXP_P0, rest, EK_EXP_P1);
    sum = fmaf(sum, rest, EK_EXP_P2);
    sum = fmaf(sum, rest, EK_EXP_P3);
    sum = fmaf(sum, rest, EK_EXP_P4);
    sum = fmaf(sum, rest, EK_EXP_P5);
    sum = fmaf(sum, rest * rest, rest) + 1.0f;
    int32_t bits = (power + 127) * (1 << 23);
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

static inline float ek_silu(float x) { return x / (1.0f + ek_exp(-x)); }

/* Sum of eight lanes in the order of the SIMD reductions. */
static inline float ek_sum8(const float lanes[8]) {
    float a = lanes[0] + lanes[4];
    float b = lanes[1] + lanes[5];
    float c = lanes[2] + lanes[6];
    float d = lanes[3] + lanes[7];
    return (a + c) + (b + d);
}

/* Sine and cosine of an angle >= 0 in double, with no library whose last bit may differ:
 * reduction by pi/2 in three parts and the polynomials of fdlibm (k_sin.c, k_cos.c). */
static inline void ek_sine_cosine(double angle, double *sine, double *cosine) {
    double quarters = (double)(int64_t)(angle * 0.63661977236758134308 + 0.5);
    double rest = angle - quarters * 1.57079632673412561417e+00;
    rest -= quarters * 6.07710050630396597660e-11;
    rest -= quarters * 2.02226624879595063154e-21;
    double z = rest * rest;
    double s = 1.58969099521155010221e-10;
    s = s * z - 2.50507602534068634195e-08;
    s = s * z + 2.75573137070700676789e-06;
    s = s * z - 1.98412698298579493134e-04;
    s = s * z + 8.33333333332248946124e-03;
    s = s * z - 1.66666666666666324348e-01;
    s = rest + rest * z * s;
    double c = -1.13596475577881948265e-11;
    c = c * z + 2.08757232129817482790e-09;
    c = c * z - 2.75573143513906633035e-07;
    c = c * z + 2.48015872894767294178e-05;
    c = c * z - 1.38888888888741095749e-03;
    c = c * z + 4.16666666666666019037e-02;
    c = 1.0 - 0.5 * z + z * z * c;
    int64_t turn = (int64_t)quarters & 3;
    double first = turn & 1 ? c : s;
    double second = turn & 1 ? s : c;
    *sine = turn & 2 ? -first : first;
    *cosine = turn == 1 || turn == 2 ? -second : second;
}

#endif
