#include <string.h>

#include "edgekit/nand_function.h"

typedef struct bit_reader {
    const uint8_t *bytes;
    int64_t bit;
} bit_reader;

static uint32_t take(bit_reader *from, int32_t bits) {
    uint32_t value = 0;
    for (int32_t i = 0; i < bits; i++, from->bit++) {
        value |= (uint32_t)((from->bytes[from->bit / 8] >> (from->bit % 8)) & 1) << i;
    }
    return value;
}

static int32_t bit_length(uint32_t value) {
    int32_t length = 0;
    for (; value; value >>= 1) {
        length++;
    }
    return length;
}

static uint32_t parity(uint32_t value) {
    for (int32_t shift = 16; shift; shift /= 2) {
        value ^= value >> shift;
    }
    return value & 1;
}

/* Fewest check bits r of a Hamming code over `data` bits: data + r < 2^r. */
static int32_t check_bits_of(int32_t data) {
    int32_t bits = 2;
    while (data + bits >= 1 << bits) {
        bits++;
    }
    return bits;
}

/* The place of a data bit in a Hamming word: powers of two are check bits. */
static uint32_t next_place(uint32_t place) {
    return place + 1 + (uint32_t)((place & (place + 1)) == 0);
}

/* Corrects one error in `data_bits` of data; returns 0 where the word cannot be right. With a
 * parity bit over all (bit `check_bits` of `check`), two errors are told from one. */
static int32_t correct_address(uint32_t *address, int32_t data_bits, uint32_t check,
                               int32_t check_bits, int32_t has_parity) {
    uint32_t syndrome = check & ((1u << check_bits) - 1), place = 2;
    for (int32_t i = 0; i < data_bits; i++) {
        place = next_place(place);
        syndrome ^= ((*address >> i) & 1) ? place : 0;
    }
    const uint32_t odd = parity(*address) ^ parity(check);
    if (syndrome == 0) {
        return 1;
    }
    if (has_parity && !odd) {
        return 0;
    }
    if ((syndrome & (syndrome - 1)) == 0) {
        return 1;
    }
    place = 2;
    for (int32_t i = 0; i < data_bits; i++) {
        place = next_place(place);
        if (place == syndrome) {
            *address ^= 1u << i;
            return 1;
        }
    }
    return 0;
}

static uint8_t majority(uint8_t a, uint8_t b, uint8_t c) {
    return (uint8_t)((a & b) | (a & c) | (b & c));
}

static int32_t magnitude(int8_t value) { return value < 0 ? -value : value; }

static int32_t read_threshold(bit_reader *from) {
    int32_t ones[8] = {0}, threshold = 0;
    for (int32_t copy = 0; copy < EK_NAND_THRESHOLD_COPIES; copy++) {
        const uint32_t byte = take(from, 8);
        for (int32_t i = 0; i < 8; i++) {
            ones[i] += (int32_t)((byte >> i) & 1);
        }
    }
    for (int32_t i = 0; i < 8; i++) {
        threshold |= (ones[i] > EK_NAND_THRESHOLD_COPIES / 2) << i;
    }
    return threshold;
}

static int32_t in_range(int32_t count, int32_t protected_values) {
    return count >= 2 && count <= EK_NAND_MAX_VALUES && protected_values >= 1 &&
           protected_values <= count;
}

static ek_status check(const void *values, const void *spare, const void *scratch, int64_t bits,
                       int32_t count, size_t spare_bytes, size_t scratch_bytes) {
    if (!values || !spare || !scratch) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    if (bits < 0) {
        return EK_STATUS_OUT_OF_RANGE;
    }
    if (spare_bytes < ((size_t)bits + 7) / 8) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    return scratch_bytes < (size_t)count ? EK_STATUS_SCRATCH_TOO_SMALL : EK_STATUS_OK;
}

int64_t ek_nand_copies_spare_bits(int32_t count, int32_t protected_values) {
    if (!in_range(count, protected_values)) {
        return -1;
    }
    const int32_t address_bits = bit_length((uint32_t)count - 1);
    const int64_t entry_bits = address_bits + check_bits_of(address_bits) + 16;
    return EK_NAND_THRESHOLD_COPIES * 8 + entry_bits * protected_values;
}

int64_t ek_nand_planes_spare_bits(int32_t count, int32_t protected_values,
                                  const int32_t *check_bits) {
    if (!check_bits || !in_range(count, protected_values)) {
        return -1;
    }
    const int32_t address_bits = bit_length((uint32_t)count - 1);
    const int64_t entry_bits = address_bits + check_bits_of(address_bits) + 1;
    int64_t total = EK_NAND_THRESHOLD_COPIES * 8 + entry_bits * protected_values;
    for (int32_t plane = 0; plane < 8; plane++) {
        const int32_t bits = check_bits[plane];
        if (bits == 0) {
            continue;
        }
        if (bits < 3 || bits > EK_NAND_MAX_CHECK_BITS) {
            return -1;
        }
        const int32_t word = (1 << bits) - 1 - bits;
        total += (int64_t)bits * ((count + word - 1) / word);
    }
    return total;
}

ek_status ek_nand_correct_copies(int8_t *values, int32_t count, int32_t protected_values,
                                 const uint8_t *spare, size_t spare_bytes, uint8_t *scratch,
                                 size_t scratch_bytes) {
    const int64_t bits = ek_nand_copies_spare_bits(count, protected_values);
    const ek_status status = check(values, spare, scratch, bits, count, spare_bytes, scratch_bytes);
    if (status != EK_STATUS_OK) {
        return status;
    }
    const int32_t address_bits = bit_length((uint32_t)count - 1);
    const int32_t check_bits = check_bits_of(address_bits);
    bit_reader from = {spare, 0};
    const int32_t threshold = read_threshold(&from);
    memset(scratch, 0, (size_t)count);
    for (int32_t i = 0; i < protected_values; i++) {
        uint32_t address = take(&from, address_bits);
        const uint32_t word = take(&from, check_bits);
        const uint8_t first = (uint8_t)take(&from, 8), second = (uint8_t)take(&from, 8);
        if (correct_address(&address, address_bits, word, check_bits, 0) &&
            address < (uint32_t)count) {
            values[address] = (int8_t)majority((uint8_t)values[address], first, second);
            scratch[address] = 1;
        }
    }
    for (int32_t i = 0; i < count; i++) {
        if (!scratch[i] && magnitude(values[i]) > threshold) {
            values[i] = 0;
        }
    }
    return EK_STATUS_OK;
}

/* Corrects one error in each word of a plane. */
static void correct_plane(int8_t *values, int32_t count, int32_t plane, int32_t check_bits,
                          bit_reader *from) {
    const int32_t word = (1 << check_bits) - 1 - check_bits;
    for (int32_t first = 0; first < count; first += word) {
        const int32_t last = count - first < word ? count : first + word;
        uint32_t syndrome = take(from, check_bits), place = 2;
        for (int32_t i = first; i < last; i++) {
            place = next_place(place);
            const uint32_t byte = (uint8_t)values[i];
            syndrome ^= place & (0u - ((byte >> plane) & 1u));
        }
        place = 2;
        for (int32_t i = first; i < last && syndrome; i++) {
            place = next_place(place);
            if (place == syndrome) {
                values[i] = (int8_t)((uint8_t)values[i] ^ (1u << plane));
                break;
            }
        }
    }
}

/* The smallest value that one flipped bit could have made this one of, 0 where it is too large. */
static int8_t likeliest(int8_t value, int32_t threshold) {
    int8_t best = 0;
    int32_t least = threshold + 1;
    for (int32_t bit = 7; bit >= 0; bit--) {
        const int8_t candidate = (int8_t)((uint8_t)value ^ (1u << bit));
        if (magnitude(candidate) < least) {
            best = candidate;
            least = magnitude(candidate);
        }
    }
    return best;
}

ek_status ek_nand_correct_planes(int8_t *values, int32_t count, int32_t protected_values,
                                 const int32_t *check_bits, const uint8_t *spare,
                                 size_t spare_bytes, uint8_t *scratch, size_t scratch_bytes) {
    if (!check_bits) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    const int64_t bits = ek_nand_planes_spare_bits(count, protected_values, check_bits);
    const ek_status status = check(values, spare, scratch, bits, count, spare_bytes, scratch_bytes);
    if (status != EK_STATUS_OK) {
        return status;
    }
    const int32_t address_bits = bit_length((uint32_t)count - 1);
    const int32_t address_check_bits = check_bits_of(address_bits);
    bit_reader from = {spare, 0};
    const int32_t threshold = read_threshold(&from);
    memset(scratch, 0, (size_t)count);
    for (int32_t i = 0; i < protected_values; i++) {
        uint32_t address = take(&from, address_bits);
        const uint32_t word = take(&from, address_check_bits + 1);
        if (correct_address(&address, address_bits, word, address_check_bits, 1) &&
            address < (uint32_t)count) {
            scratch[address] = 1;
        }
    }
    for (int32_t plane = 7; plane >= 0; plane--) {
        if (check_bits[plane]) {
            correct_plane(values, count, plane, check_bits[plane], &from);
        }
    }
    for (int32_t i = 0; i < count; i++) {
        if (!scratch[i] && magnitude(values[i]) > threshold) {
            values[i] = likeliest(values[i], threshold);
        }
    }
    return EK_STATUS_OK;
}
