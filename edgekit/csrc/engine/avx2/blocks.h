/* Pieces that the AVX2 kernels share. */
#ifndef EDGEKIT_ENGINE_AVX2_BLOCKS_H
#define EDGEKIT_ENGINE_AVX2_BLOCKS_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "../kernels.h"
#include "functions.h"

#define EK_INLINE static inline __attribute__((always_inline))

EK_INLINE __m256i ek_load(const void *bytes) { return _mm256_loadu_si256((const __m256i *)bytes); }

/* The compiler must have this value in a register here: it would otherwise add whole numbers in
 * another order, which needs more registers than there are. */
#define EK_KEEP(vector) __asm__("" : "+x"(vector))

/* Eight half floats. */
EK_INLINE __m256 ek_load_halves(const void *halves) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)halves));
}

/* Four bytes in every lane. */
EK_INLINE __m256i ek_broadcast_word(const void *bytes) {
    int32_t word;
    memcpy(&word, bytes, sizeof word);
    return _mm256_set1_epi32(word);
}

/* Sum of eight lanes in the order of ek_sum8. */
EK_INLINE float ek_sum_lanes(__m256 lanes) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#endif
