#include "weights.h"

#include <string.h>

#include "quants.h"

enum { ALIGNMENT = 64 };

static int64_t padded(int64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static int64_t matrix_bytes(const ek_matrix *matrix) { return matrix->rows * matrix->row_bytes; }

static void add_matrix(void *context, const ek_matrix *matrix) {
    *(int64_t *)context += padded(matrix_bytes(matrix));
}

static void add_vector(void *context, const ek_vector *vector) {
    *(int64_t *)context += padded(vector->count * (int64_t)sizeof(float));
}

int64_t ek_weights_pinned_bytes(const ek_llm_model *model) {
    int64_t bytes = 0;
    ek_model_visit_matrices(model, add_matrix, &bytes);
    ek_model_visit_vectors(model, add_vector, &bytes);
    return bytes;
}

/* The embedding is read by row; it is interleaved only where it is the output matrix too. */
static int is_interleaved(const ek_llm_model *model, const ek_matrix *matrix) {
    return ek_type_find(matrix->type)->form != EK_FORM_FLOAT &&
           (matrix->index != model->embedding.index || model->facts.tied_embeddings);
}

typedef struct loader {
    ek_weights *weights;
    const ek_message *message;
    uint8_t *next;
    uint8_t *scratch;
    ek_status status;
} loader;

static int read_tensor(loader *l, void *out, int64_t bytes, int64_t offset, const char *name) {
    if (ek_read_at(l->weights->model->gguf.file, out, (size_t)bytes, offset)) {
        return 1;
    }
    l->status =
        ek_report(l->message, EK_STATUS_IO, "tensor %s cannot be read: %lld bytes at byte %lld",
                  name, (long long)bytes, (long long)offset);
    return 0;
}

static void load_matrix(void *context, const ek_matrix *matrix) {
    loader *l = context;
    uint8_t *place = l->next;
    int64_t bytes = matrix_bytes(matrix);
    if (l->status != EK_STATUS_OK || !read_tensor(l, place, bytes, matrix->offset, matrix->name)) {
        return;
    }
    l->weights->matrices[matrix->index] = place;
    l->next += padded(bytes);
    if (!is_interleaved(l->weights->model, matrix)) {
        return;
    }
    int64_t group_bytes = matrix->row_bytes * EK_ROW_GROUP;
    for (int32_t row = 0; row + EK_ROW_GROUP <= matrix->rows; row += EK_ROW_GROUP) {
        memcpy(l->scratch, place, (size_t)group_bytes);
        ek_interleave_rows(matrix->type, l->scratch, matrix->columns, place);
        place += group_bytes;
    }
}

static void load_vector(void *context, const ek_vector *vector) {
    loader *l = context;
    int64_t row_bytes = vector->count * (int64_t)ek_type_find(vector->type)->bytes;
    if (l->status != EK_STATUS_OK ||
        !read_tensor(l, l->scratch, row_bytes, vector->offset, vector->name)) {
        return;
    }
    float *place = (float *)(void *)l->next;
    ek_dequantize_row(vector->type, l->scratch, vector->count, place);
    l->weights->vectors[vector->index] = place;
    l->next += padded(vector->count * (int64_t)sizeof(float));
}

ek_status ek_weights_load(ek_weights *weights, uint8_t *arena, uint8_t *scratch,
                          const ek_message *message) {
    loader l = {weights, message, arena, scratch, EK_STATUS_OK};
    ek_model_visit_matrices(weights->model, load_matrix, &l);
    ek_model_visit_vectors(weights->model, load_vector, &l);
    return l.status;
}

ek_status ek_weights_acquire(const ek_weights *weights, const ek_matrix *matrix, int32_t first_row,
                             ek_span *span) {
    span->data = weights->matrices[matrix->index] + first_row * matrix->row_bytes;
    span->first_row = first_row;
    span->rows = matrix->rows - first_row;
    span->interleaved = is_interleaved(weights->model, matrix);
    return EK_STATUS_OK;
}

void ek_weights_release(const ek_weights *weights, const ek_span *span) {
    (void)weights;
    (void)span;
}

ek_status ek_weights_read_row(const ek_weights *weights, const ek_matrix *matrix, int32_t row,
                              uint8_t *scratch) {
    const uint8_t *data = weights->matrices[matrix->index];
    int32_t first = row / EK_ROW_GROUP * EK_ROW_GROUP;
    if (is_interleaved(weights->model, matrix) && first + EK_ROW_GROUP <= matrix->rows) {
        ek_extract_row(matrix->type, data + first * matrix->row_bytes, matrix->columns, row - first,
                       scratch);
    } else {
        memcpy(scratch, data + row * matrix->row_bytes, (size_t)matrix->row_bytes);
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
