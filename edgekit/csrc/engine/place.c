#include <stddef.h>
#include <string.h>

#include "engine.h"
#include "quants.h"

/* An arena being filled; without memory it only counts. */
typedef struct filling {
    uint8_t *memory;
    int64_t used;
} filling;

static void *take(filling *f, int64_t count, int64_t bytes) {
    void *place = f->memory == NULL ? NULL : f->memory + f->used;
    f->used += (count * bytes + 63) / 64 * 64;
    return place;
}

/* Storage past the page cache is read into whole pages. */
static uint8_t *take_pages(filling *f, int64_t bytes) {
    f->used = (f->used + EK_STORAGE_PAGE - 1) / EK_STORAGE_PAGE * EK_STORAGE_PAGE;
    return take(f, bytes, 1);
}

typedef struct widest {
    int64_t row_bytes;
    int64_t columns;
} widest;

static void see_matrix(void *context, const ek_matrix *matrix) {
    widest *w = context;
    w->row_bytes = matrix->row_bytes > w->row_bytes ? matrix->row_bytes : w->row_bytes;
    w->columns = matrix->columns > w->columns ? matrix->columns : w->columns;
}

static void see_vector(void *context, const ek_vector *vector) {
    widest *w = context;
    w->columns = vector->count > w->columns ? vector->count : w->columns;
}

static widest find_widest(const ek_llm_model *model) {
    widest w = {0, 0};
    ek_model_visit_matrices(model, see_matrix, &w);
    ek_model_visit_vectors(model, see_vector, &w);
    return w;
}

static void place_tables(ek_llm_engine *engine, filling *f) {
    const ek_llm_model *model = engine->model;
    engine->sessions = take(f, engine->options.sessions, sizeof *engine->sessions);
    engine->weights.model = model;
    engine->weights.vectors = take(f, model->vector_count, sizeof(float *));
    engine->weights.first_chunks = take(f, model->matrix_count, sizeof(int32_t));
    engine->weights.chunks = take(f, engine->division.count, sizeof(ek_chunk));
    engine->frequencies = take(f, model->rope.width / 2, sizeof(double));
    engine->scratch = take(f, engine->options.threads, sizeof *engine->scratch);
}

static void place_experts(ek_llm_engine *engine, filling *f) {
    const ek_llm_facts *facts = &engine->model->facts;
    ek_activations *a = &engine->activations;
    int64_t batch = engine->options.batch;
    int64_t used = batch * facts->experts_used;
    a->routing = take(f, batch * facts->experts, sizeof(float));
    a->gathered = take(f, batch * facts->width, sizeof(float));
    a->expert_outputs = take(f, used * facts->width, sizeof(float));
    a->expert_weights = take(f, used, sizeof(float));
    a->chosen = take(f, used, sizeof(int32_t));
    a->needed = take(f, facts->experts, sizeof(uint8_t));
}

static void place_activations(ek_llm_engine *engine, filling *f) {
    const ek_llm_model *model = engine->model;
    const ek_llm_facts *facts = &model->facts;
    ek_activations *a = &engine->activations;
    widest w = find_widest(model);
    int64_t batch = engine->options.batch;
    int64_t query_width = (int64_t)facts->heads * facts->head_width;
    int64_t key_width = (int64_t)facts->kv_heads * facts->head_width;
    int64_t blocks = (w.columns + 31) / 32;
    a->residual = take(f, batch * facts->width, sizeof(float));
    a->normed = take(f, batch * facts->width, sizeof(float));
    a->projected = take(f, batch * facts->width, sizeof(float));
    a->query = take(f, batch * query_width, sizeof(float));
    a->key = take(f, batch * key_width, sizeof(float));
    a->value = take(f, batch * key_width, sizeof(float));
    a->attended = take(f, batch * query_width, sizeof(float));
    if (model->feed_forward == EK_FEED_FORWARD_SILU_GATED) {
        a->gate = take(f, batch * facts->feed_forward_width, sizeof(float));
    }
    a->up = take(f, batch * facts->feed_forward_width, sizeof(float));
    a->angles = take(f, batch * model->rope.width, sizeof(float));
    a->tail = take(f, batch * EK_ROW_GROUP, sizeof(float));
    a->values = take(f, batch * w.columns, sizeof(int8_t));
    a->scales = take(f, batch * blocks, sizeof(float));
    a->sums = take(f, batch * blocks, sizeof(int32_t));
    if (facts->experts > 0) {
        place_experts(engine, f);
    }
}

static void place_scratch(ek_llm_engine *engine, filling *f) {
    const ek_llm_facts *facts = &engine->model->facts;
    widest w = find_widest(engine->model);
    int64_t rows = w.row_bytes * EK_ROW_GROUP * 2; /* plain and interleaved */
    int64_t vector = w.columns * (int64_t)sizeof(float);
    int64_t tile = (int64_t)EK_TILE_POSITIONS * facts->head_width;
    int64_t queries = (int64_t)EK_ATTEND_TOKENS * (facts->heads / facts->kv_heads);
    for (int32_t i = 0; i < engine->options.threads; i++) {
        ek_scratch scratch;
        scratch.rows = take(f, rows > vector ? rows : vector, 1);
        scratch.keys = take(f, tile, sizeof(float));
        scratch.values = take(f, tile, sizeof(float));
        scratch.states = take(f, queries, sizeof(ek_softmax));
        if (f->memory != NULL) {
            engine->scratch[i] = scratch;
        }
    }
}

static int64_t padded_context(int32_t context) {
    return ((int64_t)context + EK_TILE_POSITIONS - 1) / EK_TILE_POSITIONS * EK_TILE_POSITIONS;
}

static void place_sessions(ek_llm_engine *engine, filling *f) {
    const ek_llm_facts *facts = &engine->model->facts;
    engine->kv_shape = (ek_kv_shape){
        .layers = facts->layers,
        .kv_heads = facts->kv_heads,
        .head_width = facts->head_width,
        .context = (int32_t)padded_context(engine->options.context),
        .type = engine->options.kv_type,
    };
    for (int32_t i = 0; i < engine->options.sessions; i++) {
        uint8_t *cache = take(f, ek_kv_bytes(&engine->kv_shape), 1);
        if (f->memory != NULL) {
            engine->sessions[i].engine = engine;
            engine->sessions[i].cache = cache;
        }
    }
}

static void place_stream(ek_llm_engine *engine, filling *f) {
    ek_weights *weights = &engine->weights;
    ek_stream *stream = &weights->stream;
    if (!weights->is_streaming) {
        return;
    }
    stream->timeout_ns = (int64_t)engine->options.storage_timeout_ms * 1000000;
    stream->row_pages = take_pages(f, ek_slot_bytes(engine->model->embedding.row_bytes));
    for (int32_t i = 0; i < EK_READERS && stream->slot_count > 0; i++) {
        stream->readers[i].group = take(f, find_widest(engine->model).row_bytes * EK_ROW_GROUP, 1);
    }
    stream->slot_bytes = ek_slot_bytes(engine->division.largest_bytes);
    for (int32_t i = 0; i < stream->slot_count; i++) {
        stream->slots[i].pages = take_pages(f, stream->slot_bytes);
    }
}

void ek_engine_place(ek_llm_engine *engine, uint8_t *arena, uint8_t **vectors) {
    const ek_llm_model *model = engine->model;
    ek_llm_budget *budget = &engine->budget;
    filling f = {arena, 0};
    memset(budget, 0, sizeof *budget);
    take(&f, 1, sizeof *engine);
    place_tables(engine, &f);
    budget->table_bytes = f.used + model->heap_bytes;
    int64_t start = f.used;
    place_activations(engine, &f);
    place_scratch(engine, &f);
    budget->activation_bytes = f.used - start;
    start = f.used;
    place_sessions(engine, &f);
    budget->kv_bytes = f.used - start;
    start = f.used;
    place_stream(engine, &f);
    budget->stream_bytes = f.used - start;
    start = f.used;
    *vectors = take(&f, ek_weights_vector_bytes(model), 1);
    uint8_t *pinned = take(&f, engine->division.pinned_bytes, 1);
    budget->pinned_bytes = f.used - start;
    if (arena != NULL) {
        ek_weights_divide(&engine->weights, &engine->division, pinned);
    }
    engine->arena_bytes = f.used;
    budget->total_bytes = f.used + model->heap_bytes;
    budget->touched_bytes_per_token = ek_weights_touched_bytes(model);
    budget->read_bytes_per_token = engine->division.read_bytes_per_token;
}
