/* Exact placement of buffers with known lifetimes in one memory: is there a plan within a capacity?
 *
 * The search is complete: it ends with a plan, with the proof that none exists, or at a limit.
 * Results depend on the arguments alone, never on time, unless should_stop ends the search.
 * No allocation, no recursion, no global state: all memory comes from the caller.
 */
#ifndef EDGEKIT_MEMORY_H
#define EDGEKIT_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "edgekit/status.h"
#include "edgekit/version.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EK_MEMORY_MAX_BUFFERS 16384
#define EK_MEMORY_MAX_BYTES ((int64_t)1 << 56)
#define EK_MEMORY_NOT_FIXED ((int64_t)-1)

typedef struct ek_memory_buffer {
    int64_t lower;              /* first step, 0 .. EK_MEMORY_MAX_BYTES */
    int64_t upper;              /* first step after the last, > lower */
    int64_t size_bytes;         /* 1 .. EK_MEMORY_MAX_BYTES */
    int64_t alignment_bytes;    /* the offset is a multiple of it; >= 1 */
    int64_t fixed_offset_bytes; /* a multiple of the alignment, or EK_MEMORY_NOT_FIXED */
} ek_memory_buffer;

typedef struct ek_memory_options {
    int64_t capacity_bytes; /* >= 1 */
    int64_t node_limit;     /* search nodes, >= 0 */
    /* Asked now and then with `context`; nonzero ends the search. May be NULL. */
    int32_t (*should_stop)(void *context);
    void *context;
} ek_memory_options;

typedef enum ek_memory_outcome {
    EK_MEMORY_UNDECIDED = 0,  /* a limit was reached */
    EK_MEMORY_FEASIBLE = 1,   /* offsets hold a plan within the capacity */
    EK_MEMORY_INFEASIBLE = 2, /* proof that there is none */
} ek_memory_outcome;

typedef struct ek_memory_result {
    int64_t height_bytes; /* highest offset + size where feasible, else 0 */
    int64_t nodes;        /* search nodes used */
    int32_t outcome;      /* ek_memory_outcome */
    int32_t reserved;     /* 0 */
} ek_memory_result;

/* Bytes of workspace that ek_memory_solve needs for these buffers, 0 where it refuses them. */
EK_API size_t ek_memory_workspace_bytes(const ek_memory_buffer *buffers, size_t count);

/* Looks for offsets.
 *
 * buffers    `count` of them, 1 .. EK_MEMORY_MAX_BUFFERS, in any order
 * workspace  aligned to 16 bytes; contents need not be set and mean nothing afterwards
 * result     always written on EK_STATUS_OK
 * offsets    `count` values, written where the outcome is EK_MEMORY_FEASIBLE
 *
 * Returns EK_STATUS_NULL_ARGUMENT, EK_STATUS_INVALID_ARGUMENT (a buffer or an option breaks the
 * rules above), EK_STATUS_OUT_OF_RANGE (the sizes sum to 2^62 or more), EK_STATUS_TOO_LARGE,
 * EK_STATUS_SCRATCH_TOO_SMALL or EK_STATUS_SCRATCH_UNALIGNED; nothing is written then.
 */
EK_API ek_status ek_memory_solve(const ek_memory_buffer *buffers, size_t count,
                                 const ek_memory_options *options, void *workspace,
                                 size_t workspace_bytes, ek_memory_result *result,
                                 int64_t *offsets);

#ifdef __cplusplus
}
#endif

#endif
