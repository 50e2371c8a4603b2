#include "internal.h"

/* SplitMix64's finalizer (Steele, Lea and Flood, OOPSLA 2014). */
uint64_t ek_mix(uint64_t value) {
    value += 0x9E3779B97F4A7C15u;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
}

static void sift_down(int32_t *items, int32_t root, int32_t count,
                      bool (*before)(const void *, int32_t, int32_t), const void *context) {
    const int32_t item = items[root];
    for (;;) {
        int32_t child = 2 * root + 1;
        if (child >= count) {
            break;
        }
        if (child + 1 < count && before(context, items[child], items[child + 1])) {
            child++;
        }
        if (!before(context, item, items[child])) {
            break;
        }
        items[root] = items[child];
        root = child;
    }
    items[root] = item;
}

/* Heapsort: no recursion, no allocation; `before` must be a total order. */
void ek_sort(int32_t *items, int32_t count, bool (*before)(const void *, int32_t, int32_t),
             const void *context) {
    for (int32_t root = count / 2 - 1; root >= 0; root--) {
        sift_down(items, root, count, before, context);
    }
    for (int32_t end = count - 1; end > 0; end--) {
        const int32_t item = items[0];
        items[0] = items[end];
        items[end] = item;
        sift_down(items, 0, end, before, context);
    }
}

typedef struct order {
    const ek_search *search;
    ek_ordering ordering;
} order;

static int64_t width(const ek_search *search, int32_t b) {
    return search->last[b] - search->first[b];
}

static int64_t key_of(const ek_search *search, ek_ordering ordering, int32_t b) {
    switch (ordering) {
    case EK_ORDER_WIDTH:
        return width(search, b);
    case EK_ORDER_AREA:
        /* Coarser where the product would leave 64 bits. */
        return width(search, b) * (search->size[b] >> (search->capacity >> 40 ? 20 : 0));
    case EK_ORDER_HEIGHT:
        break;
    }
    return search->size[b];
}

static bool earlier(const void *context, int32_t a, int32_t b) {
    const order *by = context;
    const ek_search *search = by->search;
    const int64_t key_a = key_of(search, by->ordering, a);
    const int64_t key_b = key_of(search, by->ordering, b);
    if (key_a != key_b) {
        return key_a > key_b;
    }
    if (width(search, a) != width(search, b)) {
        return width(search, a) > width(search, b);
    }
    if (search->size[a] != search->size[b]) {
        return search->size[a] > search->size[b];
    }
    return a < b;
}

/* Ranks the buffers, those with the largest key first. A shuffled rank falls by up to a third of
 * the number of buffers. */
void ek_search_order(ek_search *search, ek_ordering ordering, bool shuffle) {
    const int32_t count = search->buffers;
    int32_t *items = search->scratch;
    const order by = {search, ordering};
    for (int32_t b = 0; b < count; b++) {
        items[b] = b;
    }
    ek_sort(items, count, earlier, &by);
    for (int32_t position = 0; position < count; position++) {
        search->rank[items[position]] = position;
    }
    const uint64_t spread = shuffle ? (uint64_t)(count / 3 + 1) : 1;
    for (int32_t b = 0; b < count; b++) {
        search->random = ek_mix(search->random);
        search->rank[b] += (int32_t)(search->random % spread);
        /* No two ranks are equal: count is at most 16384. */
        search->rank[b] = search->rank[b] * count + b;
    }
}
