/* Kernels of what is computed in one of two cases. Part of kernels.h. */
#ifndef EDGEKIT_KERNELS_CASES_H
#define EDGEKIT_KERNELS_CASES_H

/* Whether more than "most" elements are below "low" or above "high": 1 or 0. Elements are signed
 * and have 8, 4 or 2 bits; each row begins with a byte. */
typedef struct ek_outlier_test_params {
    int32_t rows;
    int32_t columns;
    int32_t bits;
    int32_t low;
    int32_t high;
    int32_t most;
} ek_outlier_test_params;

EK_KERNEL ek_status ek_outlier_test(const ek_outlier_test_params *params, const void *input,
                                    uint8_t *output);

/* ek_copy where the flag is "when", else nothing. */
typedef struct ek_copy_when_params {
    ek_copy_params copy;
    int32_t when;
} ek_copy_when_params;

EK_KERNEL ek_status ek_copy_when(const ek_copy_when_params *params, const uint8_t *flag,
                                 const void *input, void *output);

#endif
