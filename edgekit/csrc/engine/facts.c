#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model.h"

enum { MAX_LAYERS = 1024, MAX_WIDTH = 1 << 20, MAX_HEADS = 4096, MAX_EXPERTS = 1024 };

typedef struct architecture {
    const char *name;
    ek_rope_pairs pairs;
    ek_feed_forward feed_forward;
} architecture;

/* Computed as llama.cpp computes them (src/llama-model.cpp, src/models). */
static const architecture ARCHITECTURES[] = {
    {"llama", EK_ROPE_NEIGHBOURS, EK_FEED_FORWARD_SILU_GATED},
    {"qwen2", EK_ROPE_HALVES, EK_FEED_FORWARD_SILU_GATED},
    {"qwen3", EK_ROPE_HALVES, EK_FEED_FORWARD_SILU_GATED},
    {"arcee", EK_ROPE_NEIGHBOURS, EK_FEED_FORWARD_SQUARED_RELU},
};

/* Keys of an architecture that this engine computes or that change nothing. Any other one may ask
 * for a computation that it does not do. */
static const char *const KNOWN_KEYS[] = {
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "vocab_size",
    "tensor_data_layout",
    "expert_count",
    "expert_used_count",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
};

typedef struct facts_reader {
    const ek_llm_model *model;
    const ek_message *message;
    ek_status status; /* of the first failure */
} facts_reader;

static const ek_gguf_value *find(facts_reader *r, const char *name, char *key, size_t bytes) {
    snprintf(key, bytes, "%s.%s", r->model->facts.architecture, name);
    return ek_gguf_find_value(&r->model->gguf, key);
}

static void refuse_value(facts_reader *r, const char *key) {
    if (r->status == EK_STATUS_OK) {
        r->status = ek_report(r->message, EK_STATUS_CORRUPT, "%s is missing or out of range", key);
    }
}

/* The value, or the fallback where there is none (fallback < low: it must be there). */
static int32_t read_int(facts_reader *r, const char *name, int64_t low, int64_t high,
                        int64_t fallback) {
    char key[128];
    const ek_gguf_value *value = find(r, name, key, sizeof key);
    int64_t found = fallback;
    if (value != NULL) {
        int wide = value->type == EK_GGUF_UINT64 || value->type == EK_GGUF_INT64;
        int known = wide || value->type == EK_GGUF_UINT32 || value->type == EK_GGUF_INT32;
        found = known && value->bits <= INT32_MAX ? (int64_t)value->bits : low - 1;
    }
    if (found < low || found > high) {
        refuse_value(r, key);
        return (int32_t)low;
    }
    return (int32_t)found;
}

static double read_float(facts_reader *r, const char *name, double low, double high,
                         double fallback) {
    char key[128];
    const ek_gguf_value *value = find(r, name, key, sizeof key);
    double found = fallback;
    if (value != NULL && value->type == EK_GGUF_FLOAT32) {
        float narrow;
        memcpy(&narrow, &value->bits, sizeof narrow);
        found = (double)narrow;
    } else if (value != NULL && value->type == EK_GGUF_FLOAT64) {
        memcpy(&found, &value->bits, sizeof found);
    } else if (value != NULL) {
        found = low - 1;
    }
    if (!(found >= low && found <= high)) {
        refuse_value(r, key);
        return low;
    }
    return found;
}

static ek_status read_architecture(ek_llm_model *model, const ek_message *message) {
    const ek_gguf_value *value = ek_gguf_find_value(&model->gguf, "general.architecture");
    char *name = model->facts.architecture;
    if (value == NULL || !ek_gguf_read_string(&model->gguf, value, name, EK_LLM_NAME_BYTES)) {
        return ek_report(message, EK_STATUS_CORRUPT, "general.architecture is missing");
    }
    for (size_t i = 0; i < sizeof ARCHITECTURES / sizeof ARCHITECTURES[0]; i++) {
        if (strcmp(ARCHITECTURES[i].name, name) == 0) {
            model->rope.pairs = ARCHITECTURES[i].pairs;
            model->feed_forward = ARCHITECTURES[i].feed_forward;
            return EK_STATUS_OK;
        }
    }
    return ek_report(message, EK_STATUS_UNSUPPORTED,
                     "architecture %s is not computed (supported: llama, qwen2, qwen3, arcee)",
                     name);
}

static ek_status refuse_unknown_keys(const ek_llm_model *model, const ek_message *message) {
    const char *name = model->facts.architecture;
    size_t length = strlen(name);
    for (size_t i = 0; i < model->gguf.value_count; i++) {
        const char *key = model->gguf.names + model->gguf.values[i].key;
        if (strncmp(key, name, length) != 0 || key[length] != '.') {
            continue;
        }
        int known = 0;
        for (size_t k = 0; k < sizeof KNOWN_KEYS / sizeof KNOWN_KEYS[0]; k++) {
            known |= strcmp(key + length + 1, KNOWN_KEYS[k]) == 0;
        }
        if (!known) {
            return ek_report(message, EK_STATUS_UNSUPPORTED, "the setting %s is not computed", key);
        }
    }
    return EK_STATUS_OK;
}

static void read_sizes(facts_reader *r, ek_llm_facts *facts) {
    facts->layers = read_int(r, "block_count", 1, MAX_LAYERS, 0);
    facts->width = read_int(r, "embedding_length", 1, MAX_WIDTH, 0);
    facts->heads = read_int(r, "attention.head_count", 1, MAX_HEADS, 0);
    facts->kv_heads = read_int(r, "attention.head_count_kv", 1, facts->heads, facts->heads);
    facts->head_width =
        read_int(r, "attention.key_length", 2, MAX_WIDTH, facts->width / facts->heads);
    int32_t value_width = read_int(r, "attention.value_length", 2, MAX_WIDTH, facts->head_width);
    facts->feed_forward_width = read_int(r, "feed_forward_length", 1, MAX_WIDTH, 0);
    facts->context = read_int(r, "context_length", 1, INT32_MAX, 0);
    facts->experts = read_int(r, "expert_count", 0, MAX_EXPERTS, 0);
    facts->experts_used = read_int(r, "expert_used_count", facts->experts > 0, facts->experts, 0);
    if (r->status == EK_STATUS_OK && facts->heads % facts->kv_heads != 0) {
        r->status = ek_report(r->message, EK_STATUS_CORRUPT, "%d heads for %d KV heads",
                              (int)facts->heads, (int)facts->kv_heads);
    }
    if (r->status == EK_STATUS_OK && value_width != facts->head_width) {
        r->status = ek_report(r->message, EK_STATUS_UNSUPPORTED,
                              "keys of %d and values of %d columns are not computed",
                              (int)facts->head_width, (int)value_width);
    }
    if (r->status == EK_STATUS_OK &&
        (int64_t)facts->heads * facts->head_width > (int64_t)MAX_WIDTH) {
        r->status = ek_report(r->message, EK_STATUS_CORRUPT, "%d heads of %d columns",
                              (int)facts->heads, (int)facts->head_width);
    }
}

static void read_scaling(facts_reader *r, ek_rope *rope) {
    char key[128];
    char type[16] = "";
    const ek_gguf_value *value = find(r, "rope.scaling.type", key, sizeof key);
    if (value != NULL && !ek_gguf_read_string(&r->model->gguf, value, type, sizeof type)) {
        refuse_value(r, key);
        return;
    }
    double linear = read_float(r, "rope.scale_linear", 1e-6, 1e6, 1.0);
    double factor = read_float(r, "rope.scaling.factor", 1e-6, 1e6, linear);
    rope->yarn = strcmp(type, "yarn") == 0;
    if (value == NULL || strcmp(type, "linear") == 0 || rope->yarn) {
        rope->position_scale = 1.0 / factor;
    } else if (strcmp(type, "none") == 0) {
        rope->position_scale = 1.0;
    } else if (r->status == EK_STATUS_OK) {
        r->status = ek_report(r->message, EK_STATUS_UNSUPPORTED,
                              "%s %s is not computed (supported: none, linear, yarn)", key, type);
    }
    rope->trained_context = (double)read_int(r, "rope.scaling.original_context_length", 1,
                                             INT32_MAX, r->model->facts.context);
}

ek_status ek_model_read_facts(ek_llm_model *model, const ek_message *message) {
    ek_status status = read_architecture(model, message);
    status = status == EK_STATUS_OK ? refuse_unknown_keys(model, message) : status;
    if (status != EK_STATUS_OK) {
        return status;
    }
    facts_reader r = {.model = model, .message = message, .status = EK_STATUS_OK};
    ek_llm_facts *facts = &model->facts;
    ek_rope *rope = &model->rope;
    read_sizes(&r, facts);
    rope->width = read_int(&r, "rope.dimension_count", 2, facts->head_width, facts->head_width);
    rope->base = read_float(&r, "rope.freq_base", 1e-3, 1e12, 10000.0);
    read_scaling(&r, rope);
    model->norm_epsilon = (float)read_float(&r, "attention.layer_norm_rms_epsilon", 0.0, 1.0, -1.0);
    if (r.status == EK_STATUS_OK && rope->width % 2 != 0) {
        r.status = ek_report(message, EK_STATUS_CORRUPT, "rope.dimension_count is odd");
    }
    if (r.status == EK_STATUS_OK && facts->experts > 0 &&
        strcmp(facts->architecture, "llama") != 0) {
        r.status = ek_report(message, EK_STATUS_UNSUPPORTED, "experts in %s are not computed",
                             facts->architecture);
    }
    return r.status;
}
