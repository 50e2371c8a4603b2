/* What the event simulation is made of: planes with two registers, channels, transfers. */
#ifndef EDGEKIT_NAND_PLANE_H
#define EDGEKIT_NAND_PLANE_H

#include <stdbool.h>

#include "edgekit/nand.h"

typedef struct ek_nand_plane {
    int64_t array_free_ns; /* the data register, and so the array, is free */
    int64_t cache_free_ns; /* the cache register is free */
    int64_t ready_ns;      /* its page lies in the cache register */
} ek_nand_plane;

static inline int64_t ek_later(int64_t a, int64_t b) { return a > b ? a : b; }

static inline bool ek_in_range(int64_t value, int64_t lowest, int64_t highest) {
    return value >= lowest && value <= highest;
}

/* Nanoseconds of a transfer, rounded up; at most 2^32 bytes. */
static inline int64_t ek_transfer_ns(const ek_nand_geometry *geometry, int64_t bytes) {
    const int64_t rate = geometry->channel_bytes_per_s;
    return (bytes * 1000000000 + rate - 1) / rate;
}

/* Reads the next page of a plane: from the array to the data register, and to the cache register
 * as soon as that is free. Returns when the array begins. */
static inline int64_t ek_plane_read(ek_nand_plane *plane, int64_t issue_ns, int64_t page_read_ns) {
    const int64_t begin = ek_later(issue_ns, plane->array_free_ns);
    plane->ready_ns = ek_later(begin + page_read_ns, plane->cache_free_ns);
    plane->array_free_ns = plane->ready_ns;
    return begin;
}

ek_status ek_nand_check_geometry(const ek_nand_geometry *geometry);

#endif
