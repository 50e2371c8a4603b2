/* Kernels of operators on float32: the same plain loops on every core and on the host.
 *
 * Conventions are those of kernels.h, which includes this header. Sums are formed in float32 in the
 * order of the loops, without contraction to fused operations, so that a core with a floating-point
 * unit and the host agree bit for bit. Bounds of activations may be infinite; a NaN stays a NaN.
 */
#ifndef EDGEKIT_KERNELS_F32_H
#define EDGEKIT_KERNELS_F32_H

/* A window that slides over an image. */
typedef struct ek_conv2d_f32_params {
    int32_t batches;
    int32_t input_height;
    int32_t input_width;
    int32_t input_channels;
    int32_t output_height;
    int32_t output_width;
    int32_t output_channels;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_height;
    int32_t stride_width;
    int32_t dilation_height;
    int32_t dilation_width;
    int32_t pad_top;
    int32_t pad_left;
    int32_t groups; /* of a depthwise convolution: the input channels */
    float activation_min;
    float activation_max;
    const float *bias; /* (output channels) */
} ek_conv2d_f32_params;

/* Weights (output channels, kernel height, kernel width, input channels / groups). */
EK_KERNEL ek_status ek_conv2d_f32(const ek_conv2d_f32_params *params, const float *input,
                                  const float *weights, float *output);
/* Weights (kernel height, kernel width, output channels). */
EK_KERNEL ek_status ek_depthwise_conv2d_f32(const ek_conv2d_f32_params *params, const float *input,
                                            const float *weights, float *output);
/* Weights (output channels, kernel height, kernel width, input channels); pads are cut off. */
EK_KERNEL ek_status ek_transpose_conv2d_f32(const ek_conv2d_f32_params *params, const float *input,
                                            const float *weights, float *output);

/* Products of matrices: (rows, depth) times (columns, depth), for every place of the batch axes.
 * Also a dense layer, whose bias is added. Strides count elements. */
typedef struct ek_matmul_f32_params {
    int32_t batch_dims[EK_KERNEL_AXES];
    int32_t first_strides[EK_KERNEL_AXES];
    int32_t second_strides[EK_KERNEL_AXES];
    int32_t rows;
    int32_t depth;
    int32_t columns;
    int32_t first_row_stride;
    int32_t first_depth_stride;
    int32_t second_column_stride;
    int32_t second_depth_stride;
    float activation_min;
    float activation_max;
    const float *bias; /* (columns) */
} ek_matmul_f32_params;

EK_KERNEL ek_status ek_matmul_f32(const ek_matmul_f32_params *params, const float *first,
                                  const float *second, float *output);

typedef struct ek_pool2d_f32_params {
    int32_t batches;
    int32_t input_height;
    int32_t input_width;
    int32_t channels;
    int32_t output_height;
    int32_t output_width;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_height;
    int32_t stride_width;
    int32_t dilation_height;
    int32_t dilation_width;
    int32_t pad_top;
    int32_t pad_left;
    int32_t padding_counts; /* 1 where an average counts padding as zeros */
    float activation_min;
    float activation_max;
} ek_pool2d_f32_params;

EK_KERNEL ek_status ek_average_pool2d_f32(const ek_pool2d_f32_params *params, const float *input,
                                          float *output);
EK_KERNEL ek_status ek_max_pool2d_f32(const ek_pool2d_f32_params *params, const float *input,
                                      float *output);

/* Element-wise on two operands. Operands are broadcast by strides of zero; the output is dense.
 * In place over an operand of its shape. */
typedef struct ek_binary_f32_params {
    int32_t dims[EK_KERNEL_AXES];
    int32_t first_strides[EK_KERNEL_AXES];
    int32_t second_strides[EK_KERNEL_AXES];
    float activation_min;
    float activation_max;
} ek_binary_f32_params;

EK_KERNEL ek_status ek_add_f32(const ek_binary_f32_params *params, const float *first,
                               const float *second, float *output);
EK_KERNEL ek_status ek_sub_f32(const ek_binary_f32_params *params, const float *first,
                               const float *second, float *output);
EK_KERNEL ek_status ek_mul_f32(const ek_binary_f32_params *params, const float *first,
                               const float *second, float *output);
EK_KERNEL ek_status ek_div_f32(const ek_binary_f32_params *params, const float *first,
                               const float *second, float *output);
EK_KERNEL ek_status ek_pow_f32(const ek_binary_f32_params *params, const float *first,
                               const float *second, float *output);
EK_KERNEL ek_status ek_squared_difference_f32(const ek_binary_f32_params *params,
                                              const float *first, const float *second,
                                              float *output);
EK_KERNEL ek_status ek_maximum_f32(const ek_binary_f32_params *params, const float *first,
                                   const float *second, float *output);
EK_KERNEL ek_status ek_minimum_f32(const ek_binary_f32_params *params, const float *first,
                                   const float *second, float *output);
/* The second operand is the slope where the first is negative. */
EK_KERNEL ek_status ek_prelu_f32(const ek_binary_f32_params *params, const float *first,
                                 const float *second, float *output);

/* Any function of one element. In place. */
typedef struct ek_unary_f32_params {
    int32_t elements;
    float first; /* what the function says */
    float second;
} ek_unary_f32_params;

/* first to second */
EK_KERNEL ek_status ek_clip_f32(const ek_unary_f32_params *params, const float *input,
                                float *output);
EK_KERNEL ek_status ek_sigmoid_f32(const ek_unary_f32_params *params, const float *input,
                                   float *output);
EK_KERNEL ek_status ek_tanh_f32(const ek_unary_f32_params *params, const float *input,
                                float *output);
/* first: the slope of negative elements */
EK_KERNEL ek_status ek_leaky_relu_f32(const ek_unary_f32_params *params, const float *input,
                                      float *output);
/* first: what negative elements tend to, negated */
EK_KERNEL ek_status ek_elu_f32(const ek_unary_f32_params *params, const float *input,
                               float *output);
EK_KERNEL ek_status ek_hard_swish_f32(const ek_unary_f32_params *params, const float *input,
                                      float *output);
/* first * x + second, from 0 to 1 */
EK_KERNEL ek_status ek_hard_sigmoid_f32(const ek_unary_f32_params *params, const float *input,
                                        float *output);
EK_KERNEL ek_status ek_exp_f32(const ek_unary_f32_params *params, const float *input,
                               float *output);
EK_KERNEL ek_status ek_log_f32(const ek_unary_f32_params *params, const float *input,
                               float *output);
EK_KERNEL ek_status ek_sqrt_f32(const ek_unary_f32_params *params, const float *input,
                                float *output);
EK_KERNEL ek_status ek_rsqrt_f32(const ek_unary_f32_params *params, const float *input,
                                 float *output);
EK_KERNEL ek_status ek_erf_f32(const ek_unary_f32_params *params, const float *input,
                               float *output);
EK_KERNEL ek_status ek_gelu_f32(const ek_unary_f32_params *params, const float *input,
                                float *output);
EK_KERNEL ek_status ek_gelu_tanh_f32(const ek_unary_f32_params *params, const float *input,
                                     float *output);
EK_KERNEL ek_status ek_softplus_f32(const ek_unary_f32_params *params, const float *input,
                                    float *output);
EK_KERNEL ek_status ek_floor_f32(const ek_unary_f32_params *params, const float *input,
                                 float *output);
EK_KERNEL ek_status ek_abs_f32(const ek_unary_f32_params *params, const float *input,
                               float *output);
EK_KERNEL ek_status ek_neg_f32(const ek_unary_f32_params *params, const float *input,
                               float *output);
EK_KERNEL ek_status ek_square_f32(const ek_unary_f32_params *params, const float *input,
                                  float *output);

/* Along the middle axis of (outer, depth, inner). In place. */
typedef struct ek_softmax_f32_params {
    int32_t outer;
    int32_t depth;
    int32_t inner;
    float beta;
} ek_softmax_f32_params;

EK_KERNEL ek_status ek_softmax_f32(const ek_softmax_f32_params *params, const float *input,
                                   float *output);

/* Over some axes, as ek_reduce_s8_params. */
typedef struct ek_reduce_f32_params {
    int32_t kept_dims[EK_KERNEL_AXES];
    int32_t kept_strides[EK_KERNEL_AXES];
    int32_t reduced_dims[EK_KERNEL_AXES];
    int32_t reduced_strides[EK_KERNEL_AXES];
    float divisor; /* of a sum: the number of elements for a mean, else 1 */
} ek_reduce_f32_params;

EK_KERNEL ek_status ek_reduce_sum_f32(const ek_reduce_f32_params *params, const float *input,
                                      float *output);
EK_KERNEL ek_status ek_reduce_max_f32(const ek_reduce_f32_params *params, const float *input,
                                      float *output);
EK_KERNEL ek_status ek_reduce_min_f32(const ek_reduce_f32_params *params, const float *input,
                                      float *output);
EK_KERNEL ek_status ek_reduce_l2_f32(const ek_reduce_f32_params *params, const float *input,
                                     float *output);

/* (outer, channels, inner): x times the scale plus the offset of its channel. In place. */
typedef struct ek_batch_norm_f32_params {
    int32_t outer;
    int32_t channels;
    int32_t inner;
    const float *mean;
    const float *scale;
    const float *offset;
} ek_batch_norm_f32_params;

EK_KERNEL ek_status ek_batch_norm_f32(const ek_batch_norm_f32_params *params, const float *input,
                                      float *output);

/* Rows of (rows, depth) to mean 0 and variance 1, then times gamma plus beta. In place. */
typedef struct ek_layer_norm_f32_params {
    int32_t rows;
    int32_t depth;
    float epsilon;
    const float *gamma; /* (depth) */
    const float *beta;  /* (depth) */
} ek_layer_norm_f32_params;

EK_KERNEL ek_status ek_layer_norm_f32(const ek_layer_norm_f32_params *params, const float *input,
                                      float *output);

/* As ek_svdf_s8_params. */
typedef struct ek_svdf_f32_params {
    int32_t batches;
    int32_t depth;
    int32_t units;
    int32_t rank;
    int32_t memory;
    float activation_min;
    float activation_max;
    const float *feature_weights; /* (units * rank, depth) */
    const float *time_weights;    /* (units * rank, memory) */
    const float *bias;            /* (units) */
} ek_svdf_f32_params;

EK_KERNEL ek_status ek_svdf_f32(const ek_svdf_f32_params *params, const float *input, float *state,
                                float *output);

/* As ek_unidirectional_lstm_s8_params. */
typedef struct ek_unidirectional_lstm_f32_params {
    int32_t batches;
    int32_t steps;
    int32_t depth;
    int32_t units;
    int32_t step_stride;
    int32_t batch_stride;
    float cell_clip;                /* 0 for none */
    const float *input_weights;     /* (4, units, depth) */
    const float *recurrent_weights; /* (4, units, units) */
    const float *bias;              /* (4, units) */
} ek_unidirectional_lstm_f32_params;

EK_KERNEL ek_status ek_unidirectional_lstm_f32(const ek_unidirectional_lstm_f32_params *params,
                                               const float *input, float *output_state,
                                               float *cell_state, float *output);

#endif
