/* Kernels that pick and compare elements. Part of kernels.h. */
#ifndef EDGEKIT_KERNELS_SELECTION_H
#define EDGEKIT_KERNELS_SELECTION_H

/* The place of the largest or smallest element along the middle axis of (outer, depth, inner); the
 * first among equals. A NaN counts as the largest and the smallest. */
typedef struct ek_arg_params {
    int32_t outer;
    int32_t depth;
    int32_t inner;
    int32_t output_bytes; /* 4 or 8, of an integer of the output */
} ek_arg_params;

EK_KERNEL ek_status ek_arg_max_s8(const ek_arg_params *params, const int8_t *input, void *output);
EK_KERNEL ek_status ek_arg_min_s8(const ek_arg_params *params, const int8_t *input, void *output);
EK_KERNEL ek_status ek_arg_max_f32(const ek_arg_params *params, const float *input, void *output);
EK_KERNEL ek_status ek_arg_min_f32(const ek_arg_params *params, const float *input, void *output);

/* Rows of `row_bytes` from a table (outer, entries, row); indices below zero count from the end.
 * EK_STATUS_OUT_OF_RANGE where the table has no such row. */
typedef struct ek_gather_params {
    int32_t outer;
    int32_t entries;
    int32_t row_bytes;
    int32_t indices;
    int32_t index_bytes; /* 4 or 8, of an integer of the indices */
} ek_gather_params;

EK_KERNEL ek_status ek_gather(const ek_gather_params *params, const void *table,
                              const void *indices, void *output);

/* An image at another size: "rows" and "columns" say where each pixel of the output comes from. */
typedef struct ek_resize_nearest_params {
    int32_t batches;
    int32_t input_height;
    int32_t input_width;
    int32_t output_height;
    int32_t output_width;
    int32_t pixel_bytes;
    const int32_t *rows;    /* (output height) */
    const int32_t *columns; /* (output width) */
} ek_resize_nearest_params;

EK_KERNEL ek_status ek_resize_nearest(const ek_resize_nearest_params *params, const void *input,
                                      void *output);

/* Between four pixels: "rows" and "columns" hold the pixel before, the pixel after, and the
 * distance to the one before, with 10 fractional bits. */
typedef struct ek_resize_bilinear_s8_params {
    int32_t batches;
    int32_t input_height;
    int32_t input_width;
    int32_t channels;
    int32_t output_height;
    int32_t output_width;
    const int32_t *rows;    /* (output height, 3) */
    const int32_t *columns; /* (output width, 3) */
} ek_resize_bilinear_s8_params;

EK_KERNEL ek_status ek_resize_bilinear_s8(const ek_resize_bilinear_s8_params *params,
                                          const int8_t *input, int8_t *output);

/* The same with distances in float32. */
typedef struct ek_resize_bilinear_f32_params {
    int32_t batches;
    int32_t input_height;
    int32_t input_width;
    int32_t channels;
    int32_t output_height;
    int32_t output_width;
    const int32_t *rows;           /* (output height, 2) */
    const int32_t *columns;        /* (output width, 2) */
    const float *row_distances;    /* (output height) */
    const float *column_distances; /* (output width) */
} ek_resize_bilinear_f32_params;

EK_KERNEL ek_status ek_resize_bilinear_f32(const ek_resize_bilinear_f32_params *params,
                                           const float *input, float *output);

/* Element-wise on two operands to truth values; broadcast as by ek_binary_f32_params. */
typedef struct ek_compare_params {
    int32_t dims[EK_KERNEL_AXES];
    int32_t first_strides[EK_KERNEL_AXES];
    int32_t second_strides[EK_KERNEL_AXES];
} ek_compare_params;

EK_KERNEL ek_status ek_equal_f32(const ek_compare_params *params, const float *first,
                                 const float *second, uint8_t *output);
EK_KERNEL ek_status ek_less_f32(const ek_compare_params *params, const float *first,
                                const float *second, uint8_t *output);
EK_KERNEL ek_status ek_greater_f32(const ek_compare_params *params, const float *first,
                                   const float *second, uint8_t *output);
EK_KERNEL ek_status ek_less_equal_f32(const ek_compare_params *params, const float *first,
                                      const float *second, uint8_t *output);
EK_KERNEL ek_status ek_greater_equal_f32(const ek_compare_params *params, const float *first,
                                         const float *second, uint8_t *output);
EK_KERNEL ek_status ek_logical_and(const ek_compare_params *params, const uint8_t *first,
                                   const uint8_t *second, uint8_t *output);
EK_KERNEL ek_status ek_logical_or(const ek_compare_params *params, const uint8_t *first,
                                  const uint8_t *second, uint8_t *output);
/* Of the first operand. */
EK_KERNEL ek_status ek_logical_not(const ek_compare_params *params, const uint8_t *first,
                                   uint8_t *output);

/* Elements of the output, which is filled with the operand of "false" before, where the condition
 * holds. Broadcast by strides of zero. */
typedef struct ek_where_params {
    int32_t item_bytes;
    int32_t dims[EK_KERNEL_AXES];
    int32_t condition_strides[EK_KERNEL_AXES];
    int32_t input_strides[EK_KERNEL_AXES];
} ek_where_params;

EK_KERNEL ek_status ek_where(const ek_where_params *params, const uint8_t *condition,
                             const void *input, void *output);

#endif
