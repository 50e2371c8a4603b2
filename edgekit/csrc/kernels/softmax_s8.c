#include "edgekit/kernels.h"

#include "fixed_point.h"

#define INPUT_INTEGER_BITS 5
#define SUM_INTEGER_BITS 12

/* exp(a) as Q0.31 for Q0.31 in [-1/4, 0): Taylor series about -1/8. */
static int32_t exp_on_minus_quarter_to_zero(int32_t a) {
    const int32_t at_minus_eighth = 1895147668;
    const int32_t third = 715827883;
    const int32_t x = a + (1 << 28);
    const int32_t x2 = ek_high_mul(x, x);
    const int32_t x3 = ek_high_mul(x2, x);
    const int32_t x4_over_4 = ek_rounding_shift_right(ek_high_mul(x2, x2), 2);
    const int32_t tail = ek_rounding_shift_right(ek_high_mul(x4_over_4 + x3, third) + x2, 1);
    return at_minus_eighth + ek_high_mul(x + tail, at_minus_eighth);
}

/* exp(x) as Q0.31 for x <= 0 as Q5.26. */
static int32_t exp_on_negative_values(int32_t x) {
    /* exp(-2^k) as Q0.31 for k = -2 .. 4 */
    static const int32_t factors[7] = {1672461947, 1302514674, 790015084, 290630308,
                                       39332535,   720401,     242};
    const int32_t fraction_bits = 31 - INPUT_INTEGER_BITS;
    const int32_t quarter = (int32_t)1 << (fraction_bits - 2);
    const int32_t remainder = (x & (quarter - 1)) - quarter;
    int32_t result = exp_on_minus_quarter_to_zero(remainder * (1 << INPUT_INTEGER_BITS));
    const int32_t rest = remainder - x;
    for (int32_t i = 0; i < 7; ++i) {
        if ((rest & ((int32_t)1 << (fraction_bits + i - 2))) != 0) {
            result = ek_high_mul(result, factors[i]);
        }
    }
    return x == 0 ? INT32_MAX : result;
}

static int32_t saturating_shift_left(int32_t x, int32_t bits) {
    const int64_t wide = (int64_t)x * ((int64_t)1 << bits);
    return wide > INT32_MAX ? INT32_MAX : wide < INT32_MIN ? INT32_MIN : (int32_t)wide;
}

/* 1 / (1 + a) as Q0.31 for Q0.31 in [0, 1): three Newton-Raphson steps. */
static int32_t one_over_one_plus(int32_t a) {
    const int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) >> 1);
    int32_t x = 1515870810 + ek_high_mul(half, -1010580540);
    for (int32_t i = 0; i < 3; ++i) {
        const int32_t rest = (1 << 29) - ek_high_mul(half, x);
        x += saturating_shift_left(ek_high_mul(x, rest), 2);
    }
    return saturating_shift_left(x, 1);
}

static int32_t leading_zeros(uint32_t x) {
    int32_t count = 0;
    for (; count < 32 && (x & 0x80000000u) == 0; ++count) {
        x <<= 1;
    }
    return count;
}

static void softmax_row(const ek_softmax_s8_params *p, const int8_t *input, int8_t *output) {
    int32_t most = -128;
    for (int32_t i = 0; i < p->columns; ++i) {
        most = input[i] > most ? input[i] : most;
    }
    int32_t total = 0;
    for (int32_t i = 0; i < p->columns; ++i) {
        const int32_t difference = input[i] - most;
        if (difference >= p->least_difference) {
            const int32_t power =
                exp_on_negative_values(ek_multiply(difference, p->multiplier, p->shift));
            total += ek_rounding_shift_right(power, SUM_INTEGER_BITS);
        }
    }
    const int32_t zeros = leading_zeros((uint32_t)total);
    const int32_t fraction = (int32_t)(((uint32_t)total << zeros) - 0x80000000u);
    const int32_t reciprocal = one_over_one_plus(fraction);
    const int32_t exponent = SUM_INTEGER_BITS - zeros + 31 - 8;
    for (int32_t i = 0; i < p->columns; ++i) {
        const int32_t difference = input[i] - most;
        int32_t stored = -128;
        if (difference >= p->least_difference) {
            const int32_t power =
                exp_on_negative_values(ek_multiply(difference, p->multiplier, p->shift));
            stored += ek_rounding_shift_right(ek_high_mul(reciprocal, power), exponent);
        }
        output[i] = (int8_t)ek_clamp(stored, -128, 127);
    }
}

ek_status ek_softmax_s8(const ek_softmax_s8_params *params, const int8_t *input, int8_t *output) {
    if (params == NULL || input == NULL || output == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    for (int32_t row = 0; row < params->rows; ++row) {
        softmax_row(params, input + row * params->columns, output + row * params->columns);
    }
    return EK_STATUS_OK;
}
