#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "quants.h"

typedef struct finder {
    ek_llm_model *model;
    const ek_message *message;
    ek_status status; /* of the first failure */
} finder;

enum { NAME_BYTES = 96 };

static ek_gguf_tensor *take_tensor(finder *f, const char *name, int required) {
    if (f->status != EK_STATUS_OK) {
        return NULL;
    }
    ek_gguf_tensor *tensor = ek_gguf_find_tensor(&f->model->gguf, name);
    if (tensor == NULL) {
        if (required) {
            f->status = ek_report(f->message, EK_STATUS_CORRUPT, "tensor %s is missing", name);
        }
        return NULL;
    }
    const ek_type *type = ek_type_find(tensor->type);
    if (!type->computed) {
        f->status = ek_report(f->message, EK_STATUS_UNSUPPORTED,
                              "tensor %s is %s, which is not computed (supported: F32, F16, BF16, "
                              "Q8_0, Q4_0, Q4_K, Q6_K)",
                              name, type->name);
        return NULL;
    }
    tensor->used = 1;
    f->model->facts.tensor_types |= (uint64_t)1 << tensor->type;
    return tensor;
}

static void refuse_shape(finder *f, const ek_gguf_tensor *tensor, const char *name) {
    const int64_t *sizes = tensor->sizes;
    f->status = ek_report(f->message, EK_STATUS_CORRUPT,
                          "tensor %s has the shape %lld x %lld x %lld x %lld, which does not fit "
                          "the model's sizes",
                          name, (long long)sizes[0], (long long)sizes[1], (long long)sizes[2],
                          (long long)sizes[3]);
}

/* `count` matrices of one tensor (experts), one after the other. */
static void find_matrices(finder *f, const char *name, int required, int64_t columns, int64_t rows,
                          int32_t count, size_t stride, ek_matrix *out) {
    ek_gguf_tensor *tensor = take_tensor(f, name, required);
    if (tensor == NULL) {
        return;
    }
    if (tensor->sizes[0] != columns || tensor->sizes[1] != rows || tensor->sizes[2] != count ||
        tensor->sizes[3] != 1) {
        refuse_shape(f, tensor, name);
        return;
    }
    const ek_type *type = ek_type_find(tensor->type);
    for (int32_t i = 0; i < count; i++) {
        ek_matrix *matrix = (ek_matrix *)(void *)((uint8_t *)out + stride * (size_t)i);
        matrix->name = f->model->gguf.names + tensor->name;
        matrix->type = tensor->type;
        matrix->rows = (int32_t)rows;
        matrix->columns = (int32_t)columns;
        matrix->row_bytes = columns / type->columns * type->bytes;
        matrix->offset = tensor->offset + i * rows * matrix->row_bytes;
        matrix->index = f->model->matrix_count++;
    }
}

static void find_matrix(finder *f, const char *name, int required, int64_t columns, int64_t rows,
                        ek_matrix *out) {
    find_matrices(f, name, required, columns, rows, 1, 0, out);
}

static void find_vector(finder *f, const char *name, int required, int64_t count, ek_vector *out) {
    ek_gguf_tensor *tensor = take_tensor(f, name, required);
    if (tensor == NULL) {
        return;
    }
    if (tensor->sizes[0] != count || ek_type_find(tensor->type)->columns != 1 ||
        tensor->sizes[1] * tensor->sizes[2] * tensor->sizes[3] != 1) {
        refuse_shape(f, tensor, name);
        return;
    }
    *out = (ek_vector){f->model->gguf.names + tensor->name, tensor->offset, (int32_t)count,
                       tensor->type, f->model->vector_count++};
}

static const char *layer_name(char *text, int32_t layer, const char *part) {
    snprintf(text, NAME_BYTES, "blk.%d.%s", (int)layer, part);
    return text;
}

static void find_attention(finder *f, int32_t index, ek_layer *layer) {
    char name[NAME_BYTES];
    const ek_llm_facts *facts = &f->model->facts;
    int64_t query_width = (int64_t)facts->heads * facts->head_width;
    int64_t key_width = (int64_t)facts->kv_heads * facts->head_width;
    int biased = strcmp(facts->architecture, "qwen2") == 0;
    int normed = strcmp(facts->architecture, "qwen3") == 0;
    find_vector(f, layer_name(name, index, "attn_norm.weight"), 1, facts->width,
                &layer->attention_norm);
    find_matrix(f, layer_name(name, index, "attn_q.weight"), 1, facts->width, query_width,
                &layer->query);
    find_matrix(f, layer_name(name, index, "attn_k.weight"), 1, facts->width, key_width,
                &layer->key);
    find_matrix(f, layer_name(name, index, "attn_v.weight"), 1, facts->width, key_width,
                &layer->value);
    find_matrix(f, layer_name(name, index, "attn_output.weight"), 1, query_width, facts->width,
                &layer->attention_output);
    find_vector(f, layer_name(name, index, "attn_q.bias"), biased, query_width, &layer->query_bias);
    find_vector(f, layer_name(name, index, "attn_k.bias"), biased, key_width, &layer->key_bias);
    find_vector(f, layer_name(name, index, "attn_v.bias"), biased, key_width, &layer->value_bias);
    find_vector(f, layer_name(name, index, "attn_output.bias"), 0, facts->width,
                &layer->attention_output_bias);
    if (normed) {
        find_vector(f, layer_name(name, index, "attn_q_norm.weight"), 1, facts->head_width,
                    &layer->query_norm);
        find_vector(f, layer_name(name, index, "attn_k_norm.weight"), 1, facts->head_width,
                    &layer->key_norm);
    }
}

static void find_feed_forward(finder *f, int32_t index, ek_layer *layer) {
    char name[NAME_BYTES];
    const ek_llm_facts *facts = &f->model->facts;
    int64_t width = facts->width;
    int64_t inner = facts->feed_forward_width;
    int32_t count = layer->expert_count;
    const char *gate = facts->experts > 0 ? "ffn_gate_exps.weight" : "ffn_gate.weight";
    const char *up = facts->experts > 0 ? "ffn_up_exps.weight" : "ffn_up.weight";
    const char *down = facts->experts > 0 ? "ffn_down_exps.weight" : "ffn_down.weight";
    find_vector(f, layer_name(name, index, "ffn_norm.weight"), 1, width, &layer->feed_forward_norm);
    if (facts->experts > 0) {
        find_matrix(f, layer_name(name, index, "ffn_gate_inp.weight"), 1, width, facts->experts,
                    &layer->router);
    }
    if (f->model->feed_forward == EK_FEED_FORWARD_SILU_GATED) {
        find_matrices(f, layer_name(name, index, gate), 1, width, inner, count, sizeof(ek_expert),
                      &layer->experts->gate);
    }
    find_matrices(f, layer_name(name, index, up), 1, width, inner, count, sizeof(ek_expert),
                  &layer->experts->up);
    find_matrices(f, layer_name(name, index, down), 1, inner, width, count, sizeof(ek_expert),
                  &layer->experts->down);
}

static void find_ends(finder *f) {
    ek_llm_model *model = f->model;
    ek_llm_facts *facts = &model->facts;
    const ek_gguf_tensor *embedding = take_tensor(f, "token_embd.weight", 1);
    if (embedding == NULL) {
        return;
    }
    if (embedding->sizes[1] > INT32_MAX / 2) {
        refuse_shape(f, embedding, "token_embd.weight");
        return;
    }
    facts->vocabulary_size = (int32_t)embedding->sizes[1];
    find_matrix(f, "token_embd.weight", 1, facts->width, facts->vocabulary_size, &model->embedding);
    find_vector(f, "output_norm.weight", 1, facts->width, &model->output_norm);
    find_matrix(f, "output.weight", 0, facts->width, facts->vocabulary_size, &model->output);
    if (model->output.rows == 0) {
        model->output = model->embedding;
        facts->tied_embeddings = 1;
    }
    find_vector(f, "rope_freqs.weight", 0, model->rope.width / 2, &model->rope.divisors);
}

static void sum_tensors(finder *f) {
    const ek_gguf *gguf = &f->model->gguf;
    for (size_t i = 0; i < gguf->tensor_count && f->status == EK_STATUS_OK; i++) {
        const ek_gguf_tensor *tensor = &gguf->tensors[i];
        const ek_type *type = ek_type_find(tensor->type);
        if (!tensor->used) {
            f->status = ek_report(f->message, EK_STATUS_UNSUPPORTED,
                                  "tensor %s has no place in a %s model that is computed",
                                  gguf->names + tensor->name, f->model->facts.architecture);
        }
        f->model->facts.weights_bytes += tensor->bytes;
        f->model->facts.parameters += tensor->bytes / type->bytes * type->columns;
    }
}

ek_status ek_model_find_tensors(ek_llm_model *model, const ek_message *message) {
    finder f = {.model = model, .message = message, .status = EK_STATUS_OK};
    size_t layers = (size_t)model->facts.layers;
    size_t experts = model->facts.experts > 0 ? (size_t)model->facts.experts : 1;
    find_ends(&f);
    model->layers = calloc(layers, sizeof *model->layers);
    if (model->layers == NULL) {
        return ek_report(message, EK_STATUS_OUT_OF_MEMORY, "no memory for %zu layers", layers);
    }
    for (size_t i = 0; i < layers && f.status == EK_STATUS_OK; i++) {
        ek_layer *layer = &model->layers[i];
        layer->expert_count = (int32_t)experts;
        layer->experts = calloc(experts, sizeof *layer->experts);
        if (layer->experts == NULL) {
            return ek_report(message, EK_STATUS_OUT_OF_MEMORY, "no memory for layer %zu", i);
        }
        find_attention(&f, (int32_t)i, layer);
        find_feed_forward(&f, (int32_t)i, layer);
    }
    if (f.status == EK_STATUS_OK) {
        sum_tensors(&f);
    }
    model->heap_bytes = (int64_t)(sizeof *model + layers * sizeof *model->layers +
                                  layers * experts * sizeof(ek_expert)) +
                        model->gguf.heap_bytes;
    return f.status;
}

static void visit_matrix(ek_matrix_visit visit, void *context, const ek_matrix *matrix) {
    if (matrix->rows > 0) {
        visit(context, matrix);
    }
}

void ek_model_visit_matrices(const ek_llm_model *model, ek_matrix_visit visit, void *context) {
    visit(context, &model->embedding);
    for (int32_t i = 0; i < model->facts.layers; i++) {
        const ek_layer *layer = &model->layers[i];
        visit_matrix(visit, context, &layer->query);
        visit_matrix(visit, context, &layer->key);
        visit_matrix(visit, context, &layer->value);
        visit_matrix(visit, context, &layer->attention_output);
        visit_matrix(visit, context, &layer->router);
        for (int32_t e = 0; e < layer->expert_count; e++) {
            visit_matrix(visit, context, &layer->experts[e].gate);
            visit_matrix(visit, context, &layer->experts[e].up);
            visit_matrix(visit, context, &layer->experts[e].down);
        }
    }
    if (!model->facts.tied_embeddings) {
        visit(context, &model->output);
    }
}

static void visit_vector(ek_vector_visit visit, void *context, const ek_vector *vector) {
    if (vector->count > 0) {
        visit(context, vector);
    }
}

void ek_model_visit_vectors(const ek_llm_model *model, ek_vector_visit visit, void *context) {
    visit_vector(visit, context, &model->rope.divisors);
    for (int32_t i = 0; i < model->facts.layers; i++) {
        const ek_layer *layer = &model->layers[i];
        const ek_vector *vectors[] = {
            &layer->attention_norm,
            &layer->query_bias,
            &layer->key_bias,
            &layer->value_bias,
            &layer->query_norm,
            &layer->key_norm,
            &layer->attention_output_bias,
            &layer->feed_forward_norm,
        };
        for (size_t v = 0; v < sizeof vectors / sizeof vectors[0]; v++) {
            visit_vector(visit, context, vectors[v]);
        }
    }
    visit_vector(visit, context, &model->output_norm);
}
