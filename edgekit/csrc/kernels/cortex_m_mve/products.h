/* Products of weights in blocks (see kernels.h) with rows of bytes, and how sums are stored. */
#ifndef EDGEKIT_KERNELS_PRODUCTS_H
#define EDGEKIT_KERNELS_PRODUCTS_H

#include "edgekit/kernels.h"
#include "fixed_point.h"
#include "helium.h"

/* Bytes of the weights of so many channels. */
static inline int32_t ek_blocks_bytes(int32_t channels, int32_t depth) {
    return ((channels + 3) & ~3) * depth;
}

/* Whole vectors behind the first one, which holds what is left: 1 to 16 places of the depth. */
static inline int32_t ek_whole_vectors(int32_t depth) { return (depth - 1) >> 4; }

#if defined(__ARM_FEATURE_MVE)

/* The first vector is read in a loop of one pass that leaves out what is behind its places: a
 * predicate would be one that the compiler does not know to be gone. Sums of a vector's products
 * are scalars in registers with even numbers. Eight of them leave none for another loop of this
 * kind, and few for the compiler. */
#define EK_HEAD(PLACES)                                                                            \
    "vldrb.8 q2, [%[w]]\n\t"                                                                       \
    "add %[w], " PLACES "\n\t"                                                                     \
    "vldrb.8 q3, [%[w]]\n\t"                                                                       \
    "add %[w], " PLACES "\n\t"                                                                     \
    "vldrb.8 q4, [%[w]]\n\t"                                                                       \
    "add %[w], " PLACES "\n\t"                                                                     \
    "vldrb.8 q5, [%[w]]\n\t"                                                                       \
    "add %[w], " PLACES "\n\t"

/* A whole vector: four channels times two rows. */
#define EK_VECTOR_STEP(FIRST, SECOND)                                                              \
    "vldrb.8 q0, [" FIRST "], #16\n\t"                                                             \
    "vldrb.8 q1, [" SECOND "], #16\n\t"                                                            \
    "vldrb.8 q2, [%[w]], #16\n\t"                                                                  \
    "vmladava.s8 r0, q0, q2\n\t"                                                                   \
    "vldrb.8 q3, [%[w]], #16\n\t"                                                                  \
    "vmladava.s8 r8, q1, q2\n\t"                                                                   \
    "vldrb.8 q4, [%[w]], #16\n\t"                                                                  \
    "vmladava.s8 r2, q0, q3\n\t"                                                                   \
    "vldrb.8 q5, [%[w]], #16\n\t"                                                                  \
    "vmladava.s8 r10, q1, q3\n\t"                                                                  \
    "vmladava.s8 r4, q0, q4\n\t"                                                                   \
    "vmladava.s8 r12, q1, q4\n\t"                                                                  \
    "vmladava.s8 r6, q0, q5\n\t"                                                                   \
    "vmladava.s8 lr, q1, q5\n\t"

/* Four channels times two rows; returns the weights behind. */
static inline const int8_t *ek_multiply_4x2(const int8_t *weights, const int8_t *first,
                                            const int8_t *second, int32_t depth, int32x4_t *a,
                                            int32x4_t *b) {
    int32x4_t x, y;
    __asm__ volatile(
        "sub r0, %[depth], #1\n\t"
        "bic r0, r0, #15\n\t"
        "sub r2, %[depth], r0\n\t" /* places of the first vector */
        "lsr %[depth], r0, #4\n\t" /* vectors behind it */
        "dlstp.8 lr, r2\n"
        "3:\n\t"
        "vldrb.8 q0, [%[first]]\n\t"
        "vldrb.8 q1, [%[second]]\n\t"
        "add %[first], r2\n\t"
        "add %[second], r2\n\t" EK_HEAD("r2") "letp lr, 3b\n\t"
                                              "vmladav.s8 r0, q0, q2\n\t"
                                              "vmladav.s8 r2, q0, q3\n\t"
                                              "vmladav.s8 r4, q0, q4\n\t"
                                              "vmladav.s8 r6, q0, q5\n\t"
                                              "vmladav.s8 r8, q1, q2\n\t"
                                              "vmladav.s8 r10, q1, q3\n\t"
                                              "vmladav.s8 r12, q1, q4\n\t"
                                              "vmladav.s8 lr, q1, q5\n\t"
                                              "cmp %[depth], #0\n\t"
                                              "beq 2f\n"
                                              "1:\n\t" EK_VECTOR_STEP(
                                                  "%[first]", "%[second]") "subs %[depth], #1\n\t"
                                                                           "bne 1b\n"
                                                                           "2:\n\t"
                                                                           "vmov %e[x], r0, r2\n\t"
                                                                           "vmov %f[x], r4, r6\n\t"
                                                                           "vmov %e[y], r8, r10\n\t"
                                                                           "vmov %f[y], r12, lr"
        : [first] "+r"(first), [second] "+r"(second), [w] "+r"(weights), [depth] "+r"(depth),
          [x] "=&w"(x), [y] "=&w"(y)
        :
        : "r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr", "q0", "q1", "q2", "q3", "q4", "q5",
          "cc", "memory");
    *a = x;
    *b = y;
    return weights;
}

/* Four channels times one row. */
static inline const int8_t *ek_multiply_4x1(const int8_t *weights, const int8_t *row, int32_t depth,
                                            int32x4_t *sums) {
    const int32_t whole = ek_whole_vectors(depth);
    const int32_t head = depth - 16 * whole;
    int32x4_t x;
    __asm__ volatile("dlstp.8 lr, %[head]\n"
                     "3:\n\t"
                     "vldrb.8 q0, [%[row]]\n\t"
                     "add %[row], %[head]\n\t" EK_HEAD("%[head]") "letp lr, 3b\n\t"
                                                                  "vmladav.s8 r0, q0, q2\n\t"
                                                                  "vmladav.s8 r2, q0, q3\n\t"
                                                                  "vmladav.s8 r4, q0, q4\n\t"
                                                                  "vmladav.s8 r6, q0, q5\n\t"
                                                                  "wls lr, %[whole], 2f\n"
                                                                  "1:\n\t"
                                                                  "vldrb.8 q0, [%[row]], #16\n\t"
                                                                  "vldrb.8 q2, [%[w]], #16\n\t"
                                                                  "vmladava.s8 r0, q0, q2\n\t"
                                                                  "vldrb.8 q3, [%[w]], #16\n\t"
                                                                  "vmladava.s8 r2, q0, q3\n\t"
                                                                  "vldrb.8 q4, [%[w]], #16\n\t"
                                                                  "vmladava.s8 r4, q0, q4\n\t"
                                                                  "vldrb.8 q5, [%[w]], #16\n\t"
                                                                  "vmladava.s8 r6, q0, q5\n\t"
                                                                  "le lr, 1b\n"
                                                                  "2:\n\t"
                                                                  "vmov %e[x], r0, r2\n\t"
                                                                  "vmov %f[x], r4, r6"
                     : [row] "+r"(row), [w] "+r"(weights), [x] "=&w"(x)
                     : [whole] "r"(whole), [head] "r"(head)
                     : "r0", "r2", "r4", "r6", "lr", "q0", "q2", "q3", "q4", "q5", "cc", "memory");
    *sums = x;
    return weights;
}

#else

static inline const int8_t *ek_multiply_4x1(const int8_t *weights, const int8_t *row, int32_t depth,
                                            int32x4_t *sums) {
    const int32_t whole = ek_whole_vectors(depth);
    int32_t places = depth - 16 * whole;
    *sums = vdupq_n_s32(0);
    for (int32_t vector = 0; vector <= whole; vector++) {
        const mve_pred16_t used = ek_bytes(places);
        const int8x16_t x = vldrbq_z_s8(row, used);
        for (int32_t channel = 0; channel < 4; channel++) {
            sums->lane[channel] = vmladavaq_s8(sums->lane[channel], x, vldrbq_z_s8(weights, used));
            weights += places;
        }
        row += places;
        places = 16;
    }
    return weights;
}

static inline const int8_t *ek_multiply_4x2(const int8_t *weights, const int8_t *first,
                                            const int8_t *second, int32_t depth, int32x4_t *a,
                                            int32x4_t *b) {
    ek_multiply_4x1(weights, first, depth, a);
    return ek_multiply_4x1(weights, second, depth, b);
}

#endif

/* x / 2**-shift with halves away from zero; shifts are not positive. */
static inline int32x4_t ek_rounding_shift4(int32x4_t x, int32x4_t shift) {
    const int32x4_t fix = vshrq_n_s32(vandq_s32(x, shift), 31);
    return vrshlq_s32(vaddq_s32(x, fix), shift);
}

/* Four sums with a factor each; where shifts are all negative, every sign rounds the same way. */
static inline int32x4_t ek_rescale4(int32x4_t sums, int32x4_t multiplier, int32x4_t shift,
                                    int32_t is_simple) {
    if (is_simple) {
        const int32x4_t high = vqrdmulhq_s32(sums, multiplier);
        return vrshlq_s32(vaddq_s32(high, vshrq_n_s32(high, 31)), shift);
    }
    const int32x4_t zero = vdupq_n_s32(0);
    const int32x4_t shifted = vshlq_s32(sums, vmaxq_s32(shift, zero));
    return ek_rounding_shift4(vqrdmulhq_s32(shifted, multiplier), vminq_s32(shift, zero));
}

/* Four rescaled sums as they are stored. */
static inline int32x4_t ek_stored4(int32x4_t x, const ek_output_stage *stage) {
    const int32x4_t moved = vaddq_n_s32(x, stage->zero_point);
    return vminq_s32(vmaxq_s32(moved, vdupq_n_s32(stage->low)), vdupq_n_s32(stage->high));
}

#endif
