/* Tokens by text, merges by pair: open addressing with a limit to how long a search may be, so that
 * no file can make one slow. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

/* With half of the slots free, searches of real vocabularies end after a few tens. */
enum { LONGEST_SEARCH = 4096 };

/* FNV-1a (Fowler, Noll, Vo), its upper half folded in. */
static uint64_t hash_text(const uint8_t *text, size_t bytes) {
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ text[i]) * 0x100000001B3u;
    }
    return hash ^ hash >> 32;
}

/* Multiplicative hashing by the golden ratio (Knuth, The Art of Computer Programming, 6.4). */
static uint64_t hash_pair(int32_t left, int32_t right) {
    uint64_t both = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint64_t hash = (both ^ both >> 29) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 32;
}

ek_status ek_slots_make(ek_slots *slots, size_t items) {
    size_t count = 16;
    while (count < items * 2) {
        count *= 2;
    }
    slots->items = calloc(count, sizeof *slots->items);
    slots->mask = count - 1;
    return slots->items == NULL ? EK_STATUS_OUT_OF_MEMORY : EK_STATUS_OK;
}

static int is_text(const ek_vocabulary *vocabulary, int32_t token, const uint8_t *text,
                   size_t bytes) {
    uint32_t start = vocabulary->starts[token];
    return vocabulary->starts[token + 1] - start == bytes &&
           memcmp(vocabulary->texts + start, text, bytes) == 0;
}

int32_t ek_vocabulary_find(const ek_vocabulary *vocabulary, const uint8_t *text, size_t bytes) {
    const ek_slots *slots = &vocabulary->by_text;
    for (uint64_t at = hash_text(text, bytes);; at++) {
        int32_t item = slots->items[at & slots->mask];
        if (item == 0 || is_text(vocabulary, item - 1, text, bytes)) {
            return item - 1;
        }
    }
}

const ek_pair *ek_vocabulary_find_pair(const ek_vocabulary *vocabulary, int32_t left,
                                       int32_t right) {
    const ek_slots *slots = &vocabulary->by_pair;
    for (uint64_t at = hash_pair(left, right);; at++) {
        int32_t item = slots->items[at & slots->mask];
        if (item == 0) {
            return NULL;
        }
        const ek_pair *pair = &vocabulary->pairs[item - 1];
        if (pair->left == left && pair->right == right) {
            return pair;
        }
    }
}

ek_status ek_slots_index_texts(ek_vocabulary *vocabulary, int32_t *repeated) {
    ek_slots *slots = &vocabulary->by_text;
    ek_status status = ek_slots_make(slots, (size_t)vocabulary->count);
    for (int32_t token = 0; status == EK_STATUS_OK && token < vocabulary->count; token++) {
        const uint8_t *text = vocabulary->texts + vocabulary->starts[token];
        size_t bytes = vocabulary->starts[token + 1] - vocabulary->starts[token];
        uint64_t first = hash_text(text, bytes);
        uint64_t at = first;
        while (slots->items[at & slots->mask] != 0) {
            int is_same = is_text(vocabulary, slots->items[at & slots->mask] - 1, text, bytes);
            if (is_same || ++at - first > LONGEST_SEARCH) {
                *repeated = is_same ? token : EK_NO_TOKEN;
                return EK_STATUS_CORRUPT;
            }
        }
        slots->items[at & slots->mask] = token + 1;
    }
    return status;
}

/* Of a pair that stands there twice the last one counts. */
ek_status ek_slots_index_pairs(ek_vocabulary *vocabulary) {
    ek_slots *slots = &vocabulary->by_pair;
    ek_status status = ek_slots_make(slots, (size_t)vocabulary->pair_count);
    for (int32_t i = 0; status == EK_STATUS_OK && i < vocabulary->pair_count; i++) {
        const ek_pair *pair = &vocabulary->pairs[i];
        uint64_t first = hash_pair(pair->left, pair->right);
        uint64_t at = first;
        for (int32_t item; (item = slots->items[at & slots->mask]) != 0; at++) {
            const ek_pair *other = &vocabulary->pairs[item - 1];
            if (other->left == pair->left && other->right == pair->right) {
                break;
            }
            if (at - first > LONGEST_SEARCH) {
                return EK_STATUS_CORRUPT;
            }
        }
        slots->items[at & slots->mask] = i + 1;
    }
    return status;
}
