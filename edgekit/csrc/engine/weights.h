/* Where the weights are: every matrix is used span by span, so that a part of it may be pinned and
 * another part on its way from storage.
 */
#ifndef EDGEKIT_ENGINE_WEIGHTS_H
#define EDGEKIT_ENGINE_WEIGHTS_H

#include <stdint.h>

#include "chunks.h"
#include "model.h"
#include "stream.h"

/* Rows of a matrix that are in memory now, from a multiple of EK_ROW_GROUP on. Whole groups of
 * quantized rows are as ek_interleave_rows leaves them; the rest is as in the file. */
typedef struct ek_span {
    const uint8_t *data; /* row r of the span at r * row_bytes, groups in place of their rows */
    int32_t first_row;
    int32_t rows;
    int32_t is_streamed;
} ek_span;

typedef struct ek_weights {
    const ek_llm_model *model;
    float **vectors;       /* by index */
    ek_chunk *chunks;      /* in order of the walk */
    int32_t *first_chunks; /* by index of the matrix */
    int64_t block_bytes;
    int32_t attention_end;  /* chunk behind the attention of the last layer */
    int32_t is_streaming;   /* 1: some matrix is not in memory as a whole */
    const ek_chunk *failed; /* what storage did not give */
    ek_stream stream;
} ek_weights;

/* Bytes of all vectors, as floats. */
int64_t ek_weights_vector_bytes(const ek_llm_model *model);
/* Fills the chunks in, with their places in `arena`. */
void ek_weights_divide(ek_weights *weights, const ek_division *division, uint8_t *arena);
/* Starts to stream where that is needed, then reads what is pinned: vectors into `vectors`, chunks
 * into their places. `scratch` has 8 rows of the longest matrix. */
ek_status ek_weights_load(ek_weights *weights, uint8_t *vectors, uint8_t *scratch,
                          const ek_message *message);
void ek_weights_unload(ek_weights *weights);

/* A pass over the model begins, and ends well; `whole` says whether it goes beyond the attention of
 * the last layer. */
ek_status ek_weights_begin(ek_weights *weights, int whole);
void ek_weights_complete(ek_weights *weights);
/* Which experts of a layer the pass needs: 1 for each; kept until the next layer. */
void ek_weights_route(ek_weights *weights, int32_t layer, const uint8_t *chosen);

/* The rows from `first_row` on that can be used now, at least one group or all that are left. Each
 * span is released before the next is acquired. */
ek_status ek_weights_acquire(ek_weights *weights, const ek_matrix *matrix, int32_t first_row,
                             ek_span *span);
void ek_weights_release(ek_weights *weights, const ek_span *span);

/* One row of the embedding as it lies in the file; `scratch` has row_bytes. */
ek_status ek_weights_read_row(ek_weights *weights, const ek_matrix *matrix, int32_t row,
                              uint8_t *scratch);
const float *ek_weights_vector(const ek_weights *weights, const ek_vector *vector);

/* Bytes of a matrix that one token reads: of the embedding one row, of experts the share in use. */
int64_t ek_weights_touched_bytes(const ek_llm_model *model);

#endif
