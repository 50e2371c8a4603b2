#include <assert.h>
#include <string.h>

#include "internal.h"

static_assert(sizeof(ek_memory_buffer) == 40, "mirrored by edgekit/memory/exact.py");
static_assert(sizeof(ek_memory_result) == 24, "mirrored by edgekit/memory/exact.py");
static_assert(sizeof(void *) != 8 || sizeof(ek_memory_options) == 32, "mirrored likewise");

enum { FIRST_NODES_PER_BUFFER = 2 };

/* What to try in turn: which section to choose, and which of its buffers first. Chosen on problems
 * made by scripts/make_memory_instances.py. */
static const struct {
    ek_selection selection;
    ek_ordering ordering;
} portfolio[] = {
    {EK_SELECT_FEWEST, EK_ORDER_WIDTH},  {EK_SELECT_LOWEST, EK_ORDER_WIDTH},
    {EK_SELECT_FEWEST, EK_ORDER_AREA},   {EK_SELECT_FORCED, EK_ORDER_WIDTH},
    {EK_SELECT_FEWEST, EK_ORDER_HEIGHT},
};

enum { PORTFOLIO = sizeof portfolio / sizeof portfolio[0] };

/* Solves sections that no buffer leaves: short descents, each under another strategy, with limits
 * that grow by a quarter a round. Failed states stay known over all of them. */
static ek_memory_outcome solve_range(ek_search *search, int32_t begin, int32_t end) {
    const int32_t buffers = search->buffers_begin[end] - search->buffers_begin[begin];
    int64_t limit = FIRST_NODES_PER_BUFFER * (int64_t)buffers;
    for (int32_t attempt = 0;; attempt++) {
        const int32_t strategy = attempt % PORTFOLIO;
        search->selection = portfolio[strategy].selection;
        ek_search_order(search, portfolio[strategy].ordering, attempt >= PORTFOLIO);
        const int64_t left = search->node_limit - search->nodes;
        search->node_budget = search->nodes + (limit < left ? limit : left);
        const ek_memory_outcome outcome = ek_search_descend(search, begin, end);
        if (outcome != EK_MEMORY_UNDECIDED || search->stopped ||
            search->nodes >= search->node_limit) {
            return outcome;
        }
        if (strategy == PORTFOLIO - 1) {
            limit += limit / 4 + 1;
        }
    }
}

/* Ranges are independent: the first one without a plan decides. */
static ek_memory_outcome solve_all(ek_search *search) {
    for (int32_t begin = 0; begin < search->sections;) {
        int32_t end = begin + 1;
        while (end < search->sections && search->crossing[end - 1] > 0) {
            end++;
        }
        const ek_memory_outcome range = solve_range(search, begin, end);
        if (range != EK_MEMORY_FEASIBLE) {
            return range;
        }
        begin = end;
    }
    return EK_MEMORY_FEASIBLE;
}

size_t ek_memory_workspace_bytes(const ek_memory_buffer *buffers, size_t count) {
    ek_search search;
    if (ek_search_check(buffers, count) != EK_STATUS_OK) {
        return 0;
    }
    memset(&search, 0, sizeof search);
    return ek_search_layout(&search, count, ek_search_most_live(buffers, count), NULL);
}

static void write_offsets(const ek_search *search, const ek_memory_buffer *buffers,
                          ek_memory_result *result, int64_t *offsets) {
    for (int32_t b = 0; b < search->buffers; b++) {
        const int32_t source = search->source[b];
        const int64_t offset = search->offset[b] * search->unit_bytes;
        const int64_t top = offset + buffers[source].size_bytes;
        offsets[source] = offset;
        result->height_bytes = top > result->height_bytes ? top : result->height_bytes;
    }
}

static ek_status check_arguments(const ek_memory_buffer *buffers, size_t count,
                                 const ek_memory_options *options, const void *workspace,
                                 const ek_memory_result *result, const int64_t *offsets) {
    if (options == NULL || workspace == NULL || result == NULL || offsets == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    const ek_status status = ek_search_check(buffers, count);
    if (status != EK_STATUS_OK) {
        return status;
    }
    if (options->capacity_bytes < 1 || options->node_limit < 0) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    return (uintptr_t)workspace % 16 == 0 ? EK_STATUS_OK : EK_STATUS_SCRATCH_UNALIGNED;
}

ek_status ek_memory_solve(const ek_memory_buffer *buffers, size_t count,
                          const ek_memory_options *options, void *workspace, size_t workspace_bytes,
                          ek_memory_result *result, int64_t *offsets) {
    const ek_status status = check_arguments(buffers, count, options, workspace, result, offsets);
    if (status != EK_STATUS_OK) {
        return status;
    }
    ek_search search;
    memset(&search, 0, sizeof search);
    const size_t most_live = ek_search_most_live(buffers, count);
    if (workspace_bytes < ek_search_layout(&search, count, most_live, NULL)) {
        return EK_STATUS_SCRATCH_TOO_SMALL;
    }
    ek_search_layout(&search, count, most_live, workspace);
    search.options = options;
    search.node_limit = options->node_limit;
    *result = (ek_memory_result){0, 0, EK_MEMORY_INFEASIBLE, 0};
    if (!ek_search_prepare(&search, buffers, options->capacity_bytes)) {
        return EK_STATUS_OK;
    }
    const ek_memory_outcome outcome = solve_all(&search);
    result->outcome = (int32_t)outcome;
    result->nodes = search.nodes;
    if (outcome == EK_MEMORY_FEASIBLE) {
        write_offsets(&search, buffers, result, offsets);
    }
    return EK_STATUS_OK;
}
