/* Evaluates tokens and writes all logits to stdout as they lie in memory; what computes, to stderr.
 *
 *   probe MODEL.gguf best|portable MEMORY_BYTES TOKEN...
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgekit/llm.h"

enum { MOST_TOKENS = 256, BATCH = 5 };

static int fail(const char *what, ek_status status, const char *message) {
    fprintf(stderr, "%s: status %d: %s\n", what, (int)status, message);
    return 1;
}

static int evaluate(ek_llm_engine *engine, int32_t vocabulary, const int32_t *tokens,
                    int32_t count) {
    char message[EK_LLM_MESSAGE_BYTES];
    ek_llm_session *session = NULL;
    float *logits = calloc((size_t)count * (size_t)vocabulary, sizeof *logits);
    ek_status status = ek_llm_session_open(engine, &session);
    if (status == EK_STATUS_OK) {
        status = ek_llm_eval(session, tokens, count, 1, logits, message, sizeof message);
    }
    if (status == EK_STATUS_OK) {
        fwrite(logits, sizeof *logits, (size_t)count * (size_t)vocabulary, stdout);
    }
    ek_llm_session_close(session);
    free(logits);
    return status == EK_STATUS_OK ? 0 : fail("eval", status, message);
}

int main(int argc, char **argv) {
    char message[EK_LLM_MESSAGE_BYTES];
    int32_t tokens[MOST_TOKENS];
    ek_llm_model *model = NULL;
    ek_llm_engine *engine = NULL;
    ek_llm_facts facts;
    if (argc < 5 || argc > 4 + MOST_TOKENS) {
        return fail("usage", EK_STATUS_INVALID_ARGUMENT, "MODEL KERNELS MEMORY_BYTES TOKEN...");
    }
    for (int i = 4; i < argc; i++) {
        tokens[i - 4] = atoi(argv[i]);
    }
    ek_status status = ek_llm_open(argv[1], &model, message, sizeof message);
    if (status != EK_STATUS_OK) {
        return fail("open", status, message);
    }
    ek_llm_describe(model, &facts);
    ek_llm_options options = {.memory_bytes = atoll(argv[3]), .batch = BATCH};
    options.kernels =
        strcmp(argv[2], "portable") == 0 ? EK_LLM_KERNELS_PORTABLE : EK_LLM_KERNELS_BEST;
    status = ek_llm_load(model, &options, &engine, message, sizeof message);
    if (status != EK_STATUS_OK) {
        ek_llm_close(model);
        return fail("load", status, message);
    }
    fprintf(stderr, "%s\n", ek_llm_kernels_name(engine));
    int result = evaluate(engine, facts.vocabulary_size, tokens, argc - 4);
    ek_llm_unload(engine);
    ek_llm_close(model);
    return result;
}
