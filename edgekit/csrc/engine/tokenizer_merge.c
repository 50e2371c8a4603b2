/* Merges neighbours, the best first: a binary heap of candidates over a chain of symbols. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

static void *grow(void *old, size_t *capacity, size_t wanted, size_t item_bytes) {
    size_t larger = *capacity * 2 > wanted ? *capacity * 2 : wanted;
    void *items = realloc(old, larger * item_bytes);
    if (items != NULL) {
        *capacity = larger;
    }
    return items;
}

ek_status ek_merger_reserve(ek_merger *merger, size_t symbols) {
    if (symbols > merger->symbol_capacity) {
        ek_symbol *items =
            grow(merger->symbols, &merger->symbol_capacity, symbols, sizeof *merger->symbols);
        if (items == NULL) {
            return EK_STATUS_OUT_OF_MEMORY;
        }
        merger->symbols = items;
    }
    /* Of n symbols n - 1 pairs are proposed at once, and two after each of n - 1 merges. */
    size_t candidates = symbols * 3;
    if (candidates > merger->heap_capacity) {
        ek_candidate *items =
            grow(merger->heap, &merger->heap_capacity, candidates, sizeof *merger->heap);
        if (items == NULL) {
            return EK_STATUS_OUT_OF_MEMORY;
        }
        merger->heap = items;
    }
    return EK_STATUS_OK;
}

static int is_first(const ek_candidate *one, const ek_candidate *other) {
    return one->order < other->order || (one->order <= other->order && one->left < other->left);
}

static void push(ek_merger *merger, const ek_candidate *candidate) {
    size_t at = merger->heap_count++;
    for (; at > 0 && is_first(candidate, &merger->heap[(at - 1) / 2]); at = (at - 1) / 2) {
        merger->heap[at] = merger->heap[(at - 1) / 2];
    }
    merger->heap[at] = *candidate;
}

static ek_candidate pop(ek_merger *merger) {
    ek_candidate top = merger->heap[0];
    ek_candidate last = merger->heap[--merger->heap_count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < merger->heap_count; at = child) {
        if (child + 1 < merger->heap_count &&
            is_first(&merger->heap[child + 1], &merger->heap[child])) {
            child++;
        }
        if (!is_first(&merger->heap[child], &last)) {
            break;
        }
        merger->heap[at] = merger->heap[child];
    }
    merger->heap[at] = last;
    return top;
}

static void offer(ek_merger *merger, int32_t left, int32_t right, ek_propose propose,
                  const void *context) {
    if (left < 0 || right < 0) {
        return;
    }
    const ek_symbol *symbols = merger->symbols;
    ek_candidate found = {
        .left = left, .right = right, .bytes = symbols[left].bytes + symbols[right].bytes};
    if (propose(context, &symbols[left], &symbols[right], &found)) {
        push(merger, &found);
    }
}

ek_status ek_merger_run(ek_merger *merger, size_t count, ek_propose propose, const void *context) {
    ek_symbol *symbols = merger->symbols;
    if (count > INT32_MAX / 4) {
        return EK_STATUS_TOO_LARGE;
    }
    int32_t last = (int32_t)count - 1;
    merger->heap_count = 0;
    for (int32_t i = 0; i <= last; i++) {
        symbols[i].before = i - 1;
        symbols[i].after = i < last ? i + 1 : -1;
    }
    for (int32_t i = 0; i < last; i++) {
        offer(merger, i, i + 1, propose, context);
    }
    while (merger->heap_count > 0) {
        ek_candidate best = pop(merger);
        ek_symbol *left = &symbols[best.left];
        ek_symbol *right = &symbols[best.right];
        /* Outdated where one side was merged with another neighbour since. */
        if (left->bytes == 0 || right->bytes == 0 || left->bytes + right->bytes != best.bytes) {
            continue;
        }
        left->bytes = best.bytes;
        left->token = best.token;
        left->after = right->after;
        right->bytes = 0;
        if (left->after >= 0) {
            symbols[left->after].before = best.left;
        }
        offer(merger, left->before, best.left, propose, context);
        offer(merger, best.left, left->after, propose, context);
    }
    return EK_STATUS_OK;
}

void ek_merger_free(ek_merger *merger) {
    free(merger->symbols);
    free(merger->heap);
    memset(merger, 0, sizeof *merger);
}
