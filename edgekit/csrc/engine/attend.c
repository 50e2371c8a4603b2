/* One query and 32 positions: the definition that the variants are compared with.
 *
 * Softmax in one pass with a running maximum (Milakov and Gimelshein, "Online normalizer
 * calculation for softmax", arXiv 1805.02867). Tiles lie at multiples of 32 positions, so that the
 * order of all sums depends on the query's position alone.
 */
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "scalar_math.h"

static void score(const float *query, const ek_tile *tile, float scores[EK_TILE_POSITIONS]) {
    for (int p = 0; p < EK_TILE_POSITIONS; p++) {
        const float *keys = tile->keys + (int64_t)(p / 8) * tile->head_width * 8 + p % 8;
        float sum = 0.0f;
        for (int32_t i = 0; i < tile->head_width; i++) {
            sum = fmaf(query[i], keys[(int64_t)i * 8], sum);
        }
        scores[p] = sum;
    }
}

void ek_attend(const float *query, const ek_tile *tile, ek_softmax *state, float *out) {
    float scores[EK_TILE_POSITIONS];
    score(query, tile, scores);
    float maximum = state->maximum;
    for (int p = 0; p < tile->valid; p++) {
        maximum = scores[p] > maximum ? scores[p] : maximum;
    }
    float kept = ek_exp(state->maximum - maximum);
    state->maximum = maximum;
    for (int p = 0; p < EK_TILE_POSITIONS; p++) {
        scores[p] = p < tile->valid ? ek_exp(scores[p] - maximum) : 0.0f;
    }
    for (int lane = 0; lane < 8; lane++) {
        float sum = state->sums[lane] * kept;
        for (int p = lane; p < EK_TILE_POSITIONS; p += 8) {
            sum += scores[p];
        }
        state->sums[lane] = sum;
    }
    for (int32_t i = 0; i < tile->head_width; i++) {
        float sum = out[i] * kept;
        for (int p = 0; p < tile->valid; p++) {
            sum = fmaf(scores[p], tile->values[(int64_t)p * tile->head_width + i], sum);
        }
        out[i] = sum;
    }
}
