#include <math.h>

#include "exp.h"

EK_INLINE __m256 magnitude(__m256 x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }

EK_INLINE float largest_lane(__m256 lanes) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* Rounds 32 values to int8. */
EK_INLINE __m256i round_32(const float *x, __m256 inverse) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse));
    __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8), inverse));
    __m256i c = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16), inverse));
    __m256i d = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 24), inverse));
    __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    return _mm256_permutevar8x32_epi32(packed, order);
}

EK_INLINE float limit_of(const float *x, int32_t count) {
    __m256 lanes = _mm256_setzero_ps();
    for (int32_t i = 0; i < count; i += 8) {
        lanes = _mm256_max_ps(lanes, magnitude(_mm256_loadu_ps(x + i)));
    }
    return largest_lane(lanes);
}

/* Eight sums of four neighbours each. */
EK_INLINE __m256i sums_of_four(__m256i values) {
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), values);
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

void ek_avx2_quantize_32(const float *x, int32_t columns, int8_t *values, float *scales,
                         int32_t *sums) {
    for (int32_t b = 0; b < columns / 32; b++) {
        float limit = limit_of(x + b * 32, 32);
        float inverse = limit > 0.0f ? 127.0f / limit : 0.0f;
        __m256i rounded = round_32(x + b * 32, _mm256_set1_ps(inverse));
        _mm256_storeu_si256((__m256i *)(void *)(values + b * 32), rounded);
        scales[b] = limit / 127.0f;
        __m256i fours = sums_of_four(rounded);
        __m128i four =
            _mm_add_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1));
        __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
        sums[b] = 8 * _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
    }
}

void ek_avx2_quantize_256(const float *x, int32_t columns, int8_t *values, float *scales,
                          int16_t *sums) {
    for (int32_t b = 0; b < columns / 256; b++) {
        float limit = limit_of(x + b * 256, 256);
        float inverse = limit > 0.0f ? 127.0f / limit : 0.0f;
        scales[b] = limit / 127.0f;
        for (int32_t i = b * 256; i < b * 256 + 256; i += 32) {
            int32_t fours[8];
            __m256i rounded = round_32(x + i, _mm256_set1_ps(inverse));
            _mm256_storeu_si256((__m256i *)(void *)(values + i), rounded);
            _mm256_storeu_si256((__m256i *)(void *)fours, sums_of_four(rounded));
            sums[i / 16] = (int16_t)(fours[0] + fours[1] + fours[2] + fours[3]);
            sums[i / 16 + 1] = (int16_t)(fours[4] + fours[5] + fours[6] + fours[7]);
        }
    }
}

void ek_avx2_rms_norm(const float *x, const float *weight, int32_t count, float epsilon,
                      float *out) {
    float lanes[8];
    __m256 squares = _mm256_setzero_ps();
    int32_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256 values = _mm256_loadu_ps(x + i);
        squares = _mm256_fmadd_ps(values, values, squares);
    }
    _mm256_storeu_ps(lanes, squares);
    for (; i < count; i++) {
        lanes[i % 8] = fmaf(x[i], x[i], lanes[i % 8]);
    }
    float scale = 1.0f / sqrtf(ek_sum8(lanes) / (float)count + epsilon);
    for (i = 0; i + 8 <= count; i += 8) {
        __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(scale));
        _mm256_storeu_ps(out + i, _mm256_mul_ps(scaled, _mm256_loadu_ps(weight + i)));
    }
    for (; i < count; i++) {
        out[i] = x[i] * scale * weight[i];
    }
}

void ek_avx2_silu_gate(float *gate, const float *up, int32_t count) {
    int32_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256 x = _mm256_loadu_ps(gate + i);
        __m256 decay = ek_exp_lanes(_mm256_xor_ps(x, _mm256_set1_ps(-0.0f)));
        __m256 silu = _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), decay));
        _mm256_storeu_ps(gate + i, _mm256_mul_ps(silu, _mm256_loadu_ps(up + i)));
    }
    for (; i < count; i++) {
        gate[i] = ek_silu(gate[i]) * up[i];
    }
}

void ek_avx2_half_to_float(const uint16_t *halves, int64_t count, float *out) {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        _mm256_storeu_ps(out + i, ek_load_halves(halves + i));
    }
    for (; i < count; i++) {
        out[i] = ek_half_to_float(halves[i]);
    }
}
