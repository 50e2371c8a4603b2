#include "axes.h"
#include "products.h"

/* A factor, with a shift to the left before it and one to the right behind it. */
typedef struct factor {
    int32_t left;
    int32_t multiplier;
    int32x4_t right;
} factor;

static factor factor_of(int32_t left, int32_t multiplier, int32_t shift) {
    return (factor){left + (shift > 0 ? shift : 0), multiplier, vdupq_n_s32(shift < 0 ? shift : 0)};
}

static inline int32x4_t scaled(int32x4_t x, const factor *by) {
    return ek_rounding_shift4(vqrdmulhq_n_s32(vshlq_r_s32(x, by->left), by->multiplier), by->right);
}

/* What one row is computed with. */
typedef struct row_stage {
    factor first;
    factor second;
    factor output;
} row_stage;

static row_stage row_stage_of(const ek_binary_s8_params *params) {
    return (row_stage){
        factor_of(params->left_shift, params->first_multiplier, params->first_shift),
        factor_of(params->left_shift, params->second_multiplier, params->second_shift),
        factor_of(0, params->output_multiplier, params->output_shift)};
}

/* Four operands side by side, or the same four times, or far from each other. */
static inline int32x4_t load4(const int8_t *from, int32_t step, mve_pred16_t used) {
    return step == 1 ? vldrbq_z_s32(from, used)
                     : vldrbq_gather_offset_z_s32(from, ek_steps(step), used);
}

static inline int32x4_t squares(int32x4_t x) { return vmulq_s32(x, x); }

/* Defines NAME, which computes EXPRESSION of four x and y. */
#define EK_BINARY(NAME, EXPRESSION)                                                                \
    ek_status NAME(const ek_binary_s8_params *params, const int8_t *first, const int8_t *second,   \
                   int8_t *output) {                                                               \
        const int32_t last = EK_KERNEL_AXES - 1, count = params->dims[last];                       \
        const int32_t first_step = params->first_strides[last];                                    \
        const int32_t second_step = params->second_strides[last];                                  \
        const int32_t first_zero = -params->first_zero_point;                                      \
        const int32_t second_zero = -params->second_zero_point;                                    \
        const row_stage by = row_stage_of(params);                                                 \
        (void)by;                                                                                  \
        const ek_output_stage stage = {params->output_zero_point, params->activation_min,          \
                                       params->activation_max, 0};                                 \
        int32_t place[EK_KERNEL_AXES] = {0}, a = 0, b = 0;                                         \
        do {                                                                                       \
            const int8_t *from_first = first + a, *from_second = second + b;                       \
            for (int32_t left = count; left > 0; left -= 4) {                                      \
                const mve_pred16_t used = ek_words(left);                                          \
                const int32x4_t x = vaddq_n_s32(load4(from_first, first_step, used), first_zero);  \
                const int32x4_t y =                                                                \
                    vaddq_n_s32(load4(from_second, second_step, used), second_zero);               \
                vstrbq_p_s32(output, ek_stored4((EXPRESSION), &stage), used);                      \
                from_first += 4 * first_step;                                                      \
                from_second += 4 * second_step;                                                    \
                output += left < 4 ? left : 4;                                                     \
            }                                                                                      \
        } while (ek_next_place(params->dims, last, place, params->first_strides, &a,               \
                               params->second_strides, &b));                                       \
        return EK_STATUS_OK;                                                                       \
    }

EK_BINARY(ek_add_s8, scaled(vaddq_s32(scaled(x, &by.first), scaled(y, &by.second)), &by.output))
EK_BINARY(ek_sub_s8, scaled(vsubq_s32(scaled(x, &by.first), scaled(y, &by.second)), &by.output))
EK_BINARY(ek_mul_s8, scaled(vmulq_s32(x, y), &by.output))
EK_BINARY(ek_squared_difference_s8,
          scaled(squares(vsubq_s32(scaled(x, &by.first), scaled(y, &by.second))), &by.output))
EK_BINARY(ek_maximum_s8, vmaxq_s32(x, y))
EK_BINARY(ek_minimum_s8, vminq_s32(x, y))
