/* What flash that computes does to a page: bit errors of its cells, their correction on the die,
 * and the product of the page with a part of the input.
 *
 * Bits of the spare area are numbered from the least significant of its first byte. Layouts and
 * sources: emulators/on_die_ecc.py, which writes what is corrected here.
 * No allocation, no recursion, no global state: all memory comes from the caller.
 */
#ifndef EDGEKIT_NAND_FUNCTION_H
#define EDGEKIT_NAND_FUNCTION_H

#include <stddef.h>
#include <stdint.h>

#include "edgekit/status.h"
#include "edgekit/version.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EK_NAND_MAX_VALUES 65536   /* values that corrected pages hold at most */
#define EK_NAND_MAX_COLUMNS 131071 /* of a product: its sum never leaves 32 bits */
#define EK_NAND_THRESHOLD_COPIES 9 /* bytes at the start of the spare area */
#define EK_NAND_MAX_CHECK_BITS 16  /* of one word of a bit plane */

/* Adds the product of a page with a part of the input to `sums`, exactly.
 *
 * weights  rows x columns of them, row by row; int4: two in a byte, the first in the low half
 * input    `columns` values
 * sums     `rows` values, which hold the sums of at most EK_NAND_MAX_COLUMNS columns in all
 *
 * Returns EK_STATUS_NULL_ARGUMENT, or EK_STATUS_OUT_OF_RANGE where rows < 0, or columns is not
 * 0 .. EK_NAND_MAX_COLUMNS; nothing is written then.
 */
EK_API ek_status ek_nand_gemv_s8(const int8_t *weights, int32_t rows, int32_t columns,
                                 const int8_t *input, int32_t *sums);
EK_API ek_status ek_nand_gemv_s4(const uint8_t *weights, int32_t rows, int32_t columns,
                                 const int8_t *input, int32_t *sums);

/* Flips every bit of `bytes` with probability `rate`, each independently.
 *
 * The distance to the next flipped bit is drawn from the geometric distribution, so that time goes
 * with the flips. The same seed and stream (for instance the number of the page) flip the same
 * bits.
 *
 * rate   0 .. 0.5
 * flips  written: how many
 *
 * Returns EK_STATUS_NULL_ARGUMENT or EK_STATUS_OUT_OF_RANGE; nothing is written then.
 */
EK_API ek_status ek_nand_flip_bits(uint8_t *bytes, size_t count, double rate, uint64_t seed,
                                   uint64_t stream, int64_t *flips);

/* Bits of the spare area, or -1 where the arguments are out of range: count 2 ..
 * EK_NAND_MAX_VALUES, protected_values 1 .. count, and check bits 0 (a plane without) or 3 ..
 * EK_NAND_MAX_CHECK_BITS. check_bits has eight values, that of the lowest bit first. */
EK_API int64_t ek_nand_copies_spare_bits(int32_t count, int32_t protected_values);
EK_API int64_t ek_nand_planes_spare_bits(int32_t count, int32_t protected_values,
                                         const int32_t *check_bits);

/* Corrects a page whose largest values have copies (Cambricon-LLM, section VI).
 *
 * values    `count` of them, corrected in place
 * spare     as read, with its own bit errors
 * scratch   at least `count` bytes
 *
 * Returns EK_STATUS_NULL_ARGUMENT, EK_STATUS_OUT_OF_RANGE (see above), EK_STATUS_INVALID_ARGUMENT
 * (spare_bytes holds less than the layout has) or EK_STATUS_SCRATCH_TOO_SMALL; nothing is written
 * then.
 */
EK_API ek_status ek_nand_correct_copies(int8_t *values, int32_t count, int32_t protected_values,
                                        const uint8_t *spare, size_t spare_bytes, uint8_t *scratch,
                                        size_t scratch_bytes);

/* The same for a page whose high bit planes are words of a Hamming code. */
EK_API ek_status ek_nand_correct_planes(int8_t *values, int32_t count, int32_t protected_values,
                                        const int32_t *check_bits, const uint8_t *spare,
                                        size_t spare_bytes, uint8_t *scratch, size_t scratch_bytes);

#ifdef __cplusplus
}
#endif

#endif
