#include "dsp.h"
#include "input_row.h"

/* Weights of 4 bits are taken times 16, as bytes: what is masked of a word, and of the word that is
 * shifted up, needs no sign of its own. The products are no larger than those of int8. */
enum { EK_SHIFT = 4 };
#define EK_UPPER 0xF0F0F0F0u

/* Four places of two channels, whose weights share a word. */
#define EK_WORD_STEP(WORD, EVEN, ODD, A, B)                                                        \
    do {                                                                                           \
        const uint32_t word = (WORD), lower = word << EK_SHIFT & EK_UPPER;                         \
        const uint32_t upper = word & EK_UPPER;                                                    \
        A = ek_dot(ek_even(lower), (EVEN), A);                                                     \
        B = ek_dot(ek_odd(lower), (EVEN), B);                                                      \
        A = ek_dot(ek_even(upper), (ODD), A);                                                      \
        B = ek_dot(ek_odd(upper), (ODD), B);                                                       \
    } while (0)

/* Four places of four channels. */
#define EK_STEP_4(BYTES)                                                                           \
    do {                                                                                           \
        const uint32_t even = ek_even(BYTES), odd = ek_odd(BYTES);                                 \
        EK_WORD_STEP(ek_load(weights), even, odd, a, b);                                           \
        EK_WORD_STEP(ek_load(weights + 4), even, odd, c, d);                                       \
        weights += 8;                                                                              \
    } while (0)

/* As many fours as a row has, at least one. Where code uses the floating-point unit, the compiler
 * finds a register less. */
#if defined(EK_DSP_REGISTERS) && !defined(__ARM_FP)
#define EK_WORD_TEXT(WORD, A, B)                                                                   \
    "and %[w], %[mask], " WORD ", lsl #4\n\t"                                                      \
    "and " WORD ", " WORD ", %[mask]\n\t"                                                          \
    "sxtb16 %[v], %[w], ror #8\n\t"                                                                \
    "sxtb16 %[w], %[w]\n\t"                                                                        \
    "smlad " A ", %[w], %[even], " A "\n\t"                                                        \
    "smlad " B ", %[v], %[even], " B "\n\t"                                                        \
    "sxtb16 %[v], " WORD ", ror #8\n\t"                                                            \
    "sxtb16 " WORD ", " WORD "\n\t"                                                                \
    "smlad " A ", " WORD ", %[odd], " A "\n\t"                                                     \
    "smlad " B ", %[v], %[odd], " B "\n\t"
#define EK_STEP_TEXT                                                                               \
    "ldr %[even], [%[row]], #4\n\t"                                                                \
    "ldmia %[weights]!, {r4, r5}\n\t"                                                              \
    "sxtb16 %[odd], %[even], ror #8\n\t"                                                           \
    "sxtb16 %[even], %[even]\n\t" EK_WORD_TEXT("r4", "%[a]", "%[b]")                               \
        EK_WORD_TEXT("r5", "%[c]", "%[d]")
/* An odd number of fours enters the loop in its middle. */
#define EK_MULTIPLY_4()                                                                            \
    do {                                                                                           \
        uint32_t w = (uint32_t)row->fours, v, even, odd;                                           \
        __asm__ volatile(                                                                          \
            "lsls %[w], %[w], #31\n\t"                                                             \
            "bmi 2f\n"                                                                             \
            "1:\n\t" EK_STEP_TEXT "2:\n\t" EK_STEP_TEXT "cmp %[row], %[end]\n\t"                   \
            "bne 1b"                                                                               \
            : [weights] "+r"(weights), [row] "+r"(bytes), [a] "+r"(a), [b] "+r"(b), [c] "+r"(c),   \
              [d] "+r"(d), [w] "+&r"(w), [v] "=&r"(v), [even] "=&r"(even), [odd] "=&r"(odd)        \
            : [end] "r"(end), [mask] "r"(EK_UPPER)                                                 \
            : "r4", "r5", "cc", "memory");                                                         \
    } while (0)
#else
#define EK_MULTIPLY_4()                                                                            \
    for (; bytes < end; bytes += 4) {                                                              \
        EK_STEP_4(ek_load(bytes));                                                                 \
    }
#endif

/* A sum of products with weights times 16, and what else belongs to it. */
static inline int32_t whole(int32_t sum, int32_t bias, const input_row *row) {
    return ek_wrapping_add(sum >> EK_SHIFT, ek_wrapping_add(bias, -row->offset));
}

/* All whole blocks of four channels; returns the weights behind. */
static const uint8_t *multiply_blocks(const ek_fully_connected_s8_params *params,
                                      const input_row *row, const ek_output_stage *stage,
                                      int8_t *output) {
    const uint8_t *weights = (const uint8_t *)params->weights;
    const int8_t *const end = row->bytes + 4 * row->fours;
    const int32_t *bias = params->bias, *factor = params->factors;
    const int32_t step = params->factor_step;
    const int32_t *const last = bias + (params->output_channels & ~3);
    for (; bias < last; bias += 4, output += 4, factor += 4 * step) {
        const int8_t *bytes = row->bytes;
        int32_t a = 0, b = 0, c = 0, d = 0;
        if (row->fours > 0) {
            EK_MULTIPLY_4();
        }
        if (params->depth & 3) {
            EK_STEP_4(row->tail);
        }
        const int32_t sums[4] = {a, b, c, d};
        for (int32_t i = 0; i < 4; i++) {
            output[i] = ek_finish_dsp(whole(sums[i], bias[i], row), factor[i * step],
                                      factor[i * step + 1], stage);
        }
    }
    return weights;
}

/* The channels that are left: one or two, or three in a block of four. */
static void multiply_rest(const ek_fully_connected_s8_params *params, const uint8_t *weights,
                          const input_row *row, const ek_output_stage *stage, int8_t *output) {
    const int32_t first = params->output_channels & ~3, rest = params->output_channels & 3;
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (int32_t four = 0; four < (params->depth + 3) / 4; four++) {
        const uint32_t bytes = four < row->fours ? ek_load(row->bytes + 4 * four) : row->tail;
        if (rest == 3) {
            EK_STEP_4(bytes);
        } else {
            EK_WORD_STEP(ek_load(weights), ek_even(bytes), ek_odd(bytes), a, b);
            weights += 4;
        }
    }
    const int32_t sums[4] = {a, b, c, d};
    const int32_t *factor = params->factors + first * params->factor_step;
    for (int32_t i = 0; i < rest; i++, factor += params->factor_step) {
        const int32_t sum = whole(sums[i], params->bias[first + i], row);
        output[first + i] = ek_finish_dsp(sum, factor[0], factor[1], stage);
    }
}

ek_status ek_fully_connected_packed(const ek_fully_connected_s8_params *params, const int8_t *input,
                                    int8_t *output) {
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    for (int32_t i = 0; i < params->rows; i++) {
        const input_row row = row_of(params, input);
        const uint8_t *weights = multiply_blocks(params, &row, &stage, output);
        if (params->output_channels & 3) {
            multiply_rest(params, weights, &row, &stage, output);
        }
        input += params->depth;
        output += params->output_channels;
    }
    return EK_STATUS_OK;
}
