/* Embeds a language model in an application in C.
 *
 *     embed_llm MODEL.gguf "Once upon a time" [MEMORY_BYTES]
 *
 * Prints the text as it comes: the most likely token each time, up to MOST_TOKENS of them. With
 * MEMORY_BYTES the engine holds no more than that: weights that do not fit are read again from
 * storage for each token, and the text stays the same.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgekit/llm.h"

enum { MOST_TOKENS = 64, CONTEXT = 512 };

typedef struct app {
    char message[EK_LLM_MESSAGE_BYTES];
    ek_llm_model *model;
    ek_llm_tokenizer *tokenizer;
    ek_llm_engine *engine;
    ek_llm_session *session;
    ek_llm_sampler *sampler;
    ek_llm_facts facts;
    int32_t *tokens;
    float *logits;
} app;

/* 1 where a call did what it should; says what went wrong otherwise. */
static int is_done(const app *own, ek_status status, const char *what) {
    if (status != EK_STATUS_OK) {
        fprintf(stderr, "embed_llm: %s: %s (status %d)\n", what, own->message, (int)status);
    }
    return status == EK_STATUS_OK;
}

static int open_model(app *own, const char *path) {
    char *message = own->message;
    size_t size = sizeof own->message;
    return is_done(own, ek_llm_open(path, &own->model, message, size), path) &&
           is_done(own, ek_llm_tokenizer_open(path, &own->tokenizer, message, size), path) &&
           is_done(own, ek_llm_describe(own->model, &own->facts), path);
}

/* Says what will be held before anything is loaded. */
static int load(app *own, int64_t memory_bytes) {
    ek_llm_options options = {.memory_bytes = memory_bytes};
    ek_llm_budget budget;
    ek_llm_sampling greedy = {.temperature = 0};
    char *message = own->message;
    size_t size = sizeof own->message;
    options.context = own->facts.context < CONTEXT ? own->facts.context : CONTEXT;
    ek_status status = ek_llm_plan(own->model, &options, &budget, message, size);
    if (!is_done(own, status, "the memory plan")) {
        return 0;
    }
    fprintf(stderr,
            "%s: %" PRId64 " bytes held, %" PRId64 " of weights pinned, %" PRId64
            " read for each token\n",
            own->facts.architecture, budget.total_bytes, budget.pinned_bytes,
            budget.read_bytes_per_token);
    own->tokens = malloc(CONTEXT * sizeof *own->tokens);
    own->logits = malloc((size_t)own->facts.vocabulary_size * sizeof *own->logits);
    if (own->tokens == NULL || own->logits == NULL) {
        return is_done(own, EK_STATUS_OUT_OF_MEMORY, "the logits");
    }
    status = ek_llm_load(own->model, &options, &own->engine, message, size);
    return is_done(own, status, "loading") &&
           is_done(own, ek_llm_session_open(own->engine, &own->session), "the session") &&
           is_done(own, ek_llm_sampler_open(own->facts.vocabulary_size, &greedy, &own->sampler),
                   "the sampler");
}

/* Writes the bytes of a token at once; a terminal puts the parts of a character together. No token
 * of a real vocabulary is as long as the buffer. */
static int print_token(app *own, int32_t token) {
    char text[1024];
    size_t bytes = 0;
    ek_status status = ek_llm_token_text(own->model, token, text, sizeof text, &bytes);
    fwrite(text, 1, bytes < sizeof text ? bytes : sizeof text, stdout);
    fflush(stdout);
    return is_done(own, status, "a token");
}

static int generate(app *own, const char *prompt) {
    size_t count = 0;
    int32_t token = 0;
    ek_status status = ek_llm_tokenize(own->tokenizer, prompt, strlen(prompt), EK_LLM_ADD_SPECIAL,
                                       own->tokens, CONTEXT, &count);
    if (!is_done(own, status, "the prompt (is it UTF-8?)")) {
        return 0;
    }
    if (count == 0 || count > CONTEXT) {
        fprintf(stderr, "embed_llm: the prompt has %zu tokens, 1 to %d are taken\n", count,
                (int)CONTEXT);
        return 0;
    }
    status = ek_llm_eval(own->session, own->tokens, (int32_t)count, 0, own->logits, own->message,
                         sizeof own->message);
    for (int i = 0; i < MOST_TOKENS && status == EK_STATUS_OK; i++) {
        status = ek_llm_sample(own->sampler, own->logits, NULL, 0, &token);
        if (status != EK_STATUS_OK || ek_llm_is_end(own->tokenizer, token)) {
            break;
        }
        if (!print_token(own, token)) {
            return 0;
        }
        status =
            ek_llm_eval(own->session, &token, 1, 0, own->logits, own->message, sizeof own->message);
    }
    putchar('\n');
    /* A full context is an end like any other. */
    return status == EK_STATUS_FULL || is_done(own, status, "generating");
}

int main(int argc, char **argv) {
    static app own;
    char *end = NULL;
    int64_t memory_bytes = argc == 4 ? strtoll(argv[3], &end, 10) : 0;
    if (argc < 3 || argc > 4 || (end != NULL && (*end != 0 || memory_bytes < 1))) {
        fprintf(stderr, "usage: embed_llm MODEL.gguf PROMPT [MEMORY_BYTES]\n");
        return 2;
    }
    int is_fine = open_model(&own, argv[1]) && load(&own, memory_bytes) && generate(&own, argv[2]);
    ek_llm_sampler_close(own.sampler);
    ek_llm_session_close(own.session);
    ek_llm_unload(own.engine);
    ek_llm_tokenizer_close(own.tokenizer);
    ek_llm_close(own.model);
    free(own.tokens);
    free(own.logits);
    return is_fine ? 0 : 1;
}
