#include "weights.h"

#include <string.h>

#include "quants.h"

enum { ALIGNMENT = 64 };

static int64_t padded(int64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static int64_t matrix_bytes(const ek_matrix *matrix) { return matrix->rows * matrix->row_bytes; }

static void add_vector(void *context, const ek_vector *vector) {
    *(int64_t *)context += padded(vector->count * (int64_t)sizeof(float));
}

int64_t ek_weights_vector_bytes(const ek_llm_model *model) {
    int64_t bytes = 0;
    ek_model_visit_vectors(model, add_vector, &bytes);
    return bytes;
}

typedef struct dividing {
    ek_weights *weights;
    uint8_t *arena;
    int32_t count;
} dividing;

static void keep_chunk(void *context, const ek_chunk *chunk, int64_t place) {
    dividing *d = context;
    const ek_llm_model *model = d->weights->model;
    ek_chunk *kept = &d->weights->chunks[d->count];
    *kept = *chunk;
    kept->pinned = place < 0 ? NULL : d->arena + place;
    if (chunk->first_row == 0) {
        d->weights->first_chunks[chunk->matrix->index] = d->count;
    }
    d->count++;
    if (chunk->matrix == &model->layers[model->facts.layers - 1].attention_output) {
        d->weights->attention_end = d->count;
    }
}

void ek_weights_divide(ek_weights *weights, const ek_division *division, uint8_t *arena) {
    dividing d = {weights, arena, 0};
    weights->block_bytes = division->block_bytes;
    ek_division_walk(division, weights->model, keep_chunk, &d);
    weights->stream.chunks = weights->chunks;
    weights->stream.chunk_count = d.count;
}

typedef struct loader {
    ek_weights *weights;
    const ek_message *message;
    uint8_t *next;
    uint8_t *scratch;
    ek_status status;
} loader;

static void refuse_tensor(loader *l, const char *name, int64_t bytes, int64_t offset) {
    l->status =
        ek_report(l->message, EK_STATUS_IO, "tensor %s cannot be read: %lld bytes at byte %lld",
                  name, (long long)bytes, (long long)offset);
}

static void load_vector(void *context, const ek_vector *vector) {
    loader *l = context;
    int64_t row_bytes = vector->count * (int64_t)ek_type_find(vector->type)->bytes;
    if (l->status != EK_STATUS_OK) {
        return;
    }
    if (!ek_read_at(l->weights->model->gguf.file, l->scratch, (size_t)row_bytes, vector->offset)) {
        refuse_tensor(l, vector->name, row_bytes, vector->offset);
        return;
    }
    float *place = (float *)(void *)l->next;
    ek_dequantize_row(vector->type, l->scratch, vector->count, place);
    l->weights->vectors[vector->index] = place;
    l->next += padded(vector->count * (int64_t)sizeof(float));
}

/* While streaming, past the page cache: that memory is somebody else's. */
static int read_chunk(ek_weights *weights, const ek_chunk *chunk) {
    uint8_t *data = NULL;
    if (weights->stream.slot_count == 0) {
        return ek_read_at(weights->model->gguf.file, chunk->pinned, (size_t)chunk->bytes,
                          chunk->offset);
    }
    if (!ek_stream_read(&weights->stream, weights->stream.slots[0].pages, chunk->offset,
                        chunk->bytes, &data)) {
        return 0;
    }
    memcpy(chunk->pinned, data, (size_t)chunk->bytes);
    return 1;
}

static void load_chunk(loader *l, const ek_chunk *chunk) {
    if (!read_chunk(l->weights, chunk)) {
        refuse_tensor(l, chunk->matrix->name, chunk->bytes, chunk->offset);
        return;
    }
    ek_chunk_interleave(chunk, chunk->pinned, l->scratch);
}

ek_status ek_weights_load(ek_weights *weights, uint8_t *vectors, uint8_t *scratch,
                          const ek_message *message) {
    loader l = {weights, message, vectors, scratch, EK_STATUS_OK};
    int file = weights->model->gguf.file;
    if (weights->is_streaming) {
        l.status = ek_stream_start(&weights->stream, file, message);
    }
    ek_model_visit_vectors(weights->model, load_vector, &l);
    for (int32_t i = 0; i < weights->stream.chunk_count && l.status == EK_STATUS_OK; i++) {
        if (weights->chunks[i].is_pinned) {
            load_chunk(&l, &weights->chunks[i]);
        }
    }
    return l.status;
}

void ek_weights_unload(ek_weights *weights) { ek_stream_stop(&weights->stream); }

ek_status ek_weights_begin(ek_weights *weights, int whole) {
    if (weights->stream.slot_count == 0) {
        return EK_STATUS_OK;
    }
    return ek_stream_begin(&weights->stream,
                           whole ? weights->stream.chunk_count : weights->attention_end);
}

void ek_weights_complete(ek_weights *weights) {
    if (weights->stream.slot_count > 0) {
        ek_stream_complete(&weights->stream);
    }
}

void ek_weights_route(ek_weights *weights, int32_t layer, const uint8_t *chosen) {
    if (weights->stream.slot_count > 0) {
        ek_stream_route(&weights->stream, layer, chosen);
    }
}

static int32_t chunk_of(const ek_weights *weights, const ek_matrix *matrix, int32_t row) {
    int32_t first = weights->first_chunks[matrix->index];
    int is_whole = weights->chunks[first].rows == matrix->rows;
    return first + (is_whole ? 0 : row / ek_chunk_rows(matrix, weights->block_bytes));
}

ek_status ek_weights_acquire(ek_weights *weights, const ek_matrix *matrix, int32_t first_row,
                             ek_span *span) {
    int32_t index = chunk_of(weights, matrix, first_row);
    const ek_chunk *chunk = &weights->chunks[index];
    *span = (ek_span){.first_row = first_row, .rows = chunk->rows};
    if (!chunk->is_pinned) {
        span->is_streamed = 1;
        ek_status status = ek_stream_take(&weights->stream, index, &span->data);
        weights->failed = status == EK_STATUS_OK ? NULL : chunk;
        return status;
    }
    span->data = chunk->pinned;
    while (first_row + span->rows < matrix->rows &&
           chunk[1].pinned == chunk->pinned + chunk->bytes) {
        chunk++;
        span->rows += chunk->rows;
    }
    return EK_STATUS_OK;
}

void ek_weights_release(ek_weights *weights, const ek_span *span) {
    if (span->is_streamed) {
        ek_stream_give(&weights->stream);
    }
}

ek_status ek_weights_read_row(ek_weights *weights, const ek_matrix *matrix, int32_t row,
                              uint8_t *scratch) {
    const ek_chunk *chunk = &weights->chunks[chunk_of(weights, matrix, row)];
    uint8_t *data = chunk->pinned;
    int32_t inside = row - chunk->first_row;
    int32_t group = inside / EK_ROW_GROUP * EK_ROW_GROUP;
    if (!chunk->is_pinned) {
        int64_t offset = matrix->offset + row * matrix->row_bytes;
        ek_stream *stream = &weights->stream;
        if (!ek_stream_read(stream, stream->row_pages, offset, matrix->row_bytes, &data)) {
            weights->failed = chunk;
            return EK_STATUS_IO;
        }
        memcpy(scratch, data, (size_t)matrix->row_bytes);
    } else if (chunk->is_interleaved && group + EK_ROW_GROUP <= chunk->rows) {
        ek_extract_row(matrix->type, data + group * matrix->row_bytes, matrix->columns,
                       inside - group, scratch);
    } else {
        memcpy(scratch, data + inside * matrix->row_bytes, (size_t)matrix->row_bytes);
    }
    return EK_STATUS_OK;
}

const float *ek_weights_vector(const ek_weights *weights, const ek_vector *vector) {
    return vector->count == 0 ? NULL : weights->vectors[vector->index];
}

static void add_touched(void *context, const ek_matrix *matrix) {
    *(int64_t *)context += matrix_bytes(matrix);
}

int64_t ek_weights_touched_bytes(const ek_llm_model *model) {
    int64_t bytes = 0;
    ek_model_visit_matrices(model, add_touched, &bytes);
    if (!model->facts.tied_embeddings) {
        bytes -= matrix_bytes(&model->embedding) - model->embedding.row_bytes;
    }
    int64_t unused =
        model->facts.experts > 0 ? model->facts.experts - model->facts.experts_used : 0;
    for (int32_t i = 0; i < model->facts.layers && unused > 0; i++) {
        const ek_expert *expert = &model->layers[i].experts[0];
        bytes -= unused * (matrix_bytes(&expert->gate) + matrix_bytes(&expert->up) +
                           matrix_bytes(&expert->down));
    }
    return bytes;
}
