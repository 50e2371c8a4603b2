#include "edgekit/kernels.h"
#include "fixed_point.h"
#include "inlined.h"

/* Applies EXPRESSION of int32 x and y to a row of n elements. */
#define EK_ROW(NAME, EXPRESSION)                                                                   \
    static void NAME(const ek_binary_s8_params *params, const int8_t *first, const int8_t *second, \
                     int8_t *output) {                                                             \
        const int32_t last = EK_KERNEL_AXES - 1;                                                   \
        const int32_t first_step = params->first_strides[last];                                    \
        const int32_t second_step = params->second_strides[last];                                  \
        for (int32_t n = params->dims[last]; n > 0; n--) {                                         \
            const int32_t x = *first - params->first_zero_point;                                   \
            const int32_t y = *second - params->second_zero_point;                                 \
            *output++ =                                                                            \
                (int8_t)ek_clamp((EXPRESSION), params->activation_min, params->activation_max);    \
            first += first_step;                                                                   \
            second += second_step;                                                                 \
        }                                                                                          \
    }

static inline int32_t to_output(const ek_binary_s8_params *params, int32_t value) {
    return params->output_zero_point +
           ek_rescale(value, params->output_multiplier, params->output_shift);
}

static inline int32_t first_of(const ek_binary_s8_params *params, int32_t x) {
    return ek_rescale(x * (1 << params->left_shift), params->first_multiplier, params->first_shift);
}

static inline int32_t second_of(const ek_binary_s8_params *params, int32_t y) {
    return ek_rescale(y * (1 << params->left_shift), params->second_multiplier,
                      params->second_shift);
}

static inline int32_t square(int32_t x) { return x * x; }

EK_ROW(add_row, to_output(params, first_of(params, x) + second_of(params, y)))
EK_ROW(subtract_row, to_output(params, first_of(params, x) - second_of(params, y)))
EK_ROW(multiply_row, to_output(params, x *y))
EK_ROW(squared_difference_row,
       to_output(params, square(first_of(params, x) - second_of(params, y))))
EK_ROW(maximum_row, x > y ? x : y)
EK_ROW(minimum_row, x < y ? x : y)

/* Sums take factors of a half at most, for which x times two fits 32 bits, so that the short
 * rescaling does. Held apart from the structure, which writing the output might change. */
typedef struct short_factor {
    int32_t left; /* shift before the multiplication */
    int32_t multiplier;
    int32_t half; /* what rounds, and the zero point */
    int32_t right;
} short_factor;

enum { LARGEST_LEFT = 20, LARGEST_RIGHT = 20, HALF = 1 << 30 };

/* A factor of one half, which loses nothing, is a shift to the left and two to the right. */
static short_factor short_factor_of(int32_t left, int32_t multiplier, int32_t shift,
                                    int32_t zero_point) {
    const int32_t is_half = shift == 0;
    const int32_t right = is_half ? 1 : -shift;
    return (short_factor){left + is_half, multiplier, ek_shift_left(2 * zero_point + 1, right - 1),
                          right};
}

static inline int32_t scaled(int32_t x, const short_factor *by) {
    const int32_t high = ek_doubled_high_mul(ek_shift_left(x, by->left), by->multiplier);
    return (high + (high >> 31) + by->half) >> by->right;
}

static int32_t is_short(int32_t multiplier, int32_t shift) {
    return (shift < 0 && shift >= -LARGEST_RIGHT) || (shift == 0 && multiplier == HALF);
}

static int32_t has_short_factors(const ek_binary_s8_params *params) {
    return params->left_shift > 0 && params->left_shift <= LARGEST_LEFT &&
           is_short(params->first_multiplier, params->first_shift) &&
           is_short(params->second_multiplier, params->second_shift) && params->output_shift < 0 &&
           params->output_shift >= -LARGEST_RIGHT;
}

/* Adds rows by short factors; the second one times `sign`. */
static inline void add_short_row(const ek_binary_s8_params *params, const int8_t *first,
                                 const int8_t *second, int32_t sign, int8_t *output) {
    const int32_t last = EK_KERNEL_AXES - 1;
    const int32_t first_step = params->first_strides[last];
    const int32_t second_step = params->second_strides[last];
    const int32_t first_zero = params->first_zero_point, second_zero = params->second_zero_point;
    const int32_t low = params->activation_min, high = params->activation_max;
    const short_factor by_first =
        short_factor_of(params->left_shift, params->first_multiplier, params->first_shift, 0);
    const short_factor by_second =
        short_factor_of(params->left_shift, params->second_multiplier, params->second_shift, 0);
    const short_factor by_output = short_factor_of(0, params->output_multiplier,
                                                   params->output_shift, params->output_zero_point);
    for (int32_t n = params->dims[last]; n > 0; n--) {
        const int32_t x = scaled(*first - first_zero, &by_first);
        const int32_t y = scaled(*second - second_zero, &by_second);
        *output++ = (int8_t)ek_clamp(scaled(x + sign * y, &by_output), low, high);
        first += first_step;
        second += second_step;
    }
}

static void add_short_rows(const ek_binary_s8_params *params, const int8_t *first,
                           const int8_t *second, int8_t *output) {
    add_short_row(params, first, second, 1, output);
}

static void subtract_short_rows(const ek_binary_s8_params *params, const int8_t *first,
                                const int8_t *second, int8_t *output) {
    add_short_row(params, first, second, -1, output);
}

typedef void row_function(const ek_binary_s8_params *, const int8_t *, const int8_t *, int8_t *);

EK_INLINED ek_status for_rows(const ek_binary_s8_params *params, const int8_t *first,
                              const int8_t *second, int8_t *output, row_function *compute) {
    int32_t place[EK_KERNEL_AXES] = {0};
    for (;;) {
        compute(params, first, second, output);
        output += params->dims[EK_KERNEL_AXES - 1];
        int32_t axis = EK_KERNEL_AXES - 2;
        for (; axis >= 0; axis--) {
            first += params->first_strides[axis];
            second += params->second_strides[axis];
            if (++place[axis] < params->dims[axis]) {
                break;
            }
            first -= params->dims[axis] * params->first_strides[axis];
            second -= params->dims[axis] * params->second_strides[axis];
            place[axis] = 0;
        }
        if (axis < 0) {
            return EK_STATUS_OK;
        }
    }
}

ek_status ek_add_s8(const ek_binary_s8_params *params, const int8_t *first, const int8_t *second,
                    int8_t *output) {
    if (has_short_factors(params)) {
        return for_rows(params, first, second, output, add_short_rows);
    }
    return for_rows(params, first, second, output, add_row);
}

ek_status ek_sub_s8(const ek_binary_s8_params *params, const int8_t *first, const int8_t *second,
                    int8_t *output) {
    if (has_short_factors(params)) {
        return for_rows(params, first, second, output, subtract_short_rows);
    }
    return for_rows(params, first, second, output, subtract_row);
}

ek_status ek_mul_s8(const ek_binary_s8_params *params, const int8_t *first, const int8_t *second,
                    int8_t *output) {
    return for_rows(params, first, second, output, multiply_row);
}

ek_status ek_squared_difference_s8(const ek_binary_s8_params *params, const int8_t *first,
                                   const int8_t *second, int8_t *output) {
    return for_rows(params, first, second, output, squared_difference_row);
}

ek_status ek_maximum_s8(const ek_binary_s8_params *params, const int8_t *first,
                        const int8_t *second, int8_t *output) {
    return for_rows(params, first, second, output, maximum_row);
}

ek_status ek_minimum_s8(const ek_binary_s8_params *params, const int8_t *first,
                        const int8_t *second, int8_t *output) {
    return for_rows(params, first, second, output, minimum_row);
}
