/* A loaded model: one arena with everything in it. */
#ifndef EDGEKIT_ENGINE_ENGINE_H
#define EDGEKIT_ENGINE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "edgekit/llm.h"
#include "kernels.h"
#include "kv_cache.h"
#include "model.h"
#include "threads.h"
#include "weights.h"

/* Values between the layers for `batch` tokens. Every array is [tokens][its width]. */
typedef struct ek_activations {
    float *residual;  /* width */
    float *normed;    /* width */
    float *projected; /* width: what a layer adds to the residual stream */
    float *query;     /* heads x head_width */
    float *key;       /* kv_heads x head_width */
    float *value;     /* kv_heads x head_width */
    float *attended;  /* heads x head_width */
    float *gate;      /* feed_forward_width; NULL without a gate */
    float *up;        /* feed_forward_width */
    float *angles;    /* rope.width: cosine and sine of each pair */
    float *tail;      /* 8: rows after the last whole group */
    /* The input of the next matrices, quantized when one needs it. */
    int8_t *values;
    float *scales;
    int32_t *sums;
    /* Experts; NULL without. */
    float *routing;        /* experts: probabilities */
    float *gathered;       /* width: tokens of one expert side by side */
    float *expert_outputs; /* experts_used x width */
    float *expert_weights; /* experts_used */
    int32_t *chosen;       /* experts_used */
    uint8_t *needed;       /* experts, of the whole batch: 1 where some token chose it */
} ek_activations;

/* What one thread needs while it works on an item. */
typedef struct ek_scratch {
    uint8_t *rows;      /* sixteen rows of the longest matrix */
    float *keys;        /* EK_TILE_POSITIONS x head_width */
    float *values;      /* likewise */
    ek_softmax *states; /* EK_ATTEND_TOKENS x queries of one KV head */
} ek_scratch;

enum { EK_ATTEND_TOKENS = 32, EK_MAX_THREADS = 64, EK_MAX_BATCH = 4096, EK_MAX_SESSIONS = 1024 };

struct ek_llm_session {
    ek_llm_engine *engine;
    uint8_t *cache;
    int32_t position;
    int32_t is_open;
    _Atomic int32_t cancelled;
    ek_llm_counters counters;
};

/* The input of the next matrices. */
typedef struct ek_input {
    const float *values;
    int32_t columns;
    int32_t tokens;
    ek_form form; /* that it has been prepared in; EK_FORM_FLOAT: in none */
} ek_input;

struct ek_llm_engine {
    const ek_llm_model *model;
    ek_llm_model *held; /* the same, closed with the engine */
    const ek_kernels *kernels;
    _Atomic int32_t users;  /* whoever loaded it, and open sessions */
    ek_llm_options options; /* without zeros */
    ek_llm_budget budget;
    uint8_t *arena;
    int64_t arena_bytes;
    ek_pool *pool;
    pthread_mutex_t lock; /* of evaluations and of opening sessions */
    ek_division division;
    ek_weights weights;
    ek_stream_counters counted; /* of the stream, in sessions already */
    ek_kv_shape kv_shape;
    ek_activations activations;
    ek_input input;
    ek_scratch *scratch; /* [threads] */
    ek_llm_session *sessions;
    double *frequencies;  /* [rope.width / 2]: radians for each position */
    float rope_magnitude; /* of cosine and sine, YaRN */
};

/* budget.c: resolves the options, divides the weights between memory and storage, and lays the
 * engine out without memory. EK_STATUS_BUDGET_TOO_SMALL: budget.minimum_bytes says what would do.
 */
ek_status ek_engine_plan(ek_llm_engine *engine, const ek_llm_model *model,
                         const ek_llm_options *options, const ek_message *message);
/* place.c: lays the engine out in `arena`, or only counts where it is NULL. `engine` has its model,
 * options and division; its pointers and its budget are set. `*vectors` is where they are loaded.
 */
void ek_engine_place(ek_llm_engine *engine, uint8_t *arena, uint8_t **vectors);

/* matmul.c: sets the input of the ek_matmul calls that follow. */
void ek_set_input(ek_llm_engine *engine, const float *values, int32_t columns, int32_t tokens);
/* out[token * matrix->rows + row] */
ek_status ek_matmul(ek_llm_engine *engine, const ek_matrix *matrix, float *out);

/* rope.c */
void ek_rope_prepare(ek_llm_engine *engine);
void ek_rope_angles(const ek_llm_engine *engine, int32_t position, int32_t tokens, float *angles);
/* Rotates the heads of one token. */
void ek_rope_rotate(const ek_rope *rope, const float *angles, float *heads, int32_t head_count,
                    int32_t head_width);

/* attention.c, feed_forward.c: `normed` in, `projected` out, for `tokens` tokens. */
ek_status ek_attention(ek_llm_session *session, int32_t layer, int32_t tokens);
ek_status ek_feed_forward_part(ek_llm_engine *engine, const ek_layer *layer, int32_t tokens);

/* forward.c: at most options.batch tokens from the session's position on, which it moves. `logits`
 * for the last `wanted` tokens. */
ek_status ek_forward(ek_llm_session *session, const int32_t *tokens, int32_t count, int32_t wanted,
                     float *logits);

#endif
