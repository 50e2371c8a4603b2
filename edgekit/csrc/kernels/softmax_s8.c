#include "edgekit/kernels.h"
#include "fixed_point.h"

enum { SUM_INTEGER_BITS = 12 };

/* x * 2**exponent, saturated. */
static int32_t saturating_shift_left(int32_t x, int32_t exponent) {
    const int64_t wide = (int64_t)x * (INT64_C(1) << exponent);
    return wide > INT32_MAX ? INT32_MAX : (wide < INT32_MIN ? INT32_MIN : (int32_t)wide);
}

/* 1 / (1 + x) as Q0.31 for Q0.31 in [0, 1): three Newton-Raphson steps. */
static int32_t one_over_one_plus(int32_t x) {
    const int32_t half_denominator = (int32_t)(((int64_t)x + INT32_MAX + 1) >> 1);
    int32_t estimate = 1515870810 + ek_high_mul(half_denominator, -1010580540);
    for (int32_t step = 0; step < 3; step++) {
        const int32_t rest = (1 << 29) - ek_high_mul(half_denominator, estimate);
        estimate += saturating_shift_left(ek_high_mul(estimate, rest), 2);
    }
    return saturating_shift_left(estimate, 1);
}

/* One softmax: what its powers are divided by. */
typedef struct divisor {
    const int32_t *powers; /* of the largest element */
    int32_t reciprocal;
    int32_t leading_zeros;
} divisor;

static divisor divisor_of(const ek_softmax_s8_params *params, const int8_t *input) {
    int32_t highest = -128;
    for (int32_t i = 0; i < params->depth; i++) {
        const int32_t x = input[i * params->inner];
        highest = x > highest ? x : highest;
    }
    const int32_t *powers = params->powers + highest;
    uint32_t total = 0;
    for (int32_t i = 0; i < params->depth; i++) {
        total +=
            (uint32_t)ek_rounding_shift_right(powers[-input[i * params->inner]], SUM_INTEGER_BITS);
    }
    int32_t leading_zeros = 0;
    while (total < (UINT32_C(1) << 31)) {
        total <<= 1;
        leading_zeros++;
    }
    const int32_t fraction = (int32_t)(total - (UINT32_C(1) << 31));
    return (divisor){powers, one_over_one_plus(fraction), leading_zeros};
}

static int32_t probability(const divisor *by, int32_t x, int32_t bits) {
    const int32_t exponent = SUM_INTEGER_BITS - by->leading_zeros + 31 - bits;
    return ek_rounding_shift_right(ek_high_mul(by->reciprocal, by->powers[-x]), exponent);
}

ek_status ek_softmax_s8(const ek_softmax_s8_params *params, const int8_t *input, int8_t *output) {
    for (int32_t outer = 0; outer < params->outer; outer++) {
        for (int32_t inner = 0; inner < params->inner; inner++) {
            const divisor by = divisor_of(params, input + inner);
            for (int32_t i = inner; i < params->depth * params->inner; i += params->inner) {
                output[i] = ek_saturate_s8(probability(&by, input[i], 8) - 128);
            }
        }
        input += params->depth * params->inner;
        output += params->depth * params->inner;
    }
    return EK_STATUS_OK;
}

ek_status ek_softmax_s8_s16(const ek_softmax_s8_params *params, const int8_t *input,
                            int16_t *output) {
    for (int32_t outer = 0; outer < params->outer; outer++) {
        for (int32_t inner = 0; inner < params->inner; inner++) {
            const divisor by = divisor_of(params, input + inner);
            for (int32_t i = inner; i < params->depth * params->inner; i += params->inner) {
                output[i] = ek_saturate_s16(probability(&by, input[i], 16) - 32768);
            }
        }
        input += params->depth * params->inner;
        output += params->depth * params->inner;
    }
    return EK_STATUS_OK;
}
