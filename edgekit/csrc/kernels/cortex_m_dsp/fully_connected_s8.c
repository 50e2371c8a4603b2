#include "dsp.h"
#include "input_row.h"

/* Two places of the depth, which are a pair, of two channels. */
#define EK_PAIR_STEP(WORD, X, A, B)                                                                \
    do {                                                                                           \
        const uint32_t word = (WORD);                                                              \
        A = ek_dot(ek_even(word), (X), A);                                                         \
        B = ek_dot(ek_odd(word), (X), B);                                                          \
    } while (0)

/* Four places of four channels. */
#define EK_STEP_4(BYTES)                                                                           \
    do {                                                                                           \
        const uint32_t even = ek_even(BYTES), odd = ek_odd(BYTES);                                 \
        EK_PAIR_STEP(ek_load(weights), even, a, b);                                                \
        EK_PAIR_STEP(ek_load(weights + 4), even, c, d);                                            \
        EK_PAIR_STEP(ek_load(weights + 8), odd, a, b);                                             \
        EK_PAIR_STEP(ek_load(weights + 12), odd, c, d);                                            \
        weights += 16;                                                                             \
    } while (0)

/* As many fours as a row has, at least one. Where code uses the floating-point unit, the compiler
 * finds a register less. */
#if defined(EK_DSP_REGISTERS) && !defined(__ARM_FP)
#define EK_PAIR_TEXT(WORD, X, A, B)                                                                \
    "sxtb16 %[w], " WORD ", ror #8\n\t"                                                            \
    "sxtb16 " WORD ", " WORD "\n\t"                                                                \
    "smlad " A ", " WORD ", " X ", " A "\n\t"                                                      \
    "smlad " B ", %[w], " X ", " B "\n\t"
#define EK_STEP_TEXT                                                                               \
    "ldr %[even], [%[row]], #4\n\t"                                                                \
    "ldmia %[weights]!, {r2, r3, r4, r5}\n\t"                                                      \
    "sxtb16 %[odd], %[even], ror #8\n\t"                                                           \
    "sxtb16 %[even], %[even]\n\t" EK_PAIR_TEXT("r2", "%[even]", "%[a]", "%[b]")                    \
        EK_PAIR_TEXT("r3", "%[even]", "%[c]", "%[d]") EK_PAIR_TEXT("r4", "%[odd]", "%[a]", "%[b]") \
            EK_PAIR_TEXT("r5", "%[odd]", "%[c]", "%[d]")
/* An odd number of fours enters the loop in its middle. */
#define EK_MULTIPLY_4()                                                                            \
    do {                                                                                           \
        uint32_t w = (uint32_t)row->fours, even, odd;                                              \
        __asm__ volatile(                                                                          \
            "lsls %[w], %[w], #31\n\t"                                                             \
            "bmi 2f\n"                                                                             \
            "1:\n\t" EK_STEP_TEXT "2:\n\t" EK_STEP_TEXT "cmp %[row], %[end]\n\t"                   \
            "bne 1b"                                                                               \
            : [weights] "+r"(weights), [row] "+r"(bytes), [a] "+r"(a), [b] "+r"(b), [c] "+r"(c),   \
              [d] "+r"(d), [w] "+&r"(w), [even] "=&r"(even), [odd] "=&r"(odd)                      \
            : [end] "r"(end)                                                                       \
            : "r2", "r3", "r4", "r5", "cc", "memory");                                             \
    } while (0)
#else
#define EK_MULTIPLY_4()                                                                            \
    for (; bytes < end; bytes += 4) {                                                              \
        EK_STEP_4(ek_load(bytes));                                                                 \
    }
#endif

/* All whole blocks of four channels; returns the weights behind. */
static const int8_t *multiply_blocks(const ek_fully_connected_s8_params *params,
                                     const input_row *row, const ek_output_stage *stage,
                                     int8_t *output) {
    const int8_t *weights = params->weights, *const end = row->bytes + 4 * row->fours;
    const int32_t *bias = params->bias, *factor = params->factors;
    const int32_t has_tail = params->depth & 3, is_shared = params->factor_step == 0;
    const int32_t is_usual = ek_is_usual(stage, factor, 0, 1);
    const int32_t *const last = bias + (params->output_channels & ~3);
    for (; bias < last; bias += 4, output += 4) {
        const int8_t *bytes = row->bytes;
        int32_t a = ek_wrapping_add(bias[0], -row->offset);
        int32_t b = ek_wrapping_add(bias[1], -row->offset);
        int32_t c = ek_wrapping_add(bias[2], -row->offset);
        int32_t d = ek_wrapping_add(bias[3], -row->offset);
        if (row->fours > 0) {
            EK_MULTIPLY_4();
        }
        if (has_tail) {
            EK_STEP_4(row->tail);
        }
        if (is_shared) {
            ek_finish_4(is_usual, a, b, c, d, factor, stage, output, 1);
        } else {
            output[0] = ek_finish_dsp(a, factor[0], factor[1], stage);
            output[1] = ek_finish_dsp(b, factor[2], factor[3], stage);
            output[2] = ek_finish_dsp(c, factor[4], factor[5], stage);
            output[3] = ek_finish_dsp(d, factor[6], factor[7], stage);
            factor += 8;
        }
    }
    return weights;
}

/* The channels that are left: one or two, or three in a block of four. */
static void multiply_rest(const ek_fully_connected_s8_params *params, const int8_t *weights,
                          const input_row *row, const ek_output_stage *stage, int8_t *output) {
    const int32_t first = params->output_channels & ~3, rest = params->output_channels & 3;
    int32_t a = -row->offset, b = a, c = a, d = a;
    for (int32_t four = 0; four < (params->depth + 3) / 4; four++) {
        const uint32_t bytes = four < row->fours ? ek_load(row->bytes + 4 * four) : row->tail;
        if (rest == 3) {
            EK_STEP_4(bytes);
        } else {
            EK_PAIR_STEP(ek_load(weights), ek_even(bytes), a, b);
            EK_PAIR_STEP(ek_load(weights + 4), ek_odd(bytes), a, b);
            weights += 8;
        }
    }
    const int32_t sums[4] = {a, b, c, d};
    const int32_t *factor = params->factors + first * params->factor_step;
    for (int32_t i = 0; i < rest; i++) {
        const int32_t sum = ek_wrapping_add(sums[i], params->bias[first + i]);
        output[first + i] = ek_finish_dsp(sum, factor[0], factor[1], stage);
        factor += params->factor_step;
    }
}

ek_status ek_fully_connected_s8(const ek_fully_connected_s8_params *params, const int8_t *input,
                                int8_t *output) {
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    for (int32_t i = 0; i < params->rows; i++) {
        const input_row row = row_of(params, input);
        const int8_t *weights = multiply_blocks(params, &row, &stage, output);
        if (params->output_channels & 3) {
            multiply_rest(params, weights, &row, &stage, output);
        }
        input += params->depth;
        output += params->output_channels;
    }
    return EK_STATUS_OK;
}
