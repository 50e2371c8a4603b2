#include "kv_cache.h"

#include <math.h>
#include <string.h>

#include "edgekit/llm.h"
#include "scalar_math.h"

static int64_t element_bytes(const ek_kv_shape *shape) {
    return shape->type == EK_LLM_KV_Q8 ? 1 : shape->type == EK_LLM_KV_F16 ? 2 : 4;
}

static int64_t head_bytes(const ek_kv_shape *shape) {
    int64_t values = (int64_t)shape->context * shape->head_width * element_bytes(shape);
    int64_t scales = shape->type == EK_LLM_KV_Q8 ? shape->context * (int64_t)sizeof(float) : 0;
    return 2 * (values + scales);
}

int64_t ek_kv_bytes(const ek_kv_shape *shape) {
    return head_bytes(shape) * shape->layers * shape->kv_heads;
}

ek_kv_head ek_kv_find(const ek_kv_shape *shape, uint8_t *cache, int32_t layer, int32_t head) {
    int64_t index = (int64_t)layer * shape->kv_heads + head;
    int64_t values = (int64_t)shape->context * shape->head_width * element_bytes(shape);
    ek_kv_head found = {.keys = cache + index * head_bytes(shape)};
    found.values = found.keys + values;
    if (shape->type == EK_LLM_KV_Q8) {
        found.key_scales = (float *)(void *)(found.values + values);
        found.value_scales = found.key_scales + shape->context;
    }
    return found;
}

static void store_f16(const ek_kv_shape *shape, const ek_kv_head *head, int32_t position,
                      const float *key, const float *value) {
    int64_t width = shape->head_width;
    uint16_t *keys = (uint16_t *)(void *)head->keys + position / 8 * width * 8 + position % 8;
    uint16_t *values = (uint16_t *)(void *)head->values + position * width;
    for (int64_t i = 0; i < width; i++) {
        keys[i * 8] = ek_float_to_half(key[i]);
        values[i] = ek_float_to_half(value[i]);
    }
}

static void store_f32(const ek_kv_shape *shape, const ek_kv_head *head, int32_t position,
                      const float *key, const float *value) {
    int64_t width = shape->head_width;
    float *keys = (float *)(void *)head->keys + position / 8 * width * 8 + position % 8;
    float *values = (float *)(void *)head->values + position * width;
    for (int64_t i = 0; i < width; i++) {
        keys[i * 8] = key[i];
        values[i] = value[i];
    }
}

static float quantize(const float *x, int64_t count, uint8_t *out, int64_t stride) {
    float limit = 0.0f;
    for (int64_t i = 0; i < count; i++) {
        limit = fabsf(x[i]) > limit ? fabsf(x[i]) : limit;
    }
    float inverse = limit > 0.0f ? 127.0f / limit : 0.0f;
    for (int64_t i = 0; i < count; i++) {
        float shifted = x[i] * inverse + EK_ROUND_MAGIC;
        int32_t bits;
        memcpy(&bits, &shifted, sizeof bits);
        out[i * stride] = (uint8_t)(bits - EK_ROUND_MAGIC_BITS);
    }
    return limit / 127.0f;
}

void ek_kv_store(const ek_kv_shape *shape, const ek_kv_head *head, int32_t position,
                 const float *key, const float *value) {
    int64_t width = shape->head_width;
    if (shape->type == EK_LLM_KV_F16) {
        store_f16(shape, head, position, key, value);
        return;
    }
    if (shape->type == EK_LLM_KV_F32) {
        store_f32(shape, head, position, key, value);
        return;
    }
    uint8_t *keys = head->keys + position / 8 * width * 8 + position % 8;
    head->key_scales[position] = quantize(key, width, keys, 8);
    head->value_scales[position] = quantize(value, width, head->values + position * width, 1);
}

static void load_q8(const ek_kv_shape *shape, const ek_kv_head *head, int64_t first,
                    ek_tile *tile) {
    int64_t width = shape->head_width;
    const int8_t *keys = (const int8_t *)head->keys + first * width;
    const int8_t *values = (const int8_t *)head->values + first * width;
    for (int64_t i = 0; i < EK_TILE_POSITIONS * width; i++) {
        int64_t position = first + i / (8 * width) * 8 + i % 8;
        tile->keys[i] = head->key_scales[position] * (float)keys[i];
    }
    for (int64_t p = 0; p < EK_TILE_POSITIONS; p++) {
        for (int64_t i = 0; i < width; i++) {
            float value = (float)values[p * width + i];
            tile->values[p * width + i] = head->value_scales[first + p] * value;
        }
    }
}

void ek_kv_load(const ek_kv_shape *shape, const ek_kv_head *head, const ek_kernels *kernels,
                int32_t index, ek_tile *tile) {
    int64_t first = (int64_t)index * EK_TILE_POSITIONS;
    int64_t count = (int64_t)EK_TILE_POSITIONS * shape->head_width;
    if (shape->type == EK_LLM_KV_Q8) {
        load_q8(shape, head, first, tile);
        return;
    }
    int64_t at = first * shape->head_width;
    if (shape->type == EK_LLM_KV_F32) {
        memcpy(tile->keys, (float *)(void *)head->keys + at, (size_t)count * sizeof(float));
        memcpy(tile->values, (float *)(void *)head->values + at, (size_t)count * sizeof(float));
        return;
    }
    kernels->half_to_float((const uint16_t *)(void *)head->keys + at, count, tile->keys);
    kernels->half_to_float((const uint16_t *)(void *)head->values + at, count, tile->values);
}

int32_t ek_kv_parts(const ek_kv_shape *shape, const ek_kv_head *head, int32_t positions,
                    ek_kv_part parts[4]) {
    int64_t row_bytes = shape->head_width * element_bytes(shape);
    int64_t whole = ((int64_t)positions + 7) / 8 * 8;
    parts[0] = (ek_kv_part){head->keys, whole * row_bytes};
    parts[1] = (ek_kv_part){head->values, positions * row_bytes};
    if (shape->type != EK_LLM_KV_Q8) {
        return 2;
    }
    int64_t scale_bytes = positions * (int64_t)sizeof(float);
    parts[2] = (ek_kv_part){(uint8_t *)head->key_scales, scale_bytes};
    parts[3] = (ek_kv_part){(uint8_t *)head->value_scales, scale_bytes};
    return 4;
}
