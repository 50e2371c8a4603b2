#include <string.h>

#include "engine.h"
#include "scalar_math.h"

/* relu(x)^2 (So et al., "Primer", arXiv 2109.08668, section 3). */
static void squared_relu(float *values, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        float kept = values[i] > 0.0f ? values[i] : 0.0f;
        values[i] = kept * kept;
    }
}

static void activate_token(void *context, int32_t token, int32_t thread) {
    const ek_llm_engine *engine = context;
    const ek_activations *a = &engine->activations;
    int32_t width = engine->model->facts.feed_forward_width;
    int64_t at = (int64_t)token * width;
    (void)thread;
    if (engine->model->feed_forward == EK_FEED_FORWARD_SILU_GATED) {
        engine->kernels->silu_gate(a->gate + at, a->up + at, width);
    } else {
        squared_relu(a->up + at, width);
    }
}

/* From `input` to `projected`. */
static ek_status run_expert(ek_llm_engine *engine, const ek_expert *expert, const float *input,
                            int32_t tokens) {
    const ek_llm_facts *facts = &engine->model->facts;
    const ek_activations *a = &engine->activations;
    int gated = engine->model->feed_forward == EK_FEED_FORWARD_SILU_GATED;
    ek_set_input(engine, input, facts->width, tokens);
    ek_status status = gated ? ek_matmul(engine, &expert->gate, a->gate) : EK_STATUS_OK;
    status = status == EK_STATUS_OK ? ek_matmul(engine, &expert->up, a->up) : status;
    if (status != EK_STATUS_OK) {
        return status;
    }
    ek_pool_run(engine->pool, activate_token, engine, tokens);
    ek_set_input(engine, gated ? a->gate : a->up, facts->feed_forward_width, tokens);
    return ek_matmul(engine, &expert->down, a->projected);
}

/* The most likely experts of one token, most likely first, the lower one of equals; their
 * probabilities are scaled to sum to 1. */
static void choose_experts(const ek_llm_facts *facts, float *probabilities, int32_t *chosen,
                           float *weights) {
    float maximum = probabilities[0];
    for (int32_t e = 1; e < facts->experts; e++) {
        maximum = probabilities[e] > maximum ? probabilities[e] : maximum;
    }
    float sum = 0.0f;
    for (int32_t e = 0; e < facts->experts; e++) {
        probabilities[e] = ek_exp(probabilities[e] - maximum);
        sum += probabilities[e];
    }
    float kept = 0.0f;
    for (int32_t k = 0; k < facts->experts_used; k++) {
        int32_t best = 0;
        for (int32_t e = 1; e < facts->experts; e++) {
            best = probabilities[e] > probabilities[best] ? e : best;
        }
        chosen[k] = best;
        weights[k] = probabilities[best] / sum;
        kept += weights[k];
        probabilities[best] = -1.0f;
    }
    for (int32_t k = 0; k < facts->experts_used; k++) {
        weights[k] /= kept;
    }
}

/* Tells storage which experts the tokens of this batch need. */
static void route(ek_llm_engine *engine, const ek_layer *layer, int32_t tokens) {
    const ek_llm_facts *facts = &engine->model->facts;
    const ek_activations *a = &engine->activations;
    memset(a->needed, 0, (size_t)facts->experts);
    for (int64_t i = 0; i < (int64_t)tokens * facts->experts_used; i++) {
        a->needed[a->chosen[i]] = 1;
    }
    ek_weights_route(&engine->weights, (int32_t)(layer - engine->model->layers), a->needed);
}

/* Runs one expert for the tokens that chose it, side by side. */
static ek_status run_for_choosers(ek_llm_engine *engine, const ek_layer *layer, int32_t expert,
                                  int32_t tokens) {
    const ek_llm_facts *facts = &engine->model->facts;
    const ek_activations *a = &engine->activations;
    int64_t width = facts->width;
    int64_t choices = (int64_t)tokens * facts->experts_used;
    int32_t count = 0;
    for (int64_t i = 0; i < choices; i++) {
        if (a->chosen[i] == expert) {
            memcpy(a->gathered + count * width, a->normed + i / facts->experts_used * width,
                   (size_t)width * sizeof(float));
            count++;
        }
    }
    if (count == 0) {
        return EK_STATUS_OK;
    }
    ek_status status = run_expert(engine, &layer->experts[expert], a->gathered, count);
    count = 0;
    for (int64_t i = 0; i < choices && status == EK_STATUS_OK; i++) {
        if (a->chosen[i] == expert) {
            memcpy(a->expert_outputs + i * width, a->projected + count * width,
                   (size_t)width * sizeof(float));
            count++;
        }
    }
    return status;
}

static ek_status run_experts(ek_llm_engine *engine, const ek_layer *layer, int32_t tokens) {
    const ek_llm_facts *facts = &engine->model->facts;
    const ek_activations *a = &engine->activations;
    int32_t used = facts->experts_used;
    ek_set_input(engine, a->normed, facts->width, tokens);
    ek_status status = ek_matmul(engine, &layer->router, a->routing);
    for (int32_t t = 0; t < tokens && status == EK_STATUS_OK; t++) {
        choose_experts(facts, a->routing + (int64_t)t * facts->experts, a->chosen + t * used,
                       a->expert_weights + t * used);
    }
    if (status == EK_STATUS_OK) {
        route(engine, layer, tokens);
    }
    for (int32_t e = 0; e < facts->experts && status == EK_STATUS_OK; e++) {
        status = run_for_choosers(engine, layer, e, tokens);
    }
    for (int64_t i = 0; i < (int64_t)tokens * facts->width && status == EK_STATUS_OK; i++) {
        int64_t choice = i / facts->width * used;
        float sum = 0.0f;
        for (int32_t k = 0; k < used; k++) {
            float output = a->expert_outputs[(choice + k) * facts->width + i % facts->width];
            sum += output * a->expert_weights[choice + k];
        }
        a->projected[i] = sum;
    }
    return status;
}

ek_status ek_feed_forward_part(ek_llm_engine *engine, const ek_layer *layer, int32_t tokens) {
    if (engine->model->facts.experts > 0) {
        return run_experts(engine, layer, tokens);
    }
    return run_expert(engine, &layer->experts[0], engine->activations.normed, tokens);
}
