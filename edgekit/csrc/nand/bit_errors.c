#include <math.h>

#include "edgekit/nand_function.h"

/* SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). */
static uint64_t next(uint64_t *state) {
    *state += 0x9E3779B97F4A7C15u;
    uint64_t value = *state;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
}

/* Uniform in (0, 1]: its logarithm is finite. */
static double uniform(uint64_t *state) { return (double)((next(state) >> 11) + 1) * 0x1p-53; }

ek_status ek_nand_flip_bits(uint8_t *bytes, size_t count, double rate, uint64_t seed,
                            uint64_t stream, int64_t *flips) {
    if (!bytes || !flips) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    if (!(rate >= 0.0 && rate <= 0.5) || count > ((size_t)1 << 40)) {
        return EK_STATUS_OUT_OF_RANGE;
    }
    *flips = 0;
    if (rate == 0.0) {
        return EK_STATUS_OK;
    }
    /* Streams of one seed start at mixed, not at neighbouring, states. */
    uint64_t state = stream;
    state = next(&state) ^ seed;
    const double scale = log1p(-rate), bits = (double)count * 8.0;
    double bit = floor(log(uniform(&state)) / scale);
    while (bit < bits) {
        const uint64_t place = (uint64_t)bit;
        bytes[place / 8] ^= (uint8_t)(1u << (place % 8));
        *flips += 1;
        bit += 1.0 + floor(log(uniform(&state)) / scale);
    }
    return EK_STATUS_OK;
}
