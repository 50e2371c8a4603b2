#include <math.h>
#include <string.h>

#include "engine.h"
#include "scalar_math.h"

static void add_bias(float *rows, const float *bias, int32_t count, int32_t tokens) {
    if (bias == NULL) {
        return;
    }
    for (int32_t t = 0; t < tokens; t++) {
        for (int32_t i = 0; i < count; i++) {
            rows[(int64_t)t * count + i] += bias[i];
        }
    }
}

static void norm_heads(const ek_llm_engine *engine, float *heads, const ek_vector *vector,
                       int32_t count) {
    const float *weight = ek_weights_vector(&engine->weights, vector);
    int32_t width = engine->model->facts.head_width;
    for (int32_t h = 0; h < count && weight != NULL; h++) {
        float *head = heads + (int64_t)h * width;
        engine->kernels->rms_norm(head, weight, width, engine->model->norm_epsilon, head);
    }
}

static ek_status project(ek_llm_engine *engine, const ek_layer *layer, int32_t tokens) {
    const ek_llm_facts *facts = &engine->model->facts;
    const ek_activations *a = &engine->activations;
    const ek_weights *weights = &engine->weights;
    int32_t query_width = facts->heads * facts->head_width;
    int32_t key_width = facts->kv_heads * facts->head_width;
    ek_set_input(engine, a->normed, facts->width, tokens);
    ek_status status = ek_matmul(engine, &layer->query, a->query);
    status = status == EK_STATUS_OK ? ek_matmul(engine, &layer->key, a->key) : status;
    status = status == EK_STATUS_OK ? ek_matmul(engine, &layer->value, a->value) : status;
    add_bias(a->query, ek_weights_vector(weights, &layer->query_bias), query_width, tokens);
    add_bias(a->key, ek_weights_vector(weights, &layer->key_bias), key_width, tokens);
    add_bias(a->value, ek_weights_vector(weights, &layer->value_bias), key_width, tokens);
    norm_heads(engine, a->query, &layer->query_norm, facts->heads * tokens);
    norm_heads(engine, a->key, &layer->key_norm, facts->kv_heads * tokens);
    return status;
}

/* One layer of one session. */
typedef struct attention {
    ek_llm_engine *engine;
    uint8_t *cache;
    int32_t layer;
    int32_t position; /* of the first token */
    int32_t tokens;
} attention;

/* Rotates, scales the query and stores key and value of one token. */
static void store_token(void *context, int32_t token, int32_t thread) {
    const attention *at = context;
    const ek_llm_engine *engine = at->engine;
    const ek_llm_facts *facts = &engine->model->facts;
    const ek_rope *rope = &engine->model->rope;
    const ek_activations *a = &engine->activations;
    int32_t width = facts->head_width;
    const float *angles = a->angles + (int64_t)token * rope->width;
    float *query = a->query + (int64_t)token * facts->heads * width;
    float *key = a->key + (int64_t)token * facts->kv_heads * width;
    const float *value = a->value + (int64_t)token * facts->kv_heads * width;
    float scale = 1.0f / sqrtf((float)width);
    (void)thread;
    ek_rope_rotate(rope, angles, query, facts->heads, width);
    ek_rope_rotate(rope, angles, key, facts->kv_heads, width);
    for (int32_t i = 0; i < facts->heads * width; i++) {
        query[i] *= scale;
    }
    for (int32_t h = 0; h < facts->kv_heads; h++) {
        ek_kv_head head = ek_kv_find(&engine->kv_shape, at->cache, at->layer, h);
        ek_kv_store(&engine->kv_shape, &head, at->position + token, key + (int64_t)h * width,
                    value + (int64_t)h * width);
    }
}

/* The queries of one KV head for up to EK_ATTEND_TOKENS tokens. */
typedef struct queries {
    const float *first; /* query of the first token */
    float *out;
    int64_t stride; /* from token to token */
    int32_t heads;
    int32_t width;
    int32_t position;
    int32_t tokens;
} queries;

static void start_queries(const queries *q, ek_softmax *states) {
    for (int32_t t = 0; t < q->tokens; t++) {
        memset(q->out + t * q->stride, 0, (size_t)q->heads * (size_t)q->width * sizeof(float));
        for (int32_t h = 0; h < q->heads; h++) {
            states[t * q->heads + h] = (ek_softmax){.maximum = -INFINITY};
        }
    }
}

static void attend_tile(const ek_kernels *kernels, const queries *q, int32_t first, ek_tile *tile,
                        ek_softmax *states) {
    for (int32_t t = 0; t < q->tokens; t++) {
        int32_t seen = q->position + t + 1 - first;
        if (seen < 1) {
            continue;
        }
        tile->valid = seen < EK_TILE_POSITIONS ? seen : EK_TILE_POSITIONS;
        for (int32_t h = 0; h < q->heads; h++) {
            int64_t at = t * q->stride + (int64_t)h * q->width;
            kernels->attend(q->first + at, tile, &states[t * q->heads + h], q->out + at);
        }
    }
}

static void finish_queries(const queries *q, const ek_softmax *states) {
    for (int32_t t = 0; t < q->tokens; t++) {
        for (int32_t h = 0; h < q->heads; h++) {
            float inverse = 1.0f / ek_sum8(states[t * q->heads + h].sums);
            float *out = q->out + t * q->stride + (int64_t)h * q->width;
            for (int32_t i = 0; i < q->width; i++) {
                out[i] *= inverse;
            }
        }
    }
}

/* Item: a KV head and a part of the tokens. */
static void attend_item(void *context, int32_t item, int32_t thread) {
    const attention *at = context;
    ek_llm_engine *engine = at->engine;
    const ek_llm_facts *facts = &engine->model->facts;
    const ek_scratch *scratch = &engine->scratch[thread];
    int32_t kv_head = item % facts->kv_heads;
    int32_t first = item / facts->kv_heads * EK_ATTEND_TOKENS;
    int32_t left = at->tokens - first;
    queries q = {.heads = facts->heads / facts->kv_heads, .width = facts->head_width};
    q.stride = (int64_t)facts->heads * q.width;
    q.tokens = left < EK_ATTEND_TOKENS ? left : EK_ATTEND_TOKENS;
    q.position = at->position + first;
    int64_t start = first * q.stride + (int64_t)kv_head * q.heads * q.width;
    q.first = engine->activations.query + start;
    q.out = engine->activations.attended + start;
    ek_kv_head head = ek_kv_find(&engine->kv_shape, at->cache, at->layer, kv_head);
    ek_tile tile = {scratch->keys, scratch->values, q.width, 0};
    start_queries(&q, scratch->states);
    for (int32_t i = 0; i * EK_TILE_POSITIONS < q.position + q.tokens; i++) {
        ek_kv_load(&engine->kv_shape, &head, engine->kernels, i, &tile);
        attend_tile(engine->kernels, &q, i * EK_TILE_POSITIONS, &tile, scratch->states);
    }
    finish_queries(&q, scratch->states);
}

ek_status ek_attention(ek_llm_session *session, int32_t layer_index, int32_t tokens) {
    ek_llm_engine *engine = session->engine;
    const ek_llm_facts *facts = &engine->model->facts;
    const ek_layer *layer = &engine->model->layers[layer_index];
    const ek_activations *a = &engine->activations;
    ek_status status = project(engine, layer, tokens);
    if (status != EK_STATUS_OK) {
        return status;
    }
    attention at = {engine, session->cache, layer_index, session->position, tokens};
    ek_pool_run(engine->pool, store_token, &at, tokens);
    int32_t parts = (tokens - 1) / EK_ATTEND_TOKENS + 1;
    ek_pool_run(engine->pool, attend_item, &at, parts * facts->kv_heads);
    ek_set_input(engine, a->attended, facts->heads * facts->head_width, tokens);
    status = ek_matmul(engine, &layer->attention_output, a->projected);
    add_bias(a->projected, ek_weights_vector(&engine->weights, &layer->attention_output_bias),
             facts->width, tokens);
    return status;
}
