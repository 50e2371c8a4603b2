#include "edgekit/llm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine.h"

_Static_assert(sizeof(ek_llm_facts) == 112, "ek_llm_facts");
_Static_assert(sizeof(ek_llm_options) == 48, "ek_llm_options");
_Static_assert(sizeof(ek_llm_budget) == 72, "ek_llm_budget");
_Static_assert(sizeof(ek_llm_counters) == 32, "ek_llm_counters");

static ek_message start_message(char *text, size_t bytes) {
    if (text != NULL && bytes > 0) {
        text[0] = 0;
    }
    return (ek_message){text, bytes};
}

ek_status ek_llm_open(const char *path, ek_llm_model **model, char *message, size_t message_bytes) {
    ek_message said = start_message(message, message_bytes);
    if (path == NULL || model == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    *model = NULL;
    ek_llm_model *opened = calloc(1, sizeof *opened);
    if (opened == NULL) {
        return ek_report(&said, EK_STATUS_OUT_OF_MEMORY, "no memory for the model");
    }
    atomic_init(&opened->users, 1);
    ek_status status = ek_gguf_open(path, &opened->gguf, &said);
    status = status == EK_STATUS_OK ? ek_model_read_facts(opened, &said) : status;
    status = status == EK_STATUS_OK ? ek_model_find_tensors(opened, &said) : status;
    if (status != EK_STATUS_OK) {
        ek_llm_close(opened);
        return status;
    }
    opened->facts.fingerprint = opened->gguf.fingerprint;
    *model = opened;
    return EK_STATUS_OK;
}

void ek_llm_close(ek_llm_model *model) {
    if (model == NULL || atomic_fetch_sub(&model->users, 1) > 1) {
        return;
    }
    for (int32_t i = 0; model->layers != NULL && i < model->facts.layers; i++) {
        free(model->layers[i].experts);
    }
    free(model->layers);
    free(model->pieces);
    free(model->piece_starts);
    ek_gguf_close(&model->gguf);
    free(model);
}

ek_status ek_llm_describe(const ek_llm_model *model, ek_llm_facts *facts) {
    if (model == NULL || facts == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    *facts = model->facts;
    return EK_STATUS_OK;
}

ek_status ek_llm_plan(const ek_llm_model *model, const ek_llm_options *options,
                      ek_llm_budget *budget, char *message, size_t message_bytes) {
    ek_message said = start_message(message, message_bytes);
    ek_llm_engine engine;
    if (model == NULL || options == NULL || budget == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    ek_status status = ek_engine_plan(&engine, model, options, &said);
    *budget = engine.budget;
    return status;
}

static uint8_t *take_arena(int64_t bytes) {
    void *memory =
        mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
#if defined(MADV_HUGEPAGE)
    /* Fewer misses in the address translation; refused where the kernel has none. */
    (void)madvise(memory, (size_t)bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

ek_status ek_llm_load(ek_llm_model *model, const ek_llm_options *options, ek_llm_engine **engine,
                      char *message, size_t message_bytes) {
    ek_message said = start_message(message, message_bytes);
    ek_llm_engine planned;
    if (model == NULL || options == NULL || engine == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    *engine = NULL;
    ek_status status = ek_engine_plan(&planned, model, options, &said);
    if (status != EK_STATUS_OK) {
        return status;
    }
    uint8_t *arena = take_arena(planned.arena_bytes);
    if (arena == NULL) {
        return ek_report(&said, EK_STATUS_OUT_OF_MEMORY, "the machine has no %lld bytes",
                         (long long)planned.arena_bytes);
    }
    ek_llm_engine *loaded = (ek_llm_engine *)(void *)arena;
    uint8_t *vectors = NULL;
    *loaded = planned;
    loaded->arena = arena;
    atomic_init(&loaded->users, 1);
    loaded->held = model;
    atomic_fetch_add(&model->users, 1);
    ek_engine_place(loaded, arena, &vectors);
    loaded->budget.minimum_bytes = planned.budget.minimum_bytes;
    loaded->kernels =
        loaded->options.kernels == EK_LLM_KERNELS_PORTABLE ? &ek_engine_portable : ek_engine_best();
    pthread_mutex_init(&loaded->lock, NULL);
    status = ek_weights_load(&loaded->weights, vectors, loaded->scratch[0].rows, &said);
    if (status == EK_STATUS_OK && loaded->options.threads > 1) {
        loaded->pool = ek_pool_create(loaded->options.threads);
        if (loaded->pool == NULL) {
            status = ek_report(&said, EK_STATUS_OUT_OF_MEMORY, "%d threads cannot be started",
                               (int)loaded->options.threads);
        }
    }
    if (status != EK_STATUS_OK) {
        ek_llm_unload(loaded);
        return status;
    }
    loaded->counted = ek_stream_count(&loaded->weights.stream);
    ek_rope_prepare(loaded);
    *engine = loaded;
    return EK_STATUS_OK;
}

void ek_llm_unload(ek_llm_engine *engine) {
    if (engine == NULL || atomic_fetch_sub(&engine->users, 1) > 1) {
        return;
    }
    ek_llm_model *held = engine->held;
    ek_weights_unload(&engine->weights);
    ek_pool_destroy(engine->pool);
    pthread_mutex_destroy(&engine->lock);
    munmap(engine->arena, (size_t)engine->arena_bytes);
    ek_llm_close(held);
}

const char *ek_llm_kernels_name(const ek_llm_engine *engine) { return engine->kernels->name; }
