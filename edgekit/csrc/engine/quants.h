/* Tensor types of GGUF files: sizes, names, and the block formats that the kernels compute.
 *
 * Formats: ggml/src/ggml-common.h of llama.cpp. Scales are IEEE half floats, little endian.
 *   Q8_0  32 weights: scale, 32 int8
 *   Q4_0  32 weights: scale, 16 bytes; byte j holds weight j (low) and j + 16 (high), each + 8
 *   Q4_K  256 weights: scale, scale of minima, 12 bytes with 8 scales and 8 minima of 6 bits,
 *         128 bytes; of each 32 bytes the low nibbles are 32 weights and the high ones the next 32
 *   Q6_K  256 weights: 128 bytes with the low 4 bits, 64 bytes with the high 2 bits, 16 int8
 *         scales, scale; each weight + 32
 */
#ifndef EDGEKIT_ENGINE_QUANTS_H
#define EDGEKIT_ENGINE_QUANTS_H

#include <stdint.h>

enum {
    EK_TYPE_F32 = 0,
    EK_TYPE_F16 = 1,
    EK_TYPE_Q4_0 = 2,
    EK_TYPE_Q8_0 = 8,
    EK_TYPE_Q4_K = 12,
    EK_TYPE_Q6_K = 14,
    EK_TYPE_BF16 = 30
};

enum { EK_Q8_0_BYTES = 34, EK_Q4_0_BYTES = 18, EK_Q4_K_BYTES = 144, EK_Q6_K_BYTES = 210 };
/* Rows that are interleaved: eight floats fill one AVX2 register. */
enum { EK_ROW_GROUP = 8 };

/* How activations must be prepared for weights of a type. */
typedef enum ek_form {
    EK_FORM_FLOAT = 0,
    EK_FORM_BLOCKS_32 = 1, /* int8 with one scale for 32 columns */
    EK_FORM_BLOCKS_256 = 2 /* int8 with one scale for 256 columns */
} ek_form;

typedef struct ek_type {
    const char *name;
    int32_t columns; /* of one block */
    int32_t bytes;   /* of one block */
    ek_form form;
    int32_t computed; /* 1: the kernels know it; 0: only its name is known */
} ek_type;

/* NULL for a number that no known version of ggml uses. */
const ek_type *ek_type_find(uint32_t number);

float ek_half_to_float(uint16_t half);
uint16_t ek_float_to_half(float value);

/* One row as it lies in the file, to floats. The type must be `computed`. */
void ek_dequantize_row(uint32_t type, const uint8_t *row, int32_t columns, float *out);

/* Puts the same bytes of eight rows in the order that the kernels read.
 *
 * For each block of columns: first the parts that are not a multiple of four bytes long or are
 * needed as one vector (scales of all eight rows), then words of four bytes, eight rows side by
 * side. A group of rows keeps its place and its size.
 */
void ek_interleave_rows(uint32_t type, const uint8_t *rows, int32_t columns, uint8_t *out);
/* The inverse for one row of the group. */
void ek_extract_row(uint32_t type, const uint8_t *group, int32_t columns, int32_t row,
                    uint8_t *out);

#endif
