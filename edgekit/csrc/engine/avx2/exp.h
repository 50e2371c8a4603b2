/* ek_exp of eight values: the same operations in the same order. */
#ifndef EDGEKIT_ENGINE_AVX2_EXP_H
#define EDGEKIT_ENGINE_AVX2_EXP_H

#include "../scalar_math.h"
#include "blocks.h"

EK_INLINE __m256 ek_exp_lanes(__m256 x) {
    x = _mm256_max_ps(_mm256_set1_ps(EK_EXP_LOW), x);
    x = _mm256_min_ps(_mm256_set1_ps(EK_EXP_HIGH), x);
    const __m256 magic = _mm256_set1_ps(EK_ROUND_MAGIC);
    __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(EK_EXP_LOG2E), magic);
    __m256i power =
        _mm256_sub_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(EK_ROUND_MAGIC_BITS));
    __m256 whole = _mm256_sub_ps(shifted, magic);
    __m256 rest = _mm256_fmadd_ps(whole, _mm256_set1_ps(-EK_EXP_LN2_HIGH), x);
    rest = _mm256_fmadd_ps(whole, _mm256_set1_ps(-EK_EXP_LN2_LOW), rest);
    __m256 sum = _mm256_fmadd_ps(_mm256_set1_ps(EK_EXP_P0), rest, _mm256_set1_ps(EK_EXP_P1));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(EK_EXP_P2));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(EK_EXP_P3));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(EK_EXP_P4));
    sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(EK_EXP_P5));
    sum = _mm256_fmadd_ps(sum, _mm256_mul_ps(rest, rest), rest);
    sum = _mm256_add_ps(sum, _mm256_set1_ps(1.0f));
    __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(power, _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(sum, _mm256_castsi256_ps(bits));
}

#endif
