#include "internal.h"

/* Changes a variable; its old value is kept once a node. The caller has checked the capacity. */
void ek_search_set(ek_search *search, int64_t *variable, int64_t value) {
    const ptrdiff_t index = variable - search->variables;
    if (search->stamps[index] != search->serial) {
        search->stamps[index] = search->serial;
        search->trail[search->trail_length++] = (ek_change){*variable, (int32_t)index, 0};
    }
    *variable = value;
}

void ek_search_undo(ek_search *search, const ek_frame *frame) {
    while (search->trail_length > frame->changes) {
        const ek_change change = search->trail[--search->trail_length];
        search->variables[change.variable] = change.value;
    }
    while (search->placed_count > frame->placed) {
        const int32_t b = search->placed_order[--search->placed_count];
        search->unplaced[b >> 6] |= (uint64_t)1 << (b & 63);
    }
}

static void mark_range(ek_search *search, int32_t begin, int32_t end) {
    for (int32_t s = begin; s < end; s++) {
        ek_mark(search, s);
    }
}

static void clear_marks(ek_search *search, int32_t begin, int32_t end) {
    for (int32_t word = begin >> 6; word <= (end - 1) >> 6; word++) {
        search->dirty[word] = 0;
    }
}

/* Raises the lowest offset of a buffer, false where none is left. */
static bool raise_lowest(ek_search *search, int32_t b, int64_t offset) {
    const int64_t aligned = ek_round_up(offset, search->alignment[b]);
    if (aligned > search->highest_offset[b]) {
        return false;
    }
    ek_search_set(search, &search->lowest[b], aligned);
    mark_range(search, search->first[b], search->last[b]);
    return true;
}

/* Renews what is known of a section. Its buffers are tasks of one machine with release times, the
 * lowest offsets: in order of release they end as low as possible. */
static bool renew_section(ek_search *search, int32_t s) {
    int32_t *live = search->live + (ptrdiff_t)s * search->most_live + search->done[s];
    const int64_t *lowest = search->lowest;
    const int32_t count = search->live_count[s] - (int32_t)search->done[s];
    for (int32_t i = 1; i < count; i++) {
        const int32_t b = live[i];
        int32_t j = i;
        for (; j > 0 && lowest[live[j - 1]] > lowest[b]; j--) {
            live[j] = live[j - 1];
        }
        live[j] = b;
    }
    int64_t end = search->top[s], next_top = INT64_MAX;
    for (int32_t i = 0; i < count; i++) {
        const int64_t low = lowest[live[i]], size = search->size[live[i]];
        end = (low > end ? low : end) + size;
        next_top = low + size < next_top ? low + size : next_top;
    }
    const int64_t floor = count > 0 ? lowest[live[0]] : search->floor[s];
    if (search->next_top[s] != next_top) {
        ek_search_set(search, &search->next_top[s], next_top);
    }
    if (floor > search->floor[s]) {
        ek_search_set(search, &search->floor[s], floor);
    }
    return end <= search->capacity;
}

/* A buffer whose lowest offset lies above its support waits for another one to rest on. */
static bool renew_waiting(ek_search *search, int32_t b, bool *changed) {
    int64_t next_top = INT64_MAX, lowest_floor = INT64_MAX;
    for (int32_t s = search->first[b]; s < search->last[b]; s++) {
        if (search->floor[s] < lowest_floor) {
            lowest_floor = search->floor[s];
        }
        if (search->next_top[s] < next_top) {
            next_top = search->next_top[s];
        }
    }
    /* It would fit into the waste below, where it hinders nobody: another plan is as good. */
    if (search->support[b] + search->size[b] <= lowest_floor) {
        return false;
    }
    if (next_top > search->lowest[b]) {
        *changed = true;
        return raise_lowest(search, b, next_top);
    }
    return true;
}

static bool renew_all(ek_search *search, int32_t begin, int32_t end) {
    const int32_t b_begin = search->buffers_begin[begin], b_end = search->buffers_begin[end];
    for (bool changed = true; changed;) {
        for (int32_t word = begin >> 6; word <= (end - 1) >> 6; word++) {
            while (search->dirty[word]) {
                const int32_t s = word * 64 + ek_first_bit(search->dirty[word]);
                search->dirty[word] &= search->dirty[word] - 1;
                if (!renew_section(search, s)) {
                    return false;
                }
            }
        }
        changed = false;
        for (int32_t b = b_begin; b < b_end; b++) {
            if (search->lowest[b] > search->support[b] && ek_is_unplaced(search, b) &&
                !renew_waiting(search, b, &changed)) {
                return false;
            }
        }
    }
    return true;
}

bool ek_search_propagate(ek_search *search, int32_t begin, int32_t end) {
    const bool open = renew_all(search, begin, end);
    if (!open) {
        clear_marks(search, begin, end);
    }
    return open;
}

/* Moves a buffer behind the placed ones of a section. Whoever undoes it finds it there, since only
 * those after it have been moved meanwhile. */
static void count_as_done(ek_search *search, int32_t b, int32_t s) {
    int32_t *live = search->live + (ptrdiff_t)s * search->most_live;
    const int64_t done = search->done[s];
    int64_t i = done;
    while (live[i] != b) {
        i++;
    }
    live[i] = live[done];
    live[done] = b;
    ek_search_set(search, &search->done[s], done + 1);
}

static bool lift_overlapping(ek_search *search, int32_t b, int32_t begin, int32_t end) {
    const int64_t top = search->offset[b] + search->size[b];
    const uint64_t *overlaps = search->overlaps + (ptrdiff_t)b * search->words;
    const int32_t word_end = (search->buffers_begin[end] + 63) >> 6;
    for (int32_t word = search->buffers_begin[begin] >> 6; word < word_end; word++) {
        uint64_t bits = overlaps[word] & search->unplaced[word];
        for (; bits; bits &= bits - 1) {
            const int32_t other = word * 64 + ek_first_bit(bits);
            const int64_t support = ek_round_up(top, search->alignment[other]);
            if (search->support[other] < support) {
                ek_search_set(search, &search->support[other], support);
            }
            if (search->lowest[other] < support && !raise_lowest(search, other, support)) {
                return false;
            }
        }
    }
    return true;
}

/* Places a buffer at its lowest offset. */
bool ek_search_place(ek_search *search, int32_t b, int32_t begin, int32_t end) {
    const int64_t offset = search->lowest[b], top = offset + search->size[b];
    search->offset[b] = offset;
    search->placed_order[search->placed_count++] = b;
    search->unplaced[b >> 6] &= ~((uint64_t)1 << (b & 63));
    for (int32_t s = search->first[b]; s < search->last[b]; s++) {
        ek_search_set(search, &search->remaining[s], search->remaining[s] - search->size[b]);
        ek_search_set(search, &search->top[s], top);
        count_as_done(search, b, s);
        ek_search_set(search, &search->floor[s], top);
        if (s + 1 < search->last[b]) {
            ek_search_set(search, &search->crossing[s], search->crossing[s] - 1);
        }
        ek_mark(search, s);
    }
    if (!lift_overlapping(search, b, begin, end)) {
        clear_marks(search, begin, end);
        return false;
    }
    return ek_search_propagate(search, begin, end);
}

/* Decides that no buffer starts at the floor of a section. */
bool ek_search_waste(ek_search *search, int32_t section, int32_t begin, int32_t end) {
    const int64_t floor = search->floor[section];
    const int32_t *live = search->live + (ptrdiff_t)section * search->most_live;
    for (int32_t i = (int32_t)search->done[section]; i < search->live_count[section]; i++) {
        const int32_t b = live[i];
        if (search->lowest[b] <= floor && !raise_lowest(search, b, floor + 1)) {
            clear_marks(search, begin, end);
            return false;
        }
    }
    return ek_search_propagate(search, begin, end);
}
