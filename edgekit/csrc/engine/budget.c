#include <string.h>

#include "engine.h"

enum { LARGEST_BLOCK = 1 << 20, SMALLEST_BLOCK = 1 << 16, STREAM_SHARE = 16 };

static int32_t chosen(int32_t given, int32_t otherwise) { return given == 0 ? otherwise : given; }

static ek_status resolve(const ek_llm_model *model, const ek_llm_options *options,
                         ek_llm_options *resolved, const ek_message *message) {
    const struct {
        const char *name;
        int64_t value;
        int64_t limit;
    } ranges[] = {
        {"memory_bytes", options->memory_bytes, INT64_MAX},
        {"block_bytes", options->block_bytes, (int64_t)1 << 30},
        {"context", options->context, 1 << 24},
        {"batch", options->batch, EK_MAX_BATCH},
        {"sessions", options->sessions, EK_MAX_SESSIONS},
        {"threads", options->threads, EK_MAX_THREADS},
        {"kv_type", options->kv_type, EK_LLM_KV_F32},
        {"kernels", options->kernels, EK_LLM_KERNELS_PORTABLE},
        {"storage_timeout_ms", options->storage_timeout_ms, 1 << 30},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (ranges[i].value < 0 || ranges[i].value > ranges[i].limit) {
            return ek_report(message, EK_STATUS_INVALID_ARGUMENT, "%s is %lld, at most %lld",
                             ranges[i].name, (long long)ranges[i].value,
                             (long long)ranges[i].limit);
        }
    }
    int32_t longest = model->facts.context < 1 << 24 ? model->facts.context : 1 << 24;
    *resolved = *options;
    resolved->context = chosen(options->context, longest);
    resolved->batch = chosen(options->batch, 64);
    resolved->sessions = chosen(options->sessions, 1);
    resolved->threads = chosen(options->threads, 1);
    resolved->storage_timeout_ms = chosen(options->storage_timeout_ms, 30000);
    return EK_STATUS_OK;
}

/* Lays out without memory. `available` bytes may be pinned; `slots` of 0: everything is. */
static int64_t lay_out(ek_llm_engine *engine, int64_t block_bytes, int32_t slots,
                       int64_t available) {
    ek_weights *weights = &engine->weights;
    uint8_t *vectors = NULL;
    ek_division_make(&engine->division, engine->model, block_bytes, available);
    weights->is_streaming = slots > 0;
    weights->stream.slot_count = slots;
    ek_engine_place(engine, NULL, &vectors);
    return engine->budget.total_bytes;
}

/* Pins as much as the limit allows. Returns 0 where not even nothing pinned fits. */
static int stream_within(ek_llm_engine *engine, int64_t block_bytes, int32_t slots) {
    int64_t limit = engine->options.memory_bytes;
    int64_t least = lay_out(engine, block_bytes, slots, 0);
    if (least > limit) {
        return 0;
    }
    lay_out(engine, block_bytes, slots, limit - least);
    if (engine->division.streamed == 0) {
        /* Only the embedding is left in storage. */
        engine->weights.stream.slot_count = 0;
        uint8_t *vectors = NULL;
        ek_engine_place(engine, NULL, &vectors);
    }
    return 1;
}

/* Large blocks, as long as the buffers for them take a small part of the memory. */
static int64_t block_for(ek_llm_engine *engine) {
    int64_t block_bytes = LARGEST_BLOCK;
    if (engine->options.block_bytes != 0) {
        return engine->options.block_bytes;
    }
    while (block_bytes > SMALLEST_BLOCK &&
           EK_SLOTS * ek_slot_bytes(block_bytes) > engine->options.memory_bytes / STREAM_SHARE) {
        block_bytes /= 2;
    }
    return block_bytes;
}

ek_status ek_engine_plan(ek_llm_engine *engine, const ek_llm_model *model,
                         const ek_llm_options *options, const ek_message *message) {
    memset(engine, 0, sizeof *engine);
    engine->model = model;
    ek_status status = resolve(model, options, &engine->options, message);
    if (status != EK_STATUS_OK) {
        return status;
    }
    int64_t limit = engine->options.memory_bytes;
    int64_t smallest = options->block_bytes == 0 ? SMALLEST_BLOCK : options->block_bytes;
    int64_t minimum = lay_out(engine, smallest, EK_LEAST_SLOTS, 0);
    int64_t whole = lay_out(engine, LARGEST_BLOCK, 0, INT64_MAX);
    minimum = minimum < whole ? minimum : whole;
    if (limit != 0 && limit < whole) {
        int fits = stream_within(engine, block_for(engine), EK_SLOTS);
        for (int32_t slots = EK_SLOTS; !fits && slots >= EK_LEAST_SLOTS; slots--) {
            fits = stream_within(engine, smallest, slots);
        }
        if (!fits) {
            status = ek_report(message, EK_STATUS_BUDGET_TOO_SMALL,
                               "%lld bytes are too few, at least %lld are needed", (long long)limit,
                               (long long)minimum);
        }
    }
    engine->budget.minimum_bytes = minimum;
    return status;
}
