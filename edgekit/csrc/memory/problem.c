#include <string.h>

#include "internal.h"

enum { TRAIL_FRAMES = 128, POOL_PER_BUFFER = 64, MAX_FAILURES = 1 << 18 };

ek_status ek_search_check(const ek_memory_buffer *buffers, size_t count) {
    int64_t total = 0;
    if (buffers == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    if (count < 1) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    if (count > EK_MEMORY_MAX_BUFFERS) {
        return EK_STATUS_TOO_LARGE;
    }
    for (size_t i = 0; i < count; i++) {
        const ek_memory_buffer *b = &buffers[i];
        if (b->lower < 0 || b->upper <= b->lower || b->upper > EK_MEMORY_MAX_BYTES ||
            b->size_bytes < 1 || b->size_bytes > EK_MEMORY_MAX_BYTES || b->alignment_bytes < 1 ||
            b->alignment_bytes > EK_MEMORY_MAX_BYTES) {
            return EK_STATUS_INVALID_ARGUMENT;
        }
        if (b->fixed_offset_bytes != EK_MEMORY_NOT_FIXED &&
            (b->fixed_offset_bytes < 0 || b->fixed_offset_bytes > EK_MEMORY_MAX_BYTES ||
             b->fixed_offset_bytes % b->alignment_bytes != 0)) {
            return EK_STATUS_INVALID_ARGUMENT;
        }
        /* Rounding up to the alignment may add as much again. */
        total += b->size_bytes + b->alignment_bytes;
        if (total >= (int64_t)1 << 62) {
            return EK_STATUS_OUT_OF_RANGE;
        }
    }
    return EK_STATUS_OK;
}

/* Takes `count` items of `size` bytes; only counts where there is no memory. */
static void *take(uint8_t *memory, size_t *used, size_t count, size_t size) {
    void *place = memory == NULL ? NULL : memory + *used;
    *used += (count * size + 15) & ~(size_t)15;
    return place;
}

static size_t failure_slots(size_t buffers) {
    size_t slots = 1024;
    while (slots < 256 * buffers && slots < MAX_FAILURES) {
        slots *= 2;
    }
    return slots;
}

static void layout_variables(ek_search *search, size_t n, uint8_t *memory, size_t *used) {
    search->variable_count = (int32_t)(8 * n);
    search->stamps = take(memory, used, 8 * n, sizeof(uint64_t));
    search->variables = take(memory, used, 8 * n, sizeof(int64_t));
    if (memory == NULL) {
        return;
    }
    search->done = search->variables;
    search->floor = search->done + n;
    search->top = search->floor + n;
    search->remaining = search->top + n;
    search->crossing = search->remaining + n;
    search->next_top = search->crossing + n;
    search->lowest = search->next_top + n;
    search->support = search->lowest + n;
}

/* Points the arrays of a search into the workspace; returns the bytes used. There are never more
 * sections than buffers. */
size_t ek_search_layout(ek_search *search, size_t n, size_t most_live, void *workspace) {
    uint8_t *m = workspace;
    size_t used = 0;
    const size_t words = (n + 63) / 64;
    search->buffers = (int32_t)n;
    search->words = (int32_t)words;
    search->most_live = (int32_t)most_live;
    search->size = take(m, &used, n, sizeof(int64_t));
    search->alignment = take(m, &used, n, sizeof(int64_t));
    search->highest_offset = take(m, &used, n, sizeof(int64_t));
    search->offset = take(m, &used, n, sizeof(int64_t));
    search->zobrist = take(m, &used, 2 * n, sizeof(uint64_t));
    search->first = take(m, &used, n, sizeof(int32_t));
    search->last = take(m, &used, n, sizeof(int32_t));
    search->twin = take(m, &used, n, sizeof(int32_t));
    search->source = take(m, &used, n, sizeof(int32_t));
    search->placed_order = take(m, &used, n, sizeof(int32_t));
    search->rank = take(m, &used, n, sizeof(int32_t));
    search->scratch = take(m, &used, n, sizeof(int32_t));
    search->live_count = take(m, &used, n, sizeof(int32_t));
    search->buffers_begin = take(m, &used, n + 1, sizeof(int32_t));
    search->candidate_count = take(m, &used, n + 1, sizeof(int32_t));
    search->valley_end = take(m, &used, n + 1, sizeof(int32_t));
    search->is_candidate = take(m, &used, n, sizeof(uint8_t));
    search->dirty = take(m, &used, words, sizeof(uint64_t));
    search->unplaced = take(m, &used, words, sizeof(uint64_t));
    search->overlaps = take(m, &used, n * words, sizeof(uint64_t));
    search->live = take(m, &used, n * most_live, sizeof(int32_t));
    layout_variables(search, n, m, &used);
    search->trail_capacity = (n < TRAIL_FRAMES ? n + 8 : TRAIL_FRAMES) * 8 * n;
    search->trail = take(m, &used, search->trail_capacity, sizeof(ek_change));
    search->frame_capacity = (int32_t)(8 * n + 64);
    search->frames = take(m, &used, 8 * n + 64, sizeof(ek_frame));
    const size_t most = most_live < POOL_PER_BUFFER ? most_live : POOL_PER_BUFFER;
    search->pool_capacity = (int32_t)(n * (most + 1) + 8 * (most_live + 1));
    search->pool = take(m, &used, (size_t)search->pool_capacity, sizeof(int32_t));
    search->failure_mask = failure_slots(n) - 1;
    search->failures = take(m, &used, failure_slots(n), sizeof(ek_failure));
    return used;
}

/* Largest number of buffers that live together; one of them has just begun then. */
size_t ek_search_most_live(const ek_memory_buffer *buffers, size_t count) {
    size_t most = 0;
    for (size_t i = 0; i < count; i++) {
        size_t live = 0;
        for (size_t j = 0; j < count; j++) {
            live += buffers[j].lower <= buffers[i].lower && buffers[i].lower < buffers[j].upper;
        }
        most = live > most ? live : most;
    }
    return most;
}

static int64_t common_divisor(int64_t a, int64_t b) {
    while (b != 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Step of all offsets. Alignments and fixed offsets have a common divisor; sizes rounded up to it
 * take no more room than before, except at the very top, which highest_offset sees to. */
static int64_t find_unit(const ek_memory_buffer *buffers, int32_t count, int64_t *rounding) {
    int64_t divisor = 0, unit = 0;
    for (int32_t i = 0; i < count; i++) {
        const ek_memory_buffer *b = &buffers[i];
        divisor = common_divisor(divisor, b->alignment_bytes);
        if (b->fixed_offset_bytes > 0) {
            divisor = common_divisor(divisor, b->fixed_offset_bytes);
        }
    }
    for (int32_t i = 0; i < count; i++) {
        const ek_memory_buffer *b = &buffers[i];
        unit = common_divisor(unit, ek_round_up(b->size_bytes, divisor));
        if (b->fixed_offset_bytes > 0) {
            unit = common_divisor(unit, b->fixed_offset_bytes);
        }
    }
    /* An alignment either divides the unit, and then binds nobody, or is a multiple of it. */
    for (bool changed = true; changed;) {
        changed = false;
        for (int32_t i = 0; i < count; i++) {
            const int64_t alignment = buffers[i].alignment_bytes;
            if (unit % alignment != 0 && alignment % unit != 0) {
                unit = common_divisor(unit, alignment);
                changed = true;
            }
        }
    }
    *rounding = divisor;
    return unit;
}

static bool begins_earlier(const void *context, int32_t a, int32_t b) {
    const ek_memory_buffer *buffers = context;
    return buffers[a].lower != buffers[b].lower ? buffers[a].lower < buffers[b].lower : a < b;
}

static bool ends_earlier(const void *context, int32_t a, int32_t b) {
    const ek_memory_buffer *buffers = context;
    return buffers[a].upper != buffers[b].upper ? buffers[a].upper < buffers[b].upper : a < b;
}

/* Ends of the sections: the ends of buffers since whose predecessor another buffer has begun. */
static int32_t find_section_ends(ek_search *search, const ek_memory_buffer *buffers,
                                 int64_t *ends) {
    const int32_t n = search->buffers;
    int32_t *begin_order = search->rank, *end_order = search->scratch;
    for (int32_t i = 0; i < n; i++) {
        begin_order[i] = end_order[i] = i;
    }
    ek_sort(begin_order, n, begins_earlier, buffers);
    ek_sort(end_order, n, ends_earlier, buffers);
    int32_t sections = 0, begun = 0;
    for (int32_t i = 0; i < n; i++) {
        const int64_t end = buffers[end_order[i]].upper;
        const int32_t before = begun;
        while (begun < n && buffers[begin_order[begun]].lower < end) {
            begun++;
        }
        if (begun > before) {
            ends[sections++] = end;
        }
    }
    return sections;
}

/* Number of section ends that are not after a time. */
static int32_t ends_until(const int64_t *ends, int32_t count, int64_t time) {
    int32_t low = 0, high = count;
    while (low < high) {
        const int32_t middle = (low + high) / 2;
        if (ends[middle] <= time) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool numbered_earlier(const void *context, int32_t a, int32_t b) {
    const ek_search *search = context;
    const int32_t *first = search->rank, *last = search->scratch;
    const int64_t *size = search->lowest, *alignment = search->support;
    if (first[a] != first[b]) {
        return first[a] < first[b];
    }
    if (last[a] != last[b]) {
        return last[a] < last[b];
    }
    if (size[a] != size[b]) {
        return size[a] > size[b];
    }
    return alignment[a] != alignment[b] ? alignment[a] < alignment[b] : a < b;
}

/* Numbers the buffers by section; equal ones become neighbours. The arrays of variables serve as
 * scratch before they are filled. */
static void number_buffers(ek_search *search, const ek_memory_buffer *buffers) {
    const int32_t n = search->buffers;
    int64_t *ends = search->floor;
    search->sections = find_section_ends(search, buffers, ends);
    for (int32_t i = 0; i < n; i++) {
        search->rank[i] = ends_until(ends, search->sections, buffers[i].lower);
        search->scratch[i] = ends_until(ends, search->sections, buffers[i].upper);
        search->lowest[i] = buffers[i].size_bytes;
        search->support[i] = buffers[i].alignment_bytes;
        search->source[i] = i;
    }
    ek_sort(search->source, n, numbered_earlier, search);
    for (int32_t b = 0; b < n; b++) {
        search->first[b] = search->rank[search->source[b]];
        search->last[b] = search->scratch[search->source[b]];
    }
    int32_t b = 0;
    for (int32_t s = 0; s <= search->sections; s++) {
        while (b < n && search->first[b] < s) {
            b++;
        }
        search->buffers_begin[s] = b;
    }
}

static bool are_twins(const ek_memory_buffer *a, const ek_memory_buffer *b) {
    return a->size_bytes == b->size_bytes && a->alignment_bytes == b->alignment_bytes &&
           a->fixed_offset_bytes == EK_MEMORY_NOT_FIXED &&
           b->fixed_offset_bytes == EK_MEMORY_NOT_FIXED;
}

/* Converts one buffer to units; false where it does not fit the capacity. */
static bool convert_buffer(ek_search *search, const ek_memory_buffer *buffers, int32_t b,
                           int64_t capacity_bytes, int64_t rounding) {
    const ek_memory_buffer *source = &buffers[search->source[b]];
    const int64_t unit = search->unit_bytes, fixed = source->fixed_offset_bytes;
    if (source->size_bytes > capacity_bytes) {
        return false;
    }
    search->size[b] = ek_round_up(source->size_bytes, rounding) / unit;
    search->alignment[b] = source->alignment_bytes <= unit ? 1 : source->alignment_bytes / unit;
    const int64_t highest = (capacity_bytes - source->size_bytes) / unit;
    search->highest_offset[b] = highest / search->alignment[b] * search->alignment[b];
    search->lowest[b] = search->support[b] = 0;
    if (fixed != EK_MEMORY_NOT_FIXED) {
        if (fixed / unit > highest) {
            return false;
        }
        search->lowest[b] = search->support[b] = search->highest_offset[b] = fixed / unit;
    }
    const bool same_place =
        b > 0 && search->first[b] == search->first[b - 1] && search->last[b] == search->last[b - 1];
    search->twin[b] = same_place && are_twins(source, &buffers[search->source[b - 1]]) ? b - 1 : -1;
    const int64_t top = search->highest_offset[b] + search->size[b];
    search->capacity = top > search->capacity ? top : search->capacity;
    return true;
}

static void link_buffer(ek_search *search, int32_t b) {
    search->zobrist[2 * b] = ek_mix(2 * (uint64_t)b);
    search->zobrist[2 * b + 1] = ek_mix(2 * (uint64_t)b + 1);
    search->unplaced[b >> 6] |= (uint64_t)1 << (b & 63);
    for (int32_t s = search->first[b]; s < search->last[b]; s++) {
        search->live[(ptrdiff_t)s * search->most_live + search->live_count[s]++] = b;
        search->remaining[s] += search->size[b];
        search->crossing[s] += s + 1 < search->last[b];
        ek_mark(search, s);
    }
    uint64_t *overlaps = search->overlaps + (ptrdiff_t)b * search->words;
    for (int32_t other = 0; other < search->buffers; other++) {
        if (other != b && search->first[other] < search->last[b] &&
            search->first[b] < search->last[other]) {
            overlaps[other >> 6] |= (uint64_t)1 << (other & 63);
        }
    }
}

/* Fills a laid-out search; false where the capacity is too small at first sight. */
bool ek_search_prepare(ek_search *search, const ek_memory_buffer *buffers, int64_t capacity_bytes) {
    const size_t n = (size_t)search->buffers, words = (size_t)search->words;
    int64_t rounding = 1;
    number_buffers(search, buffers);
    search->unit_bytes = find_unit(buffers, search->buffers, &rounding);
    memset(search->stamps, 0, 8 * n * sizeof(uint64_t));
    memset(search->variables, 0, 8 * n * sizeof(int64_t));
    memset(search->live_count, 0, n * sizeof(int32_t));
    memset(search->is_candidate, 0, n);
    memset(search->dirty, 0, words * sizeof(uint64_t));
    memset(search->unplaced, 0, words * sizeof(uint64_t));
    memset(search->overlaps, 0, n * words * sizeof(uint64_t));
    memset(search->failures, 0, (search->failure_mask + 1) * sizeof(ek_failure));
    search->capacity = 0;
    search->serial = 1;
    for (int32_t b = 0; b < search->buffers; b++) {
        if (!convert_buffer(search, buffers, b, capacity_bytes, rounding)) {
            return false;
        }
        link_buffer(search, b);
    }
    const bool open = ek_search_propagate(search, 0, search->sections);
    search->trail_length = 0;
    return open;
}
