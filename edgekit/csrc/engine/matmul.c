#include <string.h>

#include "engine.h"
#include "quants.h"

/* Bytes of weights for one item of the pool: enough to be worth taking. */
enum { ITEM_BYTES = 1 << 16 };

void ek_set_input(ek_llm_engine *engine, const float *values, int32_t columns, int32_t tokens) {
    engine->input = (ek_input){values, columns, tokens, EK_FORM_FLOAT};
}

static void quantize_token(void *context, int32_t token, int32_t thread) {
    const ek_llm_engine *engine = context;
    const ek_activations *a = &engine->activations;
    int64_t columns = engine->input.columns;
    const float *x = engine->input.values + token * columns;
    int8_t *values = a->values + token * columns;
    (void)thread;
    if (engine->input.form == EK_FORM_BLOCKS_32) {
        int64_t at = token * (columns / 32);
        engine->kernels->quantize_32(x, (int32_t)columns, values, a->scales + at, a->sums + at);
    } else {
        int16_t *sums = (int16_t *)(void *)a->sums + token * (columns / 16);
        engine->kernels->quantize_256(x, (int32_t)columns, values,
                                      a->scales + token * (columns / 256), sums);
    }
}

/* One span of one matrix. */
typedef struct product {
    ek_llm_engine *engine;
    const ek_matrix *matrix;
    ek_span span;
    ek_blocks blocks;
    float *out; /* of the span's first row */
    int32_t rows_per_item;
} product;

/* The rows after the last whole group: a group of them and zeros. */
static void multiply_tail(const product *p, const uint8_t *rows, int32_t count, float *out,
                          uint8_t *scratch) {
    const ek_matrix *matrix = p->matrix;
    float *tail = p->engine->activations.tail;
    size_t held = (size_t)(count * matrix->row_bytes);
    size_t whole = (size_t)(EK_ROW_GROUP * matrix->row_bytes);
    /* Interleaved from the second half of the scratch into the first. */
    uint8_t *plain = scratch + whole;
    memcpy(plain, rows, held);
    memset(plain + held, 0, whole - held);
    ek_interleave_rows(matrix->type, plain, matrix->columns, scratch);
    p->engine->kernels->groups[matrix->type](scratch, 1, &p->blocks, tail, EK_ROW_GROUP);
    for (int32_t t = 0; t < p->blocks.tokens; t++) {
        memcpy(out + (int64_t)t * matrix->rows, tail + (int64_t)t * EK_ROW_GROUP,
               (size_t)count * sizeof(float));
    }
}

static void multiply_item(void *context, int32_t item, int32_t thread) {
    const product *p = context;
    const ek_matrix *matrix = p->matrix;
    const ek_input *input = &p->engine->input;
    int32_t first = item * p->rows_per_item;
    int32_t left = p->span.rows - first;
    int32_t count = left < p->rows_per_item ? left : p->rows_per_item;
    const uint8_t *rows = p->span.data + first * matrix->row_bytes;
    float *out = p->out + first;
    ek_row_kernel kernel = p->engine->kernels->rows[matrix->type];
    if (kernel != NULL) {
        kernel(rows, count, input->values, input->columns, input->tokens, out, matrix->rows);
        return;
    }
    uint8_t *scratch = p->engine->scratch[thread].rows;
    int32_t groups = count / EK_ROW_GROUP;
    p->engine->kernels->groups[matrix->type](rows, groups, &p->blocks, out, matrix->rows);
    int32_t done = groups * EK_ROW_GROUP;
    if (done < count) {
        multiply_tail(p, rows + done * matrix->row_bytes, count - done, out + done, scratch);
    }
}

static int32_t rows_per_item(const ek_llm_engine *engine, const ek_matrix *matrix) {
    if (engine->pool == NULL) {
        return matrix->rows;
    }
    int64_t groups = ITEM_BYTES / (matrix->row_bytes * EK_ROW_GROUP);
    return (int32_t)(groups < 1 ? 1 : groups) * EK_ROW_GROUP;
}

ek_status ek_matmul(ek_llm_engine *engine, const ek_matrix *matrix, float *out) {
    ek_input *input = &engine->input;
    const ek_activations *a = &engine->activations;
    ek_form form = ek_type_find(matrix->type)->form;
    if (form != EK_FORM_FLOAT && form != input->form) {
        input->form = form;
        ek_pool_run(engine->pool, quantize_token, engine, input->tokens);
    }
    product p = {.engine = engine, .matrix = matrix};
    p.blocks = (ek_blocks){a->values, a->scales, a->sums, input->tokens, input->columns};
    p.rows_per_item = rows_per_item(engine, matrix);
    for (int32_t row = 0; row < matrix->rows; row += p.span.rows) {
        ek_status status = ek_weights_acquire(&engine->weights, matrix, row, &p.span);
        if (status != EK_STATUS_OK) {
            return status;
        }
        p.out = out + row;
        int32_t items = (p.span.rows - 1) / p.rows_per_item + 1;
        ek_pool_run(engine->pool, multiply_item, &p, items);
        ek_weights_release(&engine->weights, &p.span);
    }
    return EK_STATUS_OK;
}
