/* Matrices cut into chunks of rows, each of which is pinned in memory or streamed from storage.
 *
 * The walk is the order in which a token uses them. It is made while planning, where there is no
 * memory, and again while loading: both decide the same.
 */
#ifndef EDGEKIT_ENGINE_CHUNKS_H
#define EDGEKIT_ENGINE_CHUNKS_H

#include <stdint.h>

#include "model.h"

enum { EK_STORAGE_PAGE = 4096 };

/* What decides who is pinned first: what every token reads, then what some tokens read, then what
 * is read by row. */
typedef enum ek_chunk_class {
    EK_CHUNK_EVERY_TOKEN = 0,
    EK_CHUNK_EXPERT,
    EK_CHUNK_BY_ROW, /* an embedding that is not the output matrix: one chunk */
    EK_CHUNK_CLASSES
} ek_chunk_class;

typedef struct ek_chunk {
    const ek_matrix *matrix;
    uint8_t *pinned; /* NULL: in storage */
    int64_t offset;  /* in the file */
    int64_t bytes;
    int32_t first_row;
    int32_t rows;
    int32_t layer;  /* of an expert */
    int32_t expert; /* -1: of no expert */
    int32_t is_pinned;
    int32_t is_interleaved; /* in memory; in the file rows follow each other */
    ek_chunk_class class;
} ek_chunk;

/* How weights are divided between memory and storage. */
typedef struct ek_division {
    int64_t block_bytes;                  /* of a chunk, or a group of rows where that is more */
    int64_t totals[EK_CHUNK_CLASSES];     /* bytes, each chunk padded */
    int64_t allowances[EK_CHUNK_CLASSES]; /* at most that much is pinned */
    int64_t pinned_bytes;                 /* of matrices, as they are placed */
    int64_t read_bytes_per_token;         /* of whole pages, experts by the share in use */
    int64_t largest_bytes;                /* of a chunk */
    int32_t count;                        /* of chunks */
    int32_t streamed;                     /* of them, neither pinned nor read by row */
} ek_division;

/* Called for each chunk in order; `place` is where it lies among the pinned bytes, or -1. */
typedef void (*ek_chunk_visit)(void *context, const ek_chunk *chunk, int64_t place);

/* Divides: at most `available` bytes are pinned, spread evenly over the walk. */
void ek_division_make(ek_division *division, const ek_llm_model *model, int64_t block_bytes,
                      int64_t available);
void ek_division_walk(const ek_division *division, const ek_llm_model *model, ek_chunk_visit visit,
                      void *context);

/* Rows of every chunk of a matrix but the last. */
int32_t ek_chunk_rows(const ek_matrix *matrix, int64_t block_bytes);
/* Puts the whole groups of rows of a chunk, as they lie in the file, in the order that the kernels
 * read, where it is to be interleaved. `scratch` has one group. */
void ek_chunk_interleave(const ek_chunk *chunk, uint8_t *data, uint8_t *scratch);
/* Bytes that are read from storage for a range of the file: whole pages. */
int64_t ek_page_bytes(int64_t offset, int64_t bytes);

#endif
