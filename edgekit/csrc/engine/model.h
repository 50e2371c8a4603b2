/* What a GGUF file computes: sizes, and the tensors of each layer under their roles. */
#ifndef EDGEKIT_ENGINE_MODEL_H
#define EDGEKIT_ENGINE_MODEL_H

#include <stdatomic.h>
#include <stdint.h>

#include "edgekit/llm.h"
#include "gguf.h"
#include "report.h"

typedef enum ek_feed_forward {
    EK_FEED_FORWARD_SILU_GATED = 0, /* down(silu(gate x) * (up x)) */
    EK_FEED_FORWARD_SQUARED_RELU    /* down(relu(up x)^2) */
} ek_feed_forward;

typedef enum ek_rope_pairs {
    EK_ROPE_NEIGHBOURS = 0, /* (0, 1), (2, 3), ...: ggml's NORM */
    EK_ROPE_HALVES          /* (0, n/2), (1, n/2 + 1), ...: ggml's NEOX */
} ek_rope_pairs;

/* A matrix of `rows` outputs and `columns` inputs. rows == 0: the model has none. */
typedef struct ek_matrix {
    const char *name; /* tensor in the file; experts share one */
    int64_t offset;   /* in the file */
    int64_t row_bytes;
    int32_t rows;
    int32_t columns;
    uint32_t type;
    int32_t index; /* among all matrices of the model */
} ek_matrix;

/* A vector, kept as floats in memory. count == 0: the model has none. */
typedef struct ek_vector {
    const char *name;
    int64_t offset;
    int32_t count;
    uint32_t type;
    int32_t index; /* among all vectors of the model */
} ek_vector;

typedef struct ek_expert {
    ek_matrix gate;
    ek_matrix up;
    ek_matrix down;
} ek_expert;

typedef struct ek_layer {
    ek_vector attention_norm;
    ek_vector query_bias;
    ek_vector key_bias;
    ek_vector value_bias;
    ek_vector attention_output_bias;
    ek_vector query_norm;
    ek_vector key_norm;
    ek_vector feed_forward_norm;
    ek_matrix query;
    ek_matrix key;
    ek_matrix value;
    ek_matrix attention_output;
    ek_matrix router; /* rows: experts */
    ek_expert *experts;
    int32_t expert_count; /* 1 where the feed-forward part is dense */
} ek_layer;

typedef struct ek_rope {
    ek_rope_pairs pairs;
    int32_t width; /* of each head, the rest is not rotated; even */
    double base;
    double position_scale;  /* 1 / factor */
    int32_t yarn;           /* 1: interpolated by frequency (YaRN) */
    double trained_context; /* of YaRN */
    ek_vector divisors;     /* of each frequency, Llama 3.1 */
} ek_rope;

struct ek_llm_model {
    _Atomic int32_t users; /* whoever opened it, and engines */
    ek_gguf gguf;
    ek_llm_facts facts;
    ek_feed_forward feed_forward;
    ek_rope rope;
    float norm_epsilon;
    ek_matrix embedding;
    ek_matrix output; /* has the index of `embedding` where they are tied */
    ek_vector output_norm;
    ek_layer *layers;
    int32_t matrix_count;
    int32_t vector_count;
    int64_t heap_bytes;
    uint8_t *pieces;       /* tokenizer.ggml.tokens, read when a token's text is first asked for */
    int64_t *piece_starts; /* in it: length and bytes of each token */
};

/* Fills facts, rope and the like from the key-value pairs. */
ek_status ek_model_read_facts(ek_llm_model *model, const ek_message *message);
/* Finds every tensor; refuses missing, misshapen and unknown ones. */
ek_status ek_model_find_tensors(ek_llm_model *model, const ek_message *message);

/* Calls for every matrix, in the order in which a token uses them; the embedding comes first, tied
 * or not. */
typedef void (*ek_matrix_visit)(void *context, const ek_matrix *matrix);
void ek_model_visit_matrices(const ek_llm_model *model, ek_matrix_visit visit, void *context);
typedef void (*ek_vector_visit)(void *context, const ek_vector *vector);
void ek_model_visit_vectors(const ek_llm_model *model, ek_vector_visit visit, void *context);

#endif
