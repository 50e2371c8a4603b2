/* Where the weights are: every matrix is used span by span, so that a part of it may be pinned and
 * another part on its way from storage.
 */
#ifndef EDGEKIT_ENGINE_WEIGHTS_H
#define EDGEKIT_ENGINE_WEIGHTS_H

#include <stdint.h>

#include "model.h"

/* Rows of a matrix that are in memory now. Spans begin at multiples of EK_ROW_GROUP rows. */
typedef struct ek_span {
    const uint8_t *data; /* row r of the span at r * row_bytes, groups in place of their rows */
    int32_t first_row;
    int32_t rows;
    int32_t interleaved; /* 1: whole groups of rows are as ek_interleave_rows leaves them; the rows
                            after the last whole group are as in the file */
} ek_span;

typedef struct ek_weights {
    const ek_llm_model *model;
    uint8_t **matrices; /* by index: the whole matrix */
    float **vectors;    /* by index */
} ek_weights;

/* Bytes that pinning everything takes in an arena; each matrix begins at a multiple of 64. */
int64_t ek_weights_pinned_bytes(const ek_llm_model *model);
/* Reads and places everything. `scratch` has 8 rows of the longest matrix. */
ek_status ek_weights_load(ek_weights *weights, uint8_t *arena, uint8_t *scratch,
                          const ek_message *message);

/* The rows from `first_row` on that can be used now, at least one group or all that are left. Each
 * span is released before the next is acquired. */
ek_status ek_weights_acquire(const ek_weights *weights, const ek_matrix *matrix, int32_t first_row,
                             ek_span *span);
void ek_weights_release(const ek_weights *weights, const ek_span *span);

/* One row of the embedding as it lies in the file; `scratch` has row_bytes. */
ek_status ek_weights_read_row(const ek_weights *weights, const ek_matrix *matrix, int32_t row,
                              uint8_t *scratch);
const float *ek_weights_vector(const ek_weights *weights, const ek_vector *vector);

/* Bytes of a matrix that one token reads: of the embedding one row, of experts the share in use. */
int64_t ek_weights_touched_bytes(const ek_llm_model *model);

#endif
