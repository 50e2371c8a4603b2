/* Products of packed weights (see kernels.h) with the pairs of patches.h. */
#ifndef EDGEKIT_KERNELS_PATCH_PRODUCTS_H
#define EDGEKIT_KERNELS_PATCH_PRODUCTS_H

#include "patches.h"

/* The two words of weights that a word of 4 bits holds, in bytes, times 16. */
#define EK_LOW_NIBBLES(WORD) ((WORD) << 4 & 0xF0F0F0F0u)
#define EK_HIGH_NIBBLES(WORD) ((WORD)&0xF0F0F0F0u)

/* Two places of the depth: two channels by two pixels. */
#define EK_STEP_2X2(WORD, A, B, C, D)                                                              \
    do {                                                                                           \
        const uint32_t even = ek_even(WORD);                                                       \
        const uint32_t odd = ek_odd(WORD);                                                         \
        A = ek_dot(even, x, A), C = ek_dot(even, y, C);                                            \
        B = ek_dot(odd, x, B), D = ek_dot(odd, y, D);                                              \
    } while (0)

/* Adds four channels times two pixels; returns the weights behind. */
static const int8_t *ek_multiply_4x2(const int8_t *weights, const uint32_t *pairs, int32_t fours,
                                     int32_t sums[8]) {
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    int32_t e = sums[4], f = sums[5], g = sums[6], h = sums[7];
    for (const uint32_t *end = pairs + EK_PAIRS * fours; pairs < end; pairs += EK_PAIRS) {
        uint32_t x = pairs[0], y = pairs[1];
        EK_STEP_2X2(ek_load(weights), a, b, e, f);
        EK_STEP_2X2(ek_load(weights + 4), c, d, g, h);
        x = pairs[EK_PATCHES], y = pairs[EK_PATCHES + 1];
        EK_STEP_2X2(ek_load(weights + 8), a, b, e, f);
        EK_STEP_2X2(ek_load(weights + 12), c, d, g, h);
        weights += 16;
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
    sums[4] = e, sums[5] = f, sums[6] = g, sums[7] = h;
    return weights;
}

/* Adds two channels times two pixels. */
static void ek_multiply_2x2(const int8_t *weights, const uint32_t *pairs, int32_t fours,
                            int32_t sums[8]) {
    int32_t a = sums[0], b = sums[1], e = sums[4], f = sums[5];
    for (const uint32_t *end = pairs + EK_PAIRS * fours; pairs < end; pairs += EK_PAIRS) {
        uint32_t x = pairs[0], y = pairs[1];
        EK_STEP_2X2(ek_load(weights), a, b, e, f);
        x = pairs[EK_PATCHES], y = pairs[EK_PATCHES + 1];
        EK_STEP_2X2(ek_load(weights + 4), a, b, e, f);
        weights += 8;
    }
    sums[0] = a, sums[1] = b, sums[4] = e, sums[5] = f;
}
/* The next two places of the depth by four pixels; a word of weights of two channels is in v. */
#if defined(EK_DSP_REGISTERS)
#define EK_WORD_2X4                                                                                \
    "ldrd %[x], %[y], [%[pairs]], #8\n\t"                                                          \
    "sxtb16 %[w], %[v], ror #8\n\t"                                                                \
    "sxtb16 %[v], %[v]\n\t"                                                                        \
    "smlad %[a0], %[v], %[x], %[a0]\n\t"                                                           \
    "smlad %[b0], %[w], %[x], %[b0]\n\t"                                                           \
    "smlad %[a1], %[v], %[y], %[a1]\n\t"                                                           \
    "smlad %[b1], %[w], %[y], %[b1]\n\t"                                                           \
    "ldrd %[x], %[y], [%[pairs]], #8\n\t"                                                          \
    "smlad %[a2], %[v], %[x], %[a2]\n\t"                                                           \
    "smlad %[b2], %[w], %[x], %[b2]\n\t"                                                           \
    "smlad %[a3], %[v], %[y], %[a3]\n\t"                                                           \
    "smlad %[b3], %[w], %[y], %[b3]\n\t"
/* Four places. Words of weights are eight bytes apart, because those of the block's other two
 * channels lie between them; two words of 4 bits share one, and become 16 times themselves. */
#define EK_BYTES_2X4                                                                               \
    "ldr %[v], [%[weights]], #8\n\t" EK_WORD_2X4 "ldr %[v], [%[weights]], #8\n\t" EK_WORD_2X4
#define EK_NIBBLES_2X4                                                                             \
    "ldr %[v], [%[weights]]\n\t"                                                                   \
    "lsls %[v], %[v], #4\n\t"                                                                      \
    "and %[v], %[v], #0xF0F0F0F0\n\t" EK_WORD_2X4 "ldr %[v], [%[weights]], #8\n\t"                 \
    "and %[v], %[v], #0xF0F0F0F0\n\t" EK_WORD_2X4
/* Until pairs reach their end, which has to be in memory: eight sums, two places in memory, two
 * pairs of weights and two of pixels fill all registers. (The four bytes of stack are fewer than
 * any function takes that is called here.) An odd number of fours enters the loop in its middle. */
#define EK_MULTIPLY_2X4(FOUR)                                                                      \
    do {                                                                                           \
        const uint32_t *x = end;                                                                   \
        uint32_t v, w, y;                                                                          \
        __asm__ volatile(                                                                          \
            "str %[x], [sp, #-4]!\n\t"                                                             \
            "subs %[v], %[x], %[pairs]\n\t"                                                        \
            "lsls %[v], %[v], #26\n\t"                                                             \
            "bmi 2f\n"                                                                             \
            "1:\n\t" FOUR "2:\n\t" FOUR "ldr %[x], [sp]\n\t"                                       \
            "cmp %[pairs], %[x]\n\t"                                                               \
            "bne 1b\n\t"                                                                           \
            "add sp, sp, #4"                                                                       \
            : [weights] "+r"(weights), [pairs] "+r"(pairs), [a0] "+r"(a0), [a1] "+r"(a1),          \
              [a2] "+r"(a2), [a3] "+r"(a3), [b0] "+r"(b0), [b1] "+r"(b1), [b2] "+r"(b2),           \
              [b3] "+r"(b3), [v] "=&r"(v), [w] "=&r"(w), [x] "+&r"(x), [y] "=&r"(y)                \
            :                                                                                      \
            : "cc", "memory");                                                                     \
    } while (0)
#else
#define EK_WORD_2X4(WORD)                                                                          \
    do {                                                                                           \
        const uint32_t v = ek_even(WORD), w = ek_odd(WORD);                                        \
        a0 = ek_dot(v, pairs[0], a0), b0 = ek_dot(w, pairs[0], b0);                                \
        a1 = ek_dot(v, pairs[1], a1), b1 = ek_dot(w, pairs[1], b1);                                \
        a2 = ek_dot(v, pairs[2], a2), b2 = ek_dot(w, pairs[2], b2);                                \
        a3 = ek_dot(v, pairs[3], a3), b3 = ek_dot(w, pairs[3], b3);                                \
        pairs += EK_PATCHES;                                                                       \
    } while (0)
#define EK_BYTES_2X4                                                                               \
    EK_WORD_2X4(ek_load(weights));                                                                 \
    EK_WORD_2X4(ek_load(weights + 8));                                                             \
    weights += 16
#define EK_NIBBLES_2X4                                                                             \
    EK_WORD_2X4(EK_LOW_NIBBLES(ek_load(weights)));                                                 \
    EK_WORD_2X4(EK_HIGH_NIBBLES(ek_load(weights)));                                                \
    weights += 8
#define EK_MULTIPLY_2X4(FOUR)                                                                      \
    while (pairs < end) {                                                                          \
        FOUR;                                                                                      \
    }
#endif

#endif
