/* Helium: the intrinsics of arm_mve.h, or those that the kernels use written out in C, for tests
 * and applications on other computers. */
#ifndef EDGEKIT_KERNELS_HELIUM_H
#define EDGEKIT_KERNELS_HELIUM_H

#include <stdint.h>

#include "inlined.h"

#if defined(__ARM_FEATURE_MVE)

#include <arm_mve.h>

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

#else

#include <string.h>

#include "helium_in_c.h"

static inline void ek_copy_bytes(int8_t *to, const int8_t *from, int32_t count) {
    memcpy(to, from, (size_t)count);
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
