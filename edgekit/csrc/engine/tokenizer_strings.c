/* Strings of a GGUF array, taken into memory at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

enum { MOST_STRINGS = 1 << 22, MOST_BYTES = 1 << 28, EMPTY_BYTES = 20 };

/* The array as it lies in the file: the header was checked, so that lengths and texts fill it. */
static ek_status read_array(const ek_gguf *gguf, const char *key, const ek_gguf_value *array,
                            uint8_t **contents, const ek_message *message) {
    if (array->type != EK_GGUF_ARRAY || array->element_type != EK_GGUF_STRING) {
        return ek_report(message, EK_STATUS_CORRUPT, "%s is not a list of strings", key);
    }
    if (array->count > MOST_STRINGS || array->bytes > MOST_BYTES) {
        return ek_report(message, EK_STATUS_CORRUPT, "%s has %llu strings in %lld bytes", key,
                         (unsigned long long)array->count, (long long)array->bytes);
    }
    *contents = malloc((size_t)array->bytes + 1);
    if (*contents == NULL) {
        return ek_report(message, EK_STATUS_OUT_OF_MEMORY, "no memory for %s", key);
    }
    if (!ek_read_at(gguf->file, *contents, (size_t)array->bytes, array->offset)) {
        free(*contents);
        return ek_report(message, EK_STATUS_IO, "%s cannot be read", key);
    }
    return EK_STATUS_OK;
}

/* 0: the file changed since its header was checked. */
static int next_string(const uint8_t *contents, size_t bytes, size_t *at, size_t *length) {
    uint64_t stored = 0;
    if (bytes - *at < sizeof stored) {
        return 0;
    }
    memcpy(&stored, contents + *at, sizeof stored);
    *at += sizeof stored;
    *length = (size_t)stored;
    return stored <= bytes - *at;
}

ek_status ek_vocabulary_read_strings(const ek_gguf *gguf, const char *key, uint8_t **texts,
                                     uint32_t **starts, int32_t *count, const ek_message *message) {
    const ek_gguf_value *array = ek_gguf_find_value(gguf, key);
    uint8_t *contents = NULL;
    *count = 0;
    if (array == NULL) {
        return EK_STATUS_OK;
    }
    ek_status status = read_array(gguf, key, array, &contents, message);
    if (status != EK_STATUS_OK) {
        return status;
    }
    size_t strings = (size_t)array->count;
    size_t size_bytes = (size_t)array->bytes;
    *texts = malloc(size_bytes + strings * EMPTY_BYTES + 1);
    *starts = malloc((strings + 1) * sizeof **starts);
    if (*texts == NULL || *starts == NULL) {
        free(contents);
        return ek_report(message, EK_STATUS_OUT_OF_MEMORY, "no memory for %s", key);
    }
    size_t at = 0;
    size_t size = 0;
    for (size_t i = 0; i < strings; i++) {
        size_t length = 0;
        if (!next_string(contents, size_bytes, &at, &length)) {
            free(contents);
            return ek_report(message, EK_STATUS_CORRUPT, "%s changed while it was read", key);
        }
        (*starts)[i] = (uint32_t)size;
        memcpy(*texts + size, contents + at, length);
        at += length;
        size += length;
        if (length == 0) {
            size += (size_t)snprintf((char *)*texts + size, EMPTY_BYTES, "[EMPTY_%d]", (int)i);
        }
    }
    (*starts)[strings] = (uint32_t)size;
    *count = (int32_t)strings;
    free(contents);
    return EK_STATUS_OK;
}
