/* Helium: the intrinsics of arm_mve.h, or those that the kernels use written out in C, for tests
 * and applications on other computers. */
#ifndef EDGEKIT_KERNELS_HELIUM_H
#define EDGEKIT_KERNELS_HELIUM_H

#include <stdint.h>

/* For functions that are fast only with their arguments known. */
#define EK_INLINE static inline __attribute__((always_inline))

/* For functions that leave the compiler few registers. */
#define EK_APART static __attribute__((noinline))

#if defined(__ARM_FEATURE_MVE)

#include <arm_mve.h>

/* Four scalars as a vector: two instructions, where compilers use four. */
static inline int32x4_t ek_combine(int32_t a, int32_t b, int32_t c, int32_t d) {
    int32x4_t result;
    __asm__("vmov %e0, %1, %2\n\t"
            "vmov %f0, %3, %4"
            : "=&w"(result)
            : "r"(a), "r"(b), "r"(c), "r"(d));
    return result;
}

/* One byte on within every four, whose first becomes zero. */
static inline int8x16_t ek_move_down(int8x16_t x) {
    return vreinterpretq_s8_s32(vshlq_n_s32(vreinterpretq_s32_s8(x), 8));
}

/* The builtins of <string.h> call functions; these loops end by themselves. */
static inline void ek_copy_bytes(int8_t *to, const int8_t *from, int32_t count) {
    __asm__ volatile("wlstp.8 lr, %[count], 2f\n"
                     "1:\n\t"
                     "vldrb.8 q0, [%[from]], #16\n\t"
                     "vstrb.8 q0, [%[to]], #16\n\t"
                     "letp lr, 1b\n"
                     "2:"
                     : [to] "+r"(to), [from] "+r"(from)
                     : [count] "r"(count)
                     : "q0", "lr", "memory", "cc");
}

static inline void ek_set_bytes(int8_t *to, int32_t value, int32_t count) {
    __asm__ volatile("vdup.8 q0, %[value]\n\t"
                     "wlstp.8 lr, %[count], 2f\n"
                     "1:\n\t"
                     "vstrb.8 q0, [%[to]], #16\n\t"
                     "letp lr, 1b\n"
                     "2:"
                     : [to] "+r"(to)
                     : [count] "r"(count), [value] "r"(value)
                     : "q0", "lr", "memory", "cc");
}

/* Every step-th byte, `count` of them; seven steps fit 16 bits. */
static inline void ek_copy_strided(int8_t *to, const int8_t *from, int32_t count, int32_t step) {
    const uint16x8_t at = vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)step);
    __asm__ volatile("wlstp.16 lr, %[count], 2f\n"
                     "1:\n\t"
                     "vldrb.s16 q0, [%[from], %q[at]]\n\t"
                     "vstrb.16 q0, [%[to]], #8\n\t"
                     "add %[from], %[next]\n\t"
                     "letp lr, 1b\n"
                     "2:"
                     : [to] "+r"(to), [from] "+r"(from)
                     : [count] "r"(count), [next] "r"(8 * step), [at] "w"(at)
                     : "q0", "lr", "memory", "cc");
}

#else

#include <string.h>

#include "helium_in_c.h"

static inline int32x4_t ek_combine(int32_t a, int32_t b, int32_t c, int32_t d) {
    return (int32x4_t){{a, b, c, d}};
}

static inline int8x16_t ek_move_down(int8x16_t x) {
    EK_VECTOR(int8x16_t, 16, (i & 3) ? x.lane[i - 1] : (int8_t)0);
}

static inline void ek_copy_bytes(int8_t *to, const int8_t *from, int32_t count) {
    memcpy(to, from, (size_t)count);
}

static inline void ek_copy_strided(int8_t *to, const int8_t *from, int32_t count, int32_t step) {
    for (int32_t i = 0; i < count; i++) {
        to[i] = from[i * step];
    }
}

static inline void ek_set_bytes(int8_t *to, int32_t value, int32_t count) {
    memset(to, value, (size_t)count);
}

#endif

/* The first `count` of four lanes, and of sixteen. */
static inline mve_pred16_t ek_words(int32_t count) { return vctp32q((uint32_t)count); }
static inline mve_pred16_t ek_bytes(int32_t count) { return vctp8q((uint32_t)count); }

/* 0, step, 2 step, 3 step. */
static inline uint32x4_t ek_steps(int32_t step) {
    return vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)step);
}

#endif
