/* Vectors of sixteen bytes and the intrinsics of arm_mve.h that the kernels use, in C.
 *
 * A predicate has one bit for each byte of a vector. Lanes that it leaves out are read as zeros and
 * not written. */
#ifndef EDGEKIT_KERNELS_HELIUM_IN_C_H
#define EDGEKIT_KERNELS_HELIUM_IN_C_H

#include <stdint.h>
#include <string.h>

#include "fixed_point.h"

typedef struct int8x16_t {
    int8_t lane[16];
} int8x16_t;
typedef struct int16x8_t {
    int16_t lane[8];
} int16x8_t;
typedef struct int32x4_t {
    int32_t lane[4];
} int32x4_t;
typedef struct uint32x4_t {
    uint32_t lane[4];
} uint32x4_t;
typedef uint32_t mve_pred16_t;

#define EK_EACH(COUNT, STATEMENT)                                                                  \
    do {                                                                                           \
        for (uint32_t i = 0; i < (COUNT); i++) {                                                   \
            STATEMENT;                                                                             \
        }                                                                                          \
    } while (0)
#define EK_VECTOR(TYPE, COUNT, VALUE)                                                              \
    TYPE result;                                                                                   \
    EK_EACH(COUNT, result.lane[i] = (VALUE));                                                      \
    return result

static inline mve_pred16_t vctp8q(uint32_t count) {
    return count < 16 ? (UINT32_C(1) << count) - 1 : 0xFFFFu;
}
static inline mve_pred16_t vctp32q(uint32_t count) { return vctp8q(count < 4 ? 4 * count : 16); }

/* Loads. */
static inline int8x16_t vldrbq_s8(const int8_t *from) { EK_VECTOR(int8x16_t, 16, from[i]); }
static inline int8x16_t vldrbq_z_s8(const int8_t *from, mve_pred16_t p) {
    EK_VECTOR(int8x16_t, 16, (p >> i & 1) ? from[i] : (int8_t)0);
}
static inline int32x4_t vldrbq_z_s32(const int8_t *from, mve_pred16_t p) {
    EK_VECTOR(int32x4_t, 4, (p >> (4 * i) & 1) ? from[i] : 0);
}
static inline int32x4_t vldrwq_s32(const int32_t *from) { EK_VECTOR(int32x4_t, 4, from[i]); }
static inline int32x4_t vldrwq_z_s32(const int32_t *from, mve_pred16_t p) {
    EK_VECTOR(int32x4_t, 4, (p >> (4 * i) & 1) ? from[i] : 0);
}
static inline int32x4_t vldrbq_gather_offset_z_s32(const int8_t *from, uint32x4_t at,
                                                   mve_pred16_t p) {
    EK_VECTOR(int32x4_t, 4, (p >> (4 * i) & 1) ? from[at.lane[i]] : 0);
}
static inline int32x4_t vldrwq_gather_shifted_offset_z_s32(const int32_t *from, uint32x4_t at,
                                                           mve_pred16_t p) {
    EK_VECTOR(int32x4_t, 4, (p >> (4 * i) & 1) ? from[at.lane[i]] : 0);
}

/* Stores. */
static inline void vstrbq_s8(int8_t *to, int8x16_t x) { EK_EACH(16, to[i] = x.lane[i]); }
static inline void vstrbq_p_s8(int8_t *to, int8x16_t x, mve_pred16_t p) {
    EK_EACH(16, if (p >> i & 1) to[i] = x.lane[i]);
}
static inline void vstrbq_s32(int8_t *to, int32x4_t x) { EK_EACH(4, to[i] = (int8_t)x.lane[i]); }
static inline void vstrbq_p_s32(int8_t *to, int32x4_t x, mve_pred16_t p) {
    EK_EACH(4, if (p >> (4 * i) & 1) to[i] = (int8_t)x.lane[i]);
}
static inline void vstrwq_s32(int32_t *to, int32x4_t x) { EK_EACH(4, to[i] = x.lane[i]); }

/* Lanes from scalars. */
static inline int8x16_t vdupq_n_s8(int8_t x) { EK_VECTOR(int8x16_t, 16, x); }
static inline int16x8_t vdupq_n_s16(int16_t x) { EK_VECTOR(int16x8_t, 8, x); }
static inline int32x4_t vdupq_n_s32(int32_t x) { EK_VECTOR(int32x4_t, 4, x); }
static inline uint32x4_t vidupq_n_u32(uint32_t first, uint32_t step) {
    EK_VECTOR(uint32x4_t, 4, first + i * step);
}
static inline uint32x4_t vmulq_n_u32(uint32x4_t x, uint32_t y) {
    EK_VECTOR(uint32x4_t, 4, x.lane[i] * y);
}

/* Arithmetic in 8 bits. */
static inline int8x16_t vmaxq_s8(int8x16_t x, int8x16_t y) {
    EK_VECTOR(int8x16_t, 16, x.lane[i] > y.lane[i] ? x.lane[i] : y.lane[i]);
}
static inline int8x16_t vminq_s8(int8x16_t x, int8x16_t y) {
    EK_VECTOR(int8x16_t, 16, x.lane[i] < y.lane[i] ? x.lane[i] : y.lane[i]);
}
static inline int32_t vmladavaq_s8(int32_t sum, int8x16_t x, int8x16_t y) {
    EK_EACH(16, sum = ek_wrapping_add(sum, x.lane[i] * y.lane[i]));
    return sum;
}

static inline int8_t vminvq_s8(int8_t lowest, int8x16_t x) {
    EK_EACH(16, lowest = x.lane[i] < lowest ? x.lane[i] : lowest);
    return lowest;
}

/* Even (b) or odd (t) lanes, widened, and the way back with saturation. */
static inline int16x8_t vmullbq_int_s8(int8x16_t x, int8x16_t y) {
    EK_VECTOR(int16x8_t, 8, (int16_t)(x.lane[2 * i] * y.lane[2 * i]));
}
static inline int16x8_t vmulltq_int_s8(int8x16_t x, int8x16_t y) {
    EK_VECTOR(int16x8_t, 8, (int16_t)(x.lane[2 * i + 1] * y.lane[2 * i + 1]));
}
static inline int32x4_t vmovlbq_s16(int16x8_t x) { EK_VECTOR(int32x4_t, 4, x.lane[2 * i]); }
static inline int32x4_t vmovltq_s16(int16x8_t x) { EK_VECTOR(int32x4_t, 4, x.lane[2 * i + 1]); }
static inline int16x8_t vqmovnbq_s32(int16x8_t to, int32x4_t x) {
    EK_EACH(4, to.lane[2 * i] = ek_saturate_s16(x.lane[i]));
    return to;
}
static inline int16x8_t vqmovntq_s32(int16x8_t to, int32x4_t x) {
    EK_EACH(4, to.lane[2 * i + 1] = ek_saturate_s16(x.lane[i]));
    return to;
}
static inline int8x16_t vqmovnbq_s16(int8x16_t to, int16x8_t x) {
    EK_EACH(8, to.lane[2 * i] = ek_saturate_s8(x.lane[i]));
    return to;
}
static inline int8x16_t vqmovntq_s16(int8x16_t to, int16x8_t x) {
    EK_EACH(8, to.lane[2 * i + 1] = ek_saturate_s8(x.lane[i]));
    return to;
}
static inline int16x8_t vaddq_s16(int16x8_t x, int16x8_t y) {
    EK_VECTOR(int16x8_t, 8, (int16_t)(uint16_t)(x.lane[i] + y.lane[i]));
}
static inline int16x8_t vqaddq_n_s16(int16x8_t x, int16_t y) {
    EK_VECTOR(int16x8_t, 8, ek_saturate_s16(x.lane[i] + y));
}

/* Arithmetic in 32 bits, where what overflows is lost. */
static inline int32x4_t vaddq_s32(int32x4_t x, int32x4_t y) {
    EK_VECTOR(int32x4_t, 4, ek_wrapping_add(x.lane[i], y.lane[i]));
}
static inline int32x4_t vaddq_n_s32(int32x4_t x, int32_t y) { return vaddq_s32(x, vdupq_n_s32(y)); }
static inline int32x4_t vsubq_s32(int32x4_t x, int32x4_t y) {
    EK_VECTOR(int32x4_t, 4, (int32_t)((uint32_t)x.lane[i] - (uint32_t)y.lane[i]));
}
static inline int32x4_t vmulq_s32(int32x4_t x, int32x4_t y) {
    EK_VECTOR(int32x4_t, 4, (int32_t)((uint32_t)x.lane[i] * (uint32_t)y.lane[i]));
}
static inline int32x4_t vandq_s32(int32x4_t x, int32x4_t y) {
    EK_VECTOR(int32x4_t, 4, x.lane[i] & y.lane[i]);
}
static inline int32x4_t vmaxq_s32(int32x4_t x, int32x4_t y) {
    EK_VECTOR(int32x4_t, 4, x.lane[i] > y.lane[i] ? x.lane[i] : y.lane[i]);
}
static inline int32x4_t vminq_s32(int32x4_t x, int32x4_t y) {
    EK_VECTOR(int32x4_t, 4, x.lane[i] < y.lane[i] ? x.lane[i] : y.lane[i]);
}
static inline int32x4_t vqrdmulhq_s32(int32x4_t x, int32x4_t y) {
    EK_VECTOR(int32x4_t, 4, ek_high_mul(x.lane[i], y.lane[i]));
}
static inline int32x4_t vqrdmulhq_n_s32(int32x4_t x, int32_t y) {
    return vqrdmulhq_s32(x, vdupq_n_s32(y));
}
/* To the left, for both signs of the shift. */
static inline int32x4_t vshlq_s32(int32x4_t x, int32x4_t y) {
    EK_VECTOR(int32x4_t, 4,
              y.lane[i] < 0 ? x.lane[i] >> -y.lane[i] : ek_shift_left(x.lane[i], y.lane[i]));
}
static inline int32x4_t vshlq_r_s32(int32x4_t x, int32_t y) { return vshlq_s32(x, vdupq_n_s32(y)); }
static inline int32x4_t vshrq_n_s32(int32x4_t x, int32_t y) {
    EK_VECTOR(int32x4_t, 4, x.lane[i] >> y);
}
static inline int32x4_t vrshlq_s32(int32x4_t x, int32x4_t y) {
    EK_VECTOR(int32x4_t, 4,
              y.lane[i] < 0
                  ? (int32_t)((x.lane[i] + (INT64_C(1) << (-y.lane[i] - 1))) >> -y.lane[i])
                  : ek_shift_left(x.lane[i], y.lane[i]));
}

#endif
