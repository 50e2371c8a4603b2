/* Rotary position embedding (Su et al., "RoFormer", arXiv 2104.09864), with linear interpolation,
 * YaRN (Peng et al., arXiv 2309.00071) as ggml computes it, and the divisors of Llama 3.1.
 */
#include <math.h>

#include "engine.h"
#include "scalar_math.h"

static const double TURN = 6.28318530717958647693;
/* Rotations over the trained context above which YaRN does not interpolate, and below which it
 * does fully: defaults of the paper, section 3.2. */
static const double YARN_FAST = 32.0;
static const double YARN_SLOW = 1.0;

/* Index of the pair that makes `rotations` turns over the trained context. */
static double yarn_pair(const ek_rope *rope, double rotations) {
    return rope->width * log(rope->trained_context / (rotations * TURN)) / (2.0 * log(rope->base));
}

/* Share of the interpolated frequency, 0 .. 1. */
static double yarn_share(const ek_rope *rope, int32_t pair) {
    double low = fmax(floor(yarn_pair(rope, YARN_FAST)), 0.0);
    double high = fmin(ceil(yarn_pair(rope, YARN_SLOW)), rope->width - 1.0);
    double share = (pair - low) / fmax(high - low, 0.001);
    return fmin(fmax(share, 0.0), 1.0);
}

void ek_rope_prepare(ek_llm_engine *engine) {
    const ek_rope *rope = &engine->model->rope;
    const float *divisors = ek_weights_vector(&engine->weights, &rope->divisors);
    for (int32_t i = 0; i < rope->width / 2; i++) {
        double frequency = pow(rope->base, -2.0 * i / rope->width);
        if (divisors != NULL) {
            frequency /= (double)divisors[i];
        }
        double share = rope->yarn ? yarn_share(rope, i) : 1.0;
        engine->frequencies[i] = frequency * (rope->position_scale * share + (1.0 - share));
    }
    engine->rope_magnitude =
        rope->yarn ? (float)(1.0 + 0.1 * log(1.0 / rope->position_scale)) : 1.0f;
}

void ek_rope_angles(const ek_llm_engine *engine, int32_t position, int32_t tokens, float *angles) {
    int32_t pairs = engine->model->rope.width / 2;
    for (int32_t t = 0; t < tokens; t++) {
        for (int32_t i = 0; i < pairs; i++) {
            double sine;
            double cosine;
            ek_sine_cosine((double)(position + t) * engine->frequencies[i], &sine, &cosine);
            float *pair = angles + ((int64_t)t * pairs + i) * 2;
            pair[0] = (float)cosine * engine->rope_magnitude;
            pair[1] = (float)sine * engine->rope_magnitude;
        }
    }
}

void ek_rope_rotate(const ek_rope *rope, const float *angles, float *heads, int32_t head_count,
                    int32_t head_width) {
    int32_t pairs = rope->width / 2;
    int32_t step = rope->pairs == EK_ROPE_NEIGHBOURS ? 2 : 1;
    int32_t other = rope->pairs == EK_ROPE_NEIGHBOURS ? 1 : pairs;
    for (int32_t h = 0; h < head_count; h++) {
        float *head = heads + (int64_t)h * head_width;
        for (int32_t i = 0; i < pairs; i++) {
            float first = head[i * step];
            float second = head[i * step + other];
            head[i * step] = first * angles[i * 2] - second * angles[i * 2 + 1];
            head[i * step + other] = first * angles[i * 2 + 1] + second * angles[i * 2];
        }
    }
}
