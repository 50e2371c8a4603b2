#include <string.h>

#include "engine.h"
#include "quants.h"

static ek_status embed(ek_llm_engine *engine, const int32_t *tokens, int32_t count) {
    const ek_matrix *embedding = &engine->model->embedding;
    uint8_t *row = engine->scratch[0].rows;
    for (int32_t t = 0; t < count; t++) {
        ek_status status = ek_weights_read_row(&engine->weights, embedding, tokens[t], row);
        if (status != EK_STATUS_OK) {
            return status;
        }
        ek_dequantize_row(embedding->type, row, embedding->columns,
                          engine->activations.residual + (int64_t)t * embedding->columns);
    }
    return EK_STATUS_OK;
}

static void norm_tokens(ek_llm_engine *engine, const ek_vector *weight, int32_t count) {
    const ek_activations *a = &engine->activations;
    int32_t width = engine->model->facts.width;
    const float *values = ek_weights_vector(&engine->weights, weight);
    for (int32_t t = 0; t < count; t++) {
        int64_t at = (int64_t)t * width;
        engine->kernels->rms_norm(a->residual + at, values, width, engine->model->norm_epsilon,
                                  a->normed + at);
    }
}

static void add_projected(ek_llm_engine *engine, int32_t count) {
    const ek_activations *a = &engine->activations;
    for (int64_t i = 0; i < (int64_t)count * engine->model->facts.width; i++) {
        a->residual[i] += a->projected[i];
    }
}

/* After the last attention only the tokens whose logits are wanted are of use. */
static void keep_last(ek_llm_engine *engine, int32_t count, int32_t wanted) {
    const ek_activations *a = &engine->activations;
    size_t row_bytes = (size_t)engine->model->facts.width * sizeof(float);
    memmove(a->residual, (uint8_t *)a->residual + (size_t)(count - wanted) * row_bytes,
            (size_t)wanted * row_bytes);
}

static ek_status run_layer(ek_llm_session *session, int32_t index, int32_t count, int32_t kept) {
    ek_llm_engine *engine = session->engine;
    const ek_layer *layer = &engine->model->layers[index];
    norm_tokens(engine, &layer->attention_norm, count);
    ek_status status = ek_attention(session, index, count);
    if (status != EK_STATUS_OK) {
        return status;
    }
    add_projected(engine, count);
    if (kept == 0) {
        return EK_STATUS_OK;
    }
    keep_last(engine, count, kept);
    norm_tokens(engine, &layer->feed_forward_norm, kept);
    status = ek_feed_forward_part(engine, layer, kept);
    if (status == EK_STATUS_OK) {
        add_projected(engine, kept);
    }
    return status;
}

ek_status ek_forward(ek_llm_session *session, const int32_t *tokens, int32_t count, int32_t wanted,
                     float *logits) {
    ek_llm_engine *engine = session->engine;
    const ek_llm_model *model = engine->model;
    ek_status status = ek_weights_begin(&engine->weights, wanted > 0);
    status = status == EK_STATUS_OK ? embed(engine, tokens, count) : status;
    ek_rope_angles(engine, session->position, count, engine->activations.angles);
    for (int32_t i = 0; i < model->facts.layers && status == EK_STATUS_OK; i++) {
        if (atomic_load(&session->cancelled)) {
            return EK_STATUS_CANCELLED;
        }
        int32_t last = i == model->facts.layers - 1;
        status = run_layer(session, i, count, last ? wanted : count);
    }
    if (status == EK_STATUS_OK && wanted > 0) {
        norm_tokens(engine, &model->output_norm, wanted);
        ek_set_input(engine, engine->activations.normed, model->facts.width, wanted);
        status = ek_matmul(engine, &model->output, logits);
    }
    if (status == EK_STATUS_OK) {
        ek_weights_complete(&engine->weights);
        session->position += count;
    }
    return status;
}
