/* One query and 32 positions; see ../attend.c for the definition. */
#include <math.h>

#include "exp.h"

enum { GROUPS = EK_TILE_POSITIONS / 8, COLUMNS = 8 };

EK_INLINE void score(const float *query, const ek_tile *tile, __m256 scores[GROUPS]) {
    int64_t width = tile->head_width;
    for (int g = 0; g < GROUPS; g++) {
        scores[g] = _mm256_setzero_ps();
    }
    for (int64_t i = 0; i < width; i++) {
        __m256 value = _mm256_broadcast_ss(query + i);
        for (int g = 0; g < GROUPS; g++) {
            __m256 keys = _mm256_loadu_ps(tile->keys + (g * width + i) * 8);
            scores[g] = _mm256_fmadd_ps(value, keys, scores[g]);
        }
    }
}

EK_INLINE float largest(const __m256 scores[GROUPS], float before) {
    __m256 lanes =
        _mm256_max_ps(_mm256_max_ps(scores[0], scores[1]), _mm256_max_ps(scores[2], scores[3]));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    float found = _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
    return found > before ? found : before;
}

/* `count` vectors of eight columns from column `first` on. */
EK_INLINE void mix(const float *shares, const ek_tile *tile, float kept, int64_t first, int count,
                   float *out) {
    __m256 sums[COLUMNS];
    for (int c = 0; c < count; c++) {
        sums[c] = _mm256_mul_ps(_mm256_loadu_ps(out + first + c * 8), _mm256_set1_ps(kept));
    }
    for (int p = 0; p < tile->valid; p++) {
        __m256 share = _mm256_broadcast_ss(shares + p);
        const float *values = tile->values + (int64_t)p * tile->head_width + first;
        for (int c = 0; c < count; c++) {
            sums[c] = _mm256_fmadd_ps(share, _mm256_loadu_ps(values + c * 8), sums[c]);
        }
    }
    for (int c = 0; c < count; c++) {
        _mm256_storeu_ps(out + first + c * 8, sums[c]);
    }
}

void ek_avx2_attend(const float *query, const ek_tile *tile, ek_softmax *state, float *out) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256 scores[GROUPS];
    __m256 masks[GROUPS];
    float shares[EK_TILE_POSITIONS];
    score(query, tile, scores);
    for (int g = 0; g < GROUPS; g++) {
        __m256i left = _mm256_set1_epi32(tile->valid - g * 8);
        masks[g] = _mm256_castsi256_ps(_mm256_cmpgt_epi32(left, lane));
        scores[g] = _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), scores[g], masks[g]);
    }
    float maximum = largest(scores, state->maximum);
    float kept = ek_exp(state->maximum - maximum);
    state->maximum = maximum;
    __m256 sums = _mm256_mul_ps(_mm256_loadu_ps(state->sums), _mm256_set1_ps(kept));
    for (int g = 0; g < GROUPS; g++) {
        __m256 share = ek_exp_lanes(_mm256_sub_ps(scores[g], _mm256_set1_ps(maximum)));
        share = _mm256_and_ps(share, masks[g]);
        sums = _mm256_add_ps(sums, share);
        _mm256_storeu_ps(shares + g * 8, share);
    }
    _mm256_storeu_ps(state->sums, sums);
    int64_t i = 0;
    for (; i + COLUMNS * 8 <= tile->head_width; i += COLUMNS * 8) {
        mix(shares, tile, kept, i, COLUMNS, out);
    }
    for (; i + 8 <= tile->head_width; i += 8) {
        mix(shares, tile, kept, i, 1, out);
    }
    for (; i < tile->head_width; i++) {
        float sum = out[i] * kept;
        for (int p = 0; p < tile->valid; p++) {
            sum = fmaf(shares[p], tile->values[(int64_t)p * tile->head_width + i], sum);
        }
        out[i] = sum;
    }
}
