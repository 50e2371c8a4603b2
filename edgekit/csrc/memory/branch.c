#include "internal.h"

/* Finds the valleys: runs of sections of one floor between higher ones. A buffer that starts at the
 * floor of a valley cannot leave it, so what lies on the floor can be decided there alone. */
static void find_valleys(ek_search *search, int32_t begin, int32_t end) {
    const int64_t *floor = search->floor;
    for (int32_t s = begin; s < end;) {
        int32_t stop = s + 1;
        while (stop < end && floor[stop] == floor[s]) {
            stop++;
        }
        const bool valley =
            (s == begin || floor[s - 1] > floor[s]) && (stop == end || floor[stop] > floor[s]);
        for (int32_t q = s; q < stop; q++) {
            search->valley_end[q] = valley ? stop : 0;
            search->candidate_count[q] = 0;
        }
        s = stop;
    }
    search->candidate_count[end] = 0;
}

/* Marks the buffers that can start at the floor of a valley; counts them by section. Of equal
 * buffers only the first one that is left counts. */
static void find_candidates(ek_search *search, int32_t begin, int32_t end) {
    const int32_t stop = search->buffers_begin[end];
    for (int32_t b = search->buffers_begin[begin]; b < stop; b++) {
        if (!ek_is_unplaced(search, b)) {
            continue;
        }
        const int32_t first = search->first[b], twin = search->twin[b];
        const bool rests = search->last[b] <= search->valley_end[first] &&
                           search->lowest[b] == search->floor[first] &&
                           (twin < 0 || !ek_is_unplaced(search, twin));
        search->is_candidate[b] = rests;
        if (rests) {
            search->candidate_count[first]++;
            search->candidate_count[search->last[b]]--;
        }
    }
}

static int64_t slack_of(const ek_search *search, int32_t s) {
    return search->capacity - search->floor[s] - search->remaining[s];
}

/* Whether a section with `ways` to go on is a better choice than the best one so far. */
static bool is_better(const ek_search *search, int32_t s, int64_t ways, int32_t best,
                      int64_t best_ways) {
    const int64_t floor = search->floor[s], best_floor = search->floor[best];
    const bool forced = ways <= 1, best_forced = best_ways <= 1;
    switch (search->selection) {
    case EK_SELECT_FEWEST:
        return ways != best_ways ? ways < best_ways : floor < best_floor;
    case EK_SELECT_FORCED:
        if (forced != best_forced) {
            return forced;
        }
        break;
    case EK_SELECT_LOWEST:
        break;
    }
    return floor != best_floor ? floor < best_floor : ways < best_ways;
}

static int32_t best_section(const ek_search *search, int32_t begin, int32_t end) {
    int32_t best = -1;
    int64_t best_ways = 0, candidates = 0;
    for (int32_t s = begin; s < end; s++) {
        candidates += search->candidate_count[s];
        if (!search->valley_end[s]) {
            continue;
        }
        const int64_t ways = candidates + (slack_of(search, s) > 0);
        if (best < 0 || is_better(search, s, ways, best, best_ways)) {
            best = s;
            best_ways = ways;
        }
    }
    return best;
}

/* Order in which candidates are tried: by rank, sooner for each side of the valley that they touch,
 * since that leaves no narrow gap beside them. */
static int64_t score(const ek_search *search, int32_t b, int32_t valley_begin, int32_t valley_end) {
    const int64_t count = search->buffers;
    const int64_t touched = (search->first[b] == valley_begin) + (search->last[b] == valley_end);
    return search->rank[b] - touched * 2 * count * count / 5;
}

/* Fills a frame with a section and all that can come next there: exactly one candidate starts at
 * its floor, or none does. */
void ek_search_choose(ek_search *search, ek_frame *frame) {
    find_valleys(search, frame->begin, frame->end);
    find_candidates(search, frame->begin, frame->end);
    const int32_t s = best_section(search, frame->begin, frame->end);
    const int32_t valley_end = search->valley_end[s];
    int32_t valley_begin = s;
    while (valley_begin > frame->begin && search->valley_end[valley_begin - 1] == valley_end) {
        valley_begin--;
    }
    int32_t *pool = search->pool + search->pool_length;
    const int32_t *live = search->live + (ptrdiff_t)s * search->most_live;
    int32_t count = 0;
    for (int32_t i = (int32_t)search->done[s]; i < search->live_count[s]; i++) {
        const int32_t b = live[i];
        if (!search->is_candidate[b]) {
            continue;
        }
        const int64_t own = score(search, b, valley_begin, valley_end);
        int32_t j = count++;
        for (; j > 0 && score(search, pool[j - 1], valley_begin, valley_end) > own; j--) {
            pool[j] = pool[j - 1];
        }
        pool[j] = b;
    }
    if (slack_of(search, s) > 0) {
        pool[count++] = EK_WASTE;
    }
    frame->section = s;
    frame->next = 0;
    frame->first_candidate = search->pool_length;
    frame->candidates = count;
    search->pool_length += count;
}

/* Hash of all that the rest of the search depends on: floors, tops and what is unplaced. */
ek_failure ek_search_hash(const ek_search *search, int32_t begin, int32_t end) {
    const uint64_t odd = 0x9E3779B97F4A7C15u, other = 0xD6E8FEB86659FD93u;
    uint64_t low = ek_mix(((uint64_t)(uint32_t)begin << 32) | (uint32_t)end), high = ek_mix(low);
    for (int32_t s = begin; s < end; s++) {
        const uint64_t floor = (uint64_t)search->floor[s], top = (uint64_t)search->top[s];
        low = (low ^ (floor + top * other)) * odd;
        low ^= low >> 29;
        high = (high + floor * odd + (top ^ (top << 32))) * other;
        high ^= high >> 32;
    }
    const int32_t stop = search->buffers_begin[end];
    for (int32_t b = search->buffers_begin[begin]; b < stop; b++) {
        if (ek_is_unplaced(search, b)) {
            low ^= search->zobrist[2 * b];
            high ^= search->zobrist[2 * b + 1];
        }
    }
    return (ek_failure){ek_mix(low) | 1u, ek_mix(high)};
}
