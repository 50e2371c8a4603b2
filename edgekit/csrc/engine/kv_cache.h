/* Keys and values of all positions of one session.
 *
 * For each layer and KV head: keys in groups of eight positions, [context / 8][head_width][8], then
 * values, [context][head_width]; for 8 bits also one scale for each position's key and value.
 */
#ifndef EDGEKIT_ENGINE_KV_CACHE_H
#define EDGEKIT_ENGINE_KV_CACHE_H

#include <stdint.h>

#include "kernels.h"

typedef struct ek_kv_shape {
    int32_t layers;
    int32_t kv_heads;
    int32_t head_width;
    int32_t context; /* positions, a multiple of EK_TILE_POSITIONS */
    int32_t type;    /* ek_llm_kv_type */
} ek_kv_shape;

/* One KV head of one layer. */
typedef struct ek_kv_head {
    uint8_t *keys;
    uint8_t *values;
    float *key_scales; /* NULL but for 8 bits */
    float *value_scales;
} ek_kv_head;

int64_t ek_kv_bytes(const ek_kv_shape *shape);
ek_kv_head ek_kv_find(const ek_kv_shape *shape, uint8_t *cache, int32_t layer, int32_t head);

void ek_kv_store(const ek_kv_shape *shape, const ek_kv_head *head, int32_t position,
                 const float *key, const float *value);
/* Positions 32 * index and on, as floats. */
void ek_kv_load(const ek_kv_shape *shape, const ek_kv_head *head, const ek_kernels *kernels,
                int32_t index, ek_tile *tile);

/* The parts of a head that hold the first `positions`, for saving: up to four. */
typedef struct ek_kv_part {
    uint8_t *data;
    int64_t bytes;
} ek_kv_part;
int32_t ek_kv_parts(const ek_kv_shape *shape, const ek_kv_head *head, int32_t positions,
                    ek_kv_part parts[4]);

#endif
