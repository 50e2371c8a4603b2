#include "chunks.h"

#include <string.h>

#include "quants.h"

enum { ALIGNMENT = 64 };

static int64_t padded(int64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

int64_t ek_page_bytes(int64_t offset, int64_t bytes) {
    int64_t first = offset / EK_STORAGE_PAGE;
    int64_t end = (offset + bytes + EK_STORAGE_PAGE - 1) / EK_STORAGE_PAGE;
    return (end - first) * EK_STORAGE_PAGE;
}

int32_t ek_chunk_rows(const ek_matrix *matrix, int64_t block_bytes) {
    int64_t groups = block_bytes / (matrix->row_bytes * EK_ROW_GROUP);
    int64_t rows = (groups < 1 ? 1 : groups) * EK_ROW_GROUP;
    return rows < matrix->rows ? (int32_t)rows : matrix->rows;
}

void ek_chunk_interleave(const ek_chunk *chunk, uint8_t *data, uint8_t *scratch) {
    const ek_matrix *matrix = chunk->matrix;
    int64_t group_bytes = matrix->row_bytes * EK_ROW_GROUP;
    if (!chunk->is_interleaved) {
        return;
    }
    for (int32_t row = 0; row + EK_ROW_GROUP <= chunk->rows; row += EK_ROW_GROUP) {
        memcpy(scratch, data, (size_t)group_bytes);
        ek_interleave_rows(matrix->type, scratch, matrix->columns, data);
        data += group_bytes;
    }
}

/* Where a matrix stands in the walk. */
typedef struct role {
    ek_chunk_class class;
    int32_t layer;
    int32_t expert;
} role;

/* A walk over all chunks that decides as it goes. */
typedef struct walker {
    const ek_division *division;
    int64_t seen[EK_CHUNK_CLASSES];
    int64_t pinned[EK_CHUNK_CLASSES];
    int64_t next; /* among the pinned bytes */
    ek_chunk_visit visit;
    void *context;
} walker;

/* Spreads the allowance evenly: a chunk is pinned when the share of its class is behind. */
static int decide(walker *w, ek_chunk_class class, int64_t bytes) {
    int64_t total = w->division->totals[class];
    int64_t allowance = w->division->allowances[class];
    w->seen[class] += bytes;
    int64_t after = w->pinned[class] + bytes;
    if (allowance < total) {
        double share = (double)allowance / (double)total * (double)w->seen[class];
        if ((double)after > share || after > allowance) {
            return 0;
        }
    }
    w->pinned[class] = after;
    return 1;
}

static void walk_matrix(walker *w, const ek_matrix *matrix, role r) {
    if (matrix->rows == 0) {
        return;
    }
    int32_t step =
        r.class == EK_CHUNK_BY_ROW ? matrix->rows : ek_chunk_rows(matrix, w->division->block_bytes);
    for (int32_t row = 0; row < matrix->rows; row += step) {
        int32_t left = matrix->rows - row;
        ek_chunk chunk = {.matrix = matrix,
                          .offset = matrix->offset + row * matrix->row_bytes,
                          .first_row = row,
                          .rows = left < step ? left : step,
                          .layer = r.layer,
                          .expert = r.expert,
                          .class = r.class};
        chunk.bytes = chunk.rows * matrix->row_bytes;
        /* What is read by row only is left as it is. */
        chunk.is_interleaved =
            r.class != EK_CHUNK_BY_ROW && ek_type_find(matrix->type)->form != EK_FORM_FLOAT;
        chunk.is_pinned = decide(w, r.class, padded(chunk.bytes));
        /* Neighbours lie side by side, so that they are used as one. */
        int64_t place = row == 0 || !chunk.is_pinned ? padded(w->next) : w->next;
        w->next = place + (chunk.is_pinned ? chunk.bytes : 0);
        w->visit(w->context, &chunk, chunk.is_pinned ? place : -1);
    }
    w->next = padded(w->next);
}

void ek_division_walk(const ek_division *division, const ek_llm_model *model, ek_chunk_visit visit,
                      void *context) {
    walker w = {.division = division, .visit = visit, .context = context};
    for (int32_t i = 0; i < model->facts.layers; i++) {
        const ek_layer *layer = &model->layers[i];
        const ek_matrix *dense[] = {&layer->query, &layer->key, &layer->value,
                                    &layer->attention_output, &layer->router};
        for (size_t m = 0; m < sizeof dense / sizeof dense[0]; m++) {
            walk_matrix(&w, dense[m], (role){EK_CHUNK_EVERY_TOKEN, i, -1});
        }
        for (int32_t e = 0; e < layer->expert_count; e++) {
            const ek_expert *expert = &layer->experts[e];
            role r = model->facts.experts > 0 ? (role){EK_CHUNK_EXPERT, i, e}
                                              : (role){EK_CHUNK_EVERY_TOKEN, i, -1};
            walk_matrix(&w, &expert->gate, r);
            walk_matrix(&w, &expert->up, r);
            walk_matrix(&w, &expert->down, r);
        }
    }
    walk_matrix(&w, &model->output, (role){EK_CHUNK_EVERY_TOKEN, model->facts.layers, -1});
    if (!model->facts.tied_embeddings) {
        walk_matrix(&w, &model->embedding, (role){EK_CHUNK_BY_ROW, model->facts.layers, -1});
    }
}

static void sum_class(void *context, const ek_chunk *chunk, int64_t place) {
    ek_division *division = context;
    (void)place;
    division->totals[chunk->class] += padded(chunk->bytes);
}

typedef struct summing {
    ek_division *division;
    int64_t read_bytes[EK_CHUNK_CLASSES];
} summing;

static void sum_chunk(void *context, const ek_chunk *chunk, int64_t place) {
    summing *s = context;
    ek_division *division = s->division;
    division->count++;
    division->largest_bytes =
        chunk->bytes > division->largest_bytes && chunk->class != EK_CHUNK_BY_ROW
            ? chunk->bytes
            : division->largest_bytes;
    if (place >= 0) {
        division->pinned_bytes = padded(place + chunk->bytes);
        return;
    }
    int by_row = chunk->class == EK_CHUNK_BY_ROW;
    division->streamed += !by_row;
    s->read_bytes[chunk->class] += by_row ? 0 : ek_page_bytes(chunk->offset, chunk->bytes);
}

static int64_t at_most(int64_t bytes, int64_t limit) { return bytes < limit ? bytes : limit; }

void ek_division_make(ek_division *division, const ek_llm_model *model, int64_t block_bytes,
                      int64_t available) {
    memset(division, 0, sizeof *division);
    division->block_bytes = block_bytes;
    ek_division_walk(division, model, sum_class, division);
    int64_t *allowances = division->allowances;
    for (int class = 0; class < EK_CHUNK_CLASSES; class ++) {
        int64_t total = division->totals[class];
        allowances[class] = at_most(total, available < 0 ? 0 : available);
        /* What is left over by a class that does not fit is less than one chunk of it. */
        available = allowances[class] < total ? 0 : available - total;
    }
    if (allowances[EK_CHUNK_BY_ROW] < division->totals[EK_CHUNK_BY_ROW]) {
        allowances[EK_CHUNK_BY_ROW] = 0;
    }
    summing s = {.division = division};
    ek_division_walk(division, model, sum_chunk, &s);
    const ek_llm_facts *facts = &model->facts;
    division->read_bytes_per_token = s.read_bytes[EK_CHUNK_EVERY_TOKEN];
    if (facts->experts > 0) {
        division->read_bytes_per_token +=
            s.read_bytes[EK_CHUNK_EXPERT] / facts->experts * facts->experts_used;
    }
    int embedding_is_held =
        facts->tied_embeddings ? division->streamed == 0 : allowances[EK_CHUNK_BY_ROW] > 0;
    if (!embedding_is_held) {
        division->read_bytes_per_token += ek_page_bytes(0, model->embedding.row_bytes);
    }
}
