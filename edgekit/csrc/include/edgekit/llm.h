/* Language models: a GGUF file computed exactly, within a memory budget that is known beforehand.
 *
 *   ek_llm_open      reads and checks the header; no weight is touched
 *   ek_llm_plan      says what would be held in memory, to the byte
 *   ek_llm_load      takes that memory at once and places everything in it
 *   ek_llm_session   one conversation with its own KV cache
 *   ek_llm_eval      tokens in, logits out
 *
 *   ek_llm_tokenize  text to tokens; ek_llm_token_text is the way back
 *
 * Results are the same to the bit for every number of threads, every batch size, every memory
 * budget and every processor variant of the kernels.
 *
 * Threads: calls on one engine may come from several threads; evaluations wait for each other.
 * One session is used by one thread at a time, except ek_llm_cancel, which any thread may call.
 *
 * Errors: functions return a status. Those with `message` also write a sentence into it that names
 * the tensor, key or limit (always terminated, empty on EK_STATUS_OK; NULL and 0 are allowed).
 */
#ifndef EDGEKIT_LLM_H
#define EDGEKIT_LLM_H

#include <stddef.h>
#include <stdint.h>

#include "edgekit/status.h"
#include "edgekit/version.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EK_LLM_NAME_BYTES 32
#define EK_LLM_MESSAGE_BYTES 512

typedef struct ek_llm_model ek_llm_model;
typedef struct ek_llm_engine ek_llm_engine;
typedef struct ek_llm_session ek_llm_session;
typedef struct ek_llm_sampler ek_llm_sampler;
typedef struct ek_llm_tokenizer ek_llm_tokenizer;

typedef struct ek_llm_facts {
    char architecture[EK_LLM_NAME_BYTES]; /* general.architecture */
    uint64_t tensor_types;                /* bit n: the file has tensors of ggml type n */
    uint64_t fingerprint;                 /* of the header and the file's size */
    int64_t weights_bytes;                /* all tensors */
    int64_t parameters;                   /* all weights */
    int32_t vocabulary_size;
    int32_t layers;
    int32_t width; /* of the residual stream */
    int32_t heads;
    int32_t kv_heads;
    int32_t head_width;
    int32_t feed_forward_width; /* of one expert where there are experts */
    int32_t context;            /* tokens that the model was trained for */
    int32_t experts;            /* 0: none */
    int32_t experts_used;       /* for each token */
    int32_t tied_embeddings;    /* 1: the output matrix is the embedding matrix */
    int32_t reserved;           /* 0 */
} ek_llm_facts;

typedef enum ek_llm_kv_type {
    EK_LLM_KV_F16 = 0,
    EK_LLM_KV_Q8 = 1, /* 8 bits, one scale for each head and position */
    EK_LLM_KV_F32 = 2
} ek_llm_kv_type;

typedef enum ek_llm_kernels {
    EK_LLM_KERNELS_BEST = 0, /* of this processor */
    EK_LLM_KERNELS_PORTABLE = 1
} ek_llm_kernels;

/* Zero in every field is a valid choice: everything in memory, one session, one thread. */
typedef struct ek_llm_options {
    int64_t memory_bytes; /* hard limit of everything held; 0: none, all weights are pinned */
    int64_t block_bytes;  /* of one read while streaming; 0: 64 KiB to 1 MiB, by memory_bytes */
    int32_t context;      /* positions of a session; 0: the model's */
    int32_t batch;        /* tokens computed at once; 0: 64 */
    int32_t sessions;     /* open at the same time; 0: 1 */
    int32_t threads;      /* 0: 1 */
    int32_t kv_type;      /* ek_llm_kv_type */
    int32_t kernels;      /* ek_llm_kernels */
    int32_t storage_timeout_ms; /* of one read while streaming; 0: 30 s */
    int32_t reserved;           /* 0 */
} ek_llm_options;

typedef struct ek_llm_budget {
    int64_t pinned_bytes;     /* weights that stay in memory */
    int64_t stream_bytes;     /* buffers for the weights that are read again for each token */
    int64_t kv_bytes;         /* caches of all sessions */
    int64_t activation_bytes; /* everything between two layers, and scratch */
    int64_t table_bytes;      /* tables of the model and the engine */
    int64_t total_bytes;      /* the sum of the above */
    int64_t touched_bytes_per_token; /* weights that the computation of one token reads */
    int64_t read_bytes_per_token;    /* of them, from storage; 0: all pinned */
    int64_t minimum_bytes;           /* smallest memory_bytes that works with these options */
} ek_llm_budget;

typedef struct ek_llm_counters {
    int64_t tokens;     /* evaluated */
    int64_t read_bytes; /* from storage, after loading */
    int64_t wait_ns;    /* for storage */
    int64_t compute_ns; /* evaluation without the waits */
} ek_llm_counters;

/* Opens a GGUF file (version 2 or 3) and checks everything that its header says.
 *
 * Returns EK_STATUS_NULL_ARGUMENT, EK_STATUS_IO, EK_STATUS_CORRUPT, EK_STATUS_UNSUPPORTED (an
 * architecture, key, tensor or type that this engine does not compute exactly) or
 * EK_STATUS_OUT_OF_MEMORY. *model is NULL then.
 */
EK_API ek_status ek_llm_open(const char *path, ek_llm_model **model, char *message,
                             size_t message_bytes);
/* The model's memory is given back when the last engine loaded from it is gone. NULL is allowed. */
EK_API void ek_llm_close(ek_llm_model *model);
EK_API ek_status ek_llm_describe(const ek_llm_model *model, ek_llm_facts *facts);

/* Says what ek_llm_load would hold. With EK_STATUS_BUDGET_TOO_SMALL the budget is filled in too:
 * minimum_bytes says what would do. */
EK_API ek_status ek_llm_plan(const ek_llm_model *model, const ek_llm_options *options,
                             ek_llm_budget *budget, char *message, size_t message_bytes);

/* Takes budget.total_bytes of memory and reads the pinned weights. */
EK_API ek_status ek_llm_load(ek_llm_model *model, const ek_llm_options *options,
                             ek_llm_engine **engine, char *message, size_t message_bytes);
/* The engine's memory is given back when its last session is closed. NULL is allowed. */
EK_API void ek_llm_unload(ek_llm_engine *engine);
/* Name of the kernels in use: "portable", "avx2", ... */
EK_API const char *ek_llm_kernels_name(const ek_llm_engine *engine);

/* EK_STATUS_FULL: options.sessions are open already. */
EK_API ek_status ek_llm_session_open(ek_llm_engine *engine, ek_llm_session **session);
EK_API void ek_llm_session_close(ek_llm_session *session);

/* Evaluates `count` tokens that follow the session's position.
 *
 * logits  NULL, or float32: vocabulary_size values of the last token, or with all_logits != 0
 *         count x vocabulary_size values
 *
 * Returns EK_STATUS_OUT_OF_RANGE (a token outside the vocabulary), EK_STATUS_FULL (the context ends
 * before the last token; nothing is computed), EK_STATUS_CANCELLED or EK_STATUS_IO. After the last
 * two the session is at its last complete position, and `logits` means nothing.
 */
EK_API ek_status ek_llm_eval(ek_llm_session *session, const int32_t *tokens, int32_t count,
                             int32_t all_logits, float *logits, char *message,
                             size_t message_bytes);
/* Tokens in the KV cache. */
EK_API int32_t ek_llm_position(const ek_llm_session *session);
/* Forgets the tokens from `position` on. EK_STATUS_OUT_OF_RANGE beyond the present position. */
EK_API ek_status ek_llm_truncate(ek_llm_session *session, int32_t position);
/* Ends the evaluation in progress, or else the next one, with EK_STATUS_CANCELLED. */
EK_API void ek_llm_cancel(ek_llm_session *session);
EK_API ek_status ek_llm_read_counters(const ek_llm_session *session, ek_llm_counters *counters);

/* Writes the KV cache to a temporary name beside `path`, then renames it. */
EK_API ek_status ek_llm_save(const ek_llm_session *session, const char *path, char *message,
                             size_t message_bytes);
/* Takes a saved KV cache. Refused (EK_STATUS_CORRUPT) where the file is damaged, of another model
 * or KV type; EK_STATUS_FULL where it has more tokens than the context. The session is unchanged
 * then. */
EK_API ek_status ek_llm_restore(ek_llm_session *session, const char *path, char *message,
                                size_t message_bytes);

/* The bytes that a token stands for, without termination. Used by one thread at a time. *size_bytes
 * is the whole length, also where it is more than `capacity` and only the first bytes were written.
 * Control tokens stand for nothing. EK_STATUS_UNSUPPORTED: the file has no vocabulary that the
 * engine knows. */
EK_API ek_status ek_llm_token_text(ek_llm_model *model, int32_t token, char *text, size_t capacity,
                                   size_t *size_bytes);

typedef enum ek_llm_tokenize_flags {
    EK_LLM_ADD_SPECIAL = 1,  /* begin with BOS, end with EOS where the vocabulary says so */
    EK_LLM_PARSE_SPECIAL = 2 /* texts of control tokens are these tokens: for what a chat template
                                wrote, never for what a user typed */
} ek_llm_tokenize_flags;

/* Reads the vocabulary of a GGUF file, which need not have weights: SentencePiece of the BPE kind
 * (tokenizer.ggml.model "llama") or byte-level BPE ("gpt2") with a word rule that is known
 * (tokenizer.ggml.pre). Its memory is no part of an engine's budget.
 *
 * Returns EK_STATUS_NULL_ARGUMENT, EK_STATUS_IO, EK_STATUS_CORRUPT, EK_STATUS_UNSUPPORTED (another
 * kind of vocabulary or word rule, which the message names) or EK_STATUS_OUT_OF_MEMORY. *tokenizer
 * is NULL then.
 */
EK_API ek_status ek_llm_tokenizer_open(const char *path, ek_llm_tokenizer **tokenizer,
                                       char *message, size_t message_bytes);
/* NULL is allowed. */
EK_API void ek_llm_tokenizer_close(ek_llm_tokenizer *tokenizer);
/* Cuts a text into tokens; any number of threads may do so with one tokenizer. `flags` are a sum of
 * ek_llm_tokenize_flags. *count is the whole number of tokens, also where it is more than
 * `capacity` and only the first ones were written.
 *
 * Returns EK_STATUS_INVALID_ARGUMENT (a flag that is not known, or the text is not UTF-8: overlong
 * forms, surrogates and cut characters are refused, never replaced), EK_STATUS_TOO_LARGE (more than
 * 2^24 characters) or EK_STATUS_OUT_OF_MEMORY. *count is 0 then.
 */
EK_API ek_status ek_llm_tokenize(const ek_llm_tokenizer *tokenizer, const char *text, size_t bytes,
                                 int32_t flags, int32_t *tokens, size_t capacity, size_t *count);
/* 1: the token ends a generation. 0 also for what is no token. */
EK_API int32_t ek_llm_is_end(const ek_llm_tokenizer *tokenizer, int32_t token);

/* Sampling, in this order: repetition penalty, top-k, top-p, min-p, temperature, one draw. */
typedef struct ek_llm_sampling {
    uint64_t seed;
    float temperature;        /* 0: the most likely token, nothing is drawn */
    float top_p;              /* 0 or 1: off */
    float min_p;              /* 0: off */
    float repetition_penalty; /* 0 or 1: off */
    int32_t top_k;            /* 0: off */
    int32_t reserved;         /* 0 */
} ek_llm_sampling;

EK_API ek_status ek_llm_sampler_open(int32_t vocabulary_size, const ek_llm_sampling *sampling,
                                     ek_llm_sampler **sampler);
EK_API void ek_llm_sampler_close(ek_llm_sampler *sampler);
/* Chooses a token. `recent` are the tokens that the repetition penalty looks at; may be NULL with
 * a count of 0. Of equal logits the lower token wins. EK_STATUS_INVALID_ARGUMENT: a logit is NaN.
 */
EK_API ek_status ek_llm_sample(ek_llm_sampler *sampler, const float *logits, const int32_t *recent,
                               int32_t recent_count, int32_t *token);

#ifdef __cplusplus
}
#endif

#endif
