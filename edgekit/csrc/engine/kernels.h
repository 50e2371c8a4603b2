/* The arithmetic of the engine: one table of functions for each kind of processor.
 *
 * All variants give the same result to the bit:
 *   blocks  integer dot products are exact; for each row one accumulator runs over the blocks in
 *           order, accumulator = fma((float)sum, weight scale * activation scale, accumulator)
 *   floats  eight accumulators, element i goes to i mod 8, added as ek_sum8 does
 * A result never depends on how many tokens or rows are computed together.
 */
#ifndef EDGEKIT_ENGINE_KERNELS_H
#define EDGEKIT_ENGINE_KERNELS_H

#include <stdint.h>

#include "quants.h"

enum { EK_TYPE_LIMIT = 31, EK_TILE_POSITIONS = 32 };

/* Quantized activations. `columns` is a multiple of the block. */
typedef struct ek_blocks {
    const int8_t *values; /* [tokens][columns], -127 .. 127 */
    const float *scales;  /* [tokens][columns / block] */
    /* blocks of 32: int32 [tokens][columns / 32], 8 x the block's sum
     * blocks of 256: int16 [tokens][columns / 16], sums of 16 */
    const int32_t *sums;
    int32_t tokens;
    int32_t columns;
} ek_blocks;

/* out[token * out_stride + 8 * group + lane]; the rows as ek_interleave_rows leaves them. */
typedef void (*ek_group_kernel)(const uint8_t *groups, int32_t group_count, const ek_blocks *x,
                                float *out, int64_t out_stride);
/* out[token * out_stride + row]; the rows as they lie in the file. */
typedef void (*ek_row_kernel)(const uint8_t *rows, int32_t row_count, const float *x,
                              int32_t columns, int32_t tokens, float *out, int64_t out_stride);

/* Softmax in progress for one query: exp(score - maximum) summed in lanes of position mod 8. */
typedef struct ek_softmax {
    float maximum;
    float sums[8];
} ek_softmax;

/* 32 positions of one KV head as floats. */
typedef struct ek_tile {
    float *keys;   /* [4][head_width][8]: lanes are positions */
    float *values; /* [32][head_width] */
    int32_t head_width;
    int32_t valid; /* positions that the query sees, 1 .. 32 */
} ek_tile;

typedef struct ek_kernels {
    const char *name;
    ek_group_kernel groups[EK_TYPE_LIMIT]; /* by type; NULL for floats */
    ek_row_kernel rows[EK_TYPE_LIMIT];     /* by type; NULL for blocks */
    /* One token. Scale = largest magnitude / 127, rounded to the nearest, ties to even. */
    void (*quantize_32)(const float *x, int32_t columns, int8_t *values, float *scales,
                        int32_t *sums);
    void (*quantize_256)(const float *x, int32_t columns, int8_t *values, float *scales,
                         int16_t *sums);
    /* out = x / sqrt(mean(x^2) + epsilon) * weight; out may be x. */
    void (*rms_norm)(const float *x, const float *weight, int32_t count, float epsilon, float *out);
    /* gate = silu(gate) * up */
    void (*silu_gate)(float *gate, const float *up, int32_t count);
    void (*half_to_float)(const uint16_t *halves, int64_t count, float *out);
    /* Adds a tile to one query's output: `state` and `out` are carried from tile to tile. */
    void (*attend)(const float *query, const ek_tile *tile, ek_softmax *state, float *out);
} ek_kernels;

extern const ek_kernels ek_engine_portable;
#if defined(EK_ENGINE_AVX2)
extern const ek_kernels ek_engine_avx2;
extern const ek_kernels ek_engine_avx512; /* with VNNI; the rest is AVX2's */
#endif
#if defined(EK_ENGINE_NEON)
extern const ek_kernels ek_engine_neon;      /* with the dot product of ARMv8.2 */
extern const ek_kernels ek_engine_neon_i8mm; /* with the matrix product of ARMv8.6 too */
#endif

/* The fastest that this processor has. */
const ek_kernels *ek_engine_best(void);

/* The portable functions. */
void ek_group_q8_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                   int64_t out_stride);
void ek_group_q4_0(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                   int64_t out_stride);
void ek_group_q4_k(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                   int64_t out_stride);
void ek_group_q6_k(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                   int64_t out_stride);
void ek_rows_f32(const uint8_t *rows, int32_t row_count, const float *x, int32_t columns,
                 int32_t tokens, float *out, int64_t out_stride);
void ek_rows_f16(const uint8_t *rows, int32_t row_count, const float *x, int32_t columns,
                 int32_t tokens, float *out, int64_t out_stride);
void ek_rows_bf16(const uint8_t *rows, int32_t row_count, const float *x, int32_t columns,
                  int32_t tokens, float *out, int64_t out_stride);
void ek_quantize_32(const float *x, int32_t columns, int8_t *values, float *scales, int32_t *sums);
void ek_quantize_256(const float *x, int32_t columns, int8_t *values, float *scales, int16_t *sums);
void ek_rms_norm(const float *x, const float *weight, int32_t count, float epsilon, float *out);
void ek_silu_gate(float *gate, const float *up, int32_t count);
void ek_half_to_float_many(const uint16_t *halves, int64_t count, float *out);
void ek_attend(const float *query, const ek_tile *tile, ek_softmax *state, float *out);

#endif
