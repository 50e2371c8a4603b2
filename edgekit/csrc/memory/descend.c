#include "internal.h"

/* What the machine does next. */
typedef enum step { NEXT_RANGE, ENTER, NEXT_CANDIDATE, SUCCEED, FAIL, FOUND, REFUTED, LIMIT } step;

enum { POLL_NODES = 256 };

static ek_frame *push_frame(ek_search *search, int32_t begin, int32_t end) {
    ek_frame *frame = &search->frames[search->frame_count++];
    *frame = (ek_frame){.changes = search->trail_length,
                        .begin = begin,
                        .end = end,
                        .placed = search->placed_count,
                        .next = begin,
                        .first_candidate = search->pool_length,
                        .section = -1};
    return frame;
}

static bool is_limit(ek_search *search) {
    const ek_memory_options *options = search->options;
    if (search->nodes % POLL_NODES == 0 && options->should_stop != NULL &&
        options->should_stop(options->context)) {
        search->stopped = true;
    }
    return search->stopped || search->nodes >= search->node_budget ||
           search->frame_count + 2 > search->frame_capacity ||
           search->pool_length + search->most_live + 1 > search->pool_capacity ||
           search->trail_length + (size_t)search->variable_count > search->trail_capacity;
}

/* Takes the next range of sections that no buffer to come leaves; ranges are independent. */
static step next_range(ek_search *search, int32_t *begin, int32_t *end) {
    ek_frame *frame = &search->frames[search->frame_count - 1];
    int32_t s = frame->next;
    while (s < frame->end && search->remaining[s] == 0) {
        s++;
    }
    if (s == frame->end) {
        search->frame_count--;
        return search->frame_count == 0 ? FOUND : SUCCEED;
    }
    *begin = s;
    while (s + 1 < frame->end && search->crossing[s] > 0) {
        s++;
    }
    *end = frame->next = s + 1;
    return ENTER;
}

static step enter(ek_search *search, int32_t begin, int32_t end) {
    if (is_limit(search)) {
        return LIMIT;
    }
    search->nodes++;
    const ek_failure state = ek_search_hash(search, begin, end);
    const ek_failure *known = &search->failures[state.low & search->failure_mask];
    if (known->low == state.low && known->high == state.high) {
        return FAIL;
    }
    ek_frame *frame = push_frame(search, begin, end);
    frame->state = state;
    ek_search_choose(search, frame);
    return NEXT_CANDIDATE;
}

static bool splits(const ek_search *search, int32_t b, int32_t end) {
    for (int32_t s = search->first[b]; s < search->last[b]; s++) {
        if (search->remaining[s] == 0 || (s + 1 < end && search->crossing[s] == 0)) {
            return true;
        }
    }
    return false;
}

static step next_candidate(ek_search *search, int32_t *begin, int32_t *end) {
    ek_frame *frame = &search->frames[search->frame_count - 1];
    ek_search_undo(search, frame);
    if (frame->next == frame->candidates) {
        search->failures[frame->state.low & search->failure_mask] = frame->state;
        search->pool_length = frame->first_candidate;
        search->frame_count--;
        return FAIL;
    }
    search->serial++;
    *begin = frame->begin;
    *end = frame->end;
    const int32_t b = search->pool[frame->first_candidate + frame->next++];
    if (b == EK_WASTE) {
        const bool open = ek_search_waste(search, frame->section, *begin, *end);
        return open ? ENTER : NEXT_CANDIDATE;
    }
    if (!ek_search_place(search, b, *begin, *end)) {
        return NEXT_CANDIDATE;
    }
    if (splits(search, b, *end)) {
        push_frame(search, *begin, *end);
        return NEXT_RANGE;
    }
    return ENTER;
}

/* A range failed: so does the state that it is a part of. */
static step fail(ek_search *search) {
    if (search->frame_count == 0) {
        return REFUTED;
    }
    ek_frame *frame = &search->frames[search->frame_count - 1];
    if (frame->section >= 0) {
        return NEXT_CANDIDATE;
    }
    ek_search_undo(search, frame);
    search->frame_count--;
    return FAIL;
}

/* A range is solved: its choices stand, and the frame that holds the ranges goes on. */
static step succeed(ek_search *search) {
    while (search->frames[search->frame_count - 1].section >= 0) {
        search->pool_length = search->frames[--search->frame_count].first_candidate;
    }
    return NEXT_RANGE;
}

/* Depth-first search on an explicit stack. The state stays as found, or is restored. */
ek_memory_outcome ek_search_descend(ek_search *search, int32_t begin, int32_t end) {
    search->frame_count = 0;
    search->pool_length = 0;
    const ek_frame root = *push_frame(search, begin, end);
    step now = NEXT_RANGE;
    for (;;) {
        switch (now) {
        case NEXT_RANGE:
            now = next_range(search, &begin, &end);
            break;
        case ENTER:
            now = enter(search, begin, end);
            break;
        case NEXT_CANDIDATE:
            now = next_candidate(search, &begin, &end);
            break;
        case SUCCEED:
            now = succeed(search);
            break;
        case FAIL:
            now = fail(search);
            break;
        case FOUND:
            return EK_MEMORY_FEASIBLE;
        case REFUTED:
            return EK_MEMORY_INFEASIBLE;
        case LIMIT:
            ek_search_undo(search, &root);
            return EK_MEMORY_UNDECIDED;
        }
    }
}
