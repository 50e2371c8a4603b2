/* State of the memory search. See docs/memory-planning.md for the method.
 *
 * Time is cut into sections, the maximal sets of buffers that live together. All quantities are in
 * units, the largest step of bytes that every offset is a multiple of. Buffers are numbered by
 * their first section, so that those of a range of sections have neighbouring numbers.
 */
#ifndef EDGEKIT_MEMORY_INTERNAL_H
#define EDGEKIT_MEMORY_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edgekit/memory.h"

enum { EK_WASTE = -1 }; /* a candidate that places nothing */

/* A variable's value before a node changed it. */
typedef struct ek_change {
    int64_t value;
    int32_t variable;
    int32_t reserved;
} ek_change;

/* A failed state, as a hash of 128 bits. */
typedef struct ek_failure {
    uint64_t low, high;
} ek_failure;

/* One level of the search: either a choice at a section, or ranges to be solved one by one. */
typedef struct ek_frame {
    ek_failure state;
    size_t changes; /* trail length when the frame was entered */
    int32_t begin, end;
    int32_t placed; /* buffers placed when the frame was entered */
    int32_t next;   /* choice: next candidate; ranges: next section */
    int32_t first_candidate, candidates;
    int32_t section; /* of the choice, or -1 for ranges */
    int32_t reserved;
} ek_frame;

/* Which section decides next. */
typedef enum ek_selection {
    EK_SELECT_FEWEST, /* fewest ways to go on, then the lowest floor */
    EK_SELECT_LOWEST, /* lowest floor, then the fewest ways */
    EK_SELECT_FORCED  /* one with a single way, then the lowest floor */
} ek_selection;

/* Which of its candidates is tried first: the one with the largest ... */
typedef enum ek_ordering { EK_ORDER_WIDTH, EK_ORDER_AREA, EK_ORDER_HEIGHT } ek_ordering;

typedef struct ek_search {
    int32_t buffers, sections, words, most_live;
    int64_t unit_bytes, capacity;

    /* Per buffer. */
    int64_t *size, *alignment, *highest_offset, *offset;
    int32_t *first, *last; /* sections [first, last) */
    int32_t *twin;         /* an equal buffer that is placed before, or -1 */
    int32_t *source;       /* index in the caller's array */
    int32_t *placed_order;
    int32_t *rank; /* lower is tried first; unique */
    int32_t *scratch;
    uint8_t *is_candidate;
    uint64_t *zobrist; /* two a buffer */

    /* Per section. */
    int32_t *buffers_begin; /* first buffer that starts there; sections + 1 entries */
    int32_t *candidate_count, *valley_end;
    int32_t *live, *live_count; /* buffers of a section: the placed ones, then those to come,
                                   nearly sorted by lowest offset */
    uint64_t *dirty;

    /* Bit sets of buffers, `words` words each. */
    uint64_t *unplaced, *overlaps;

    /* Variables that the trail restores; the names below point into `variables`. */
    int64_t *variables;
    uint64_t *stamps;
    int32_t variable_count;
    int64_t *done;      /* section: how many of its buffers are placed */
    int64_t *floor;     /* section: no buffer to come starts below */
    int64_t *top;       /* section: end of the highest placed buffer */
    int64_t *remaining; /* section: sum of sizes to come */
    int64_t *crossing;  /* section: buffers to come that go on into the next section */
    int64_t *next_top;  /* section: no buffer to come ends below */
    int64_t *lowest;    /* buffer: lowest offset that is left */
    int64_t *support;   /* buffer: aligned end of the highest placed buffer below it */

    ek_change *trail;
    ek_frame *frames;
    int32_t *pool;
    ek_failure *failures;
    size_t trail_capacity, trail_length, failure_mask;
    int32_t frame_capacity, frame_count, pool_capacity, pool_length, placed_count;
    uint64_t serial, random;
    ek_selection selection;
    int64_t nodes, node_limit, node_budget;
    const ek_memory_options *options;
    bool stopped;
} ek_search;

/* problem.c: checks, sections and units. */
ek_status ek_search_check(const ek_memory_buffer *buffers, size_t count);
size_t ek_search_most_live(const ek_memory_buffer *buffers, size_t count);
size_t ek_search_layout(ek_search *search, size_t buffers, size_t most_live, void *workspace);
bool ek_search_prepare(ek_search *search, const ek_memory_buffer *buffers, int64_t capacity_bytes);

/* propagate.c: false means that the state has no solution. */
void ek_search_set(ek_search *search, int64_t *variable, int64_t value);
bool ek_search_place(ek_search *search, int32_t buffer, int32_t begin, int32_t end);
bool ek_search_waste(ek_search *search, int32_t section, int32_t begin, int32_t end);
bool ek_search_propagate(ek_search *search, int32_t begin, int32_t end);
void ek_search_undo(ek_search *search, const ek_frame *frame);

/* branch.c */
void ek_search_choose(ek_search *search, ek_frame *frame);
ek_failure ek_search_hash(const ek_search *search, int32_t begin, int32_t end);

/* descend.c: solves the sections [begin, end) from the present state. */
ek_memory_outcome ek_search_descend(ek_search *search, int32_t begin, int32_t end);

/* order.c */
void ek_search_order(ek_search *search, ek_ordering ordering, bool shuffle);
void ek_sort(int32_t *items, int32_t count, bool (*before)(const void *, int32_t, int32_t),
             const void *context);
uint64_t ek_mix(uint64_t value);

static inline int32_t ek_first_bit(uint64_t word) {
#if defined(__GNUC__)
    return __builtin_ctzll(word);
#else
    int32_t bit = 0;
    while (!((word >> bit) & 1u)) {
        bit++;
    }
    return bit;
#endif
}

static inline bool ek_is_unplaced(const ek_search *search, int32_t buffer) {
    return (search->unplaced[buffer >> 6] >> (buffer & 63)) & 1u;
}

static inline void ek_mark(ek_search *search, int32_t section) {
    search->dirty[section >> 6] |= (uint64_t)1 << (section & 63);
}

static inline int64_t ek_round_up(int64_t value, int64_t multiple) {
    return multiple == 1 ? value : (value + multiple - 1) / multiple * multiple;
}

#endif
