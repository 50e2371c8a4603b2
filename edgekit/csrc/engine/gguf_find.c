#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "gguf.h"

int ek_read_at(int file, void *out, size_t bytes, int64_t offset) {
    uint8_t *place = out;
    while (bytes > 0) {
        ssize_t got = pread(file, place, bytes, (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return 0;
        }
        place += got;
        offset += got;
        bytes -= (size_t)got;
    }
    return 1;
}

const ek_gguf_value *ek_gguf_find_value(const ek_gguf *gguf, const char *key) {
    size_t low = 0;
    for (size_t high = gguf->value_count; low < high;) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(gguf->names + gguf->values[middle].key, key);
        if (order == 0) {
            return &gguf->values[middle];
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return NULL;
}

ek_gguf_tensor *ek_gguf_find_tensor(const ek_gguf *gguf, const char *name) {
    size_t low = 0;
    for (size_t high = gguf->tensor_count; low < high;) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(gguf->names + gguf->tensors[middle].name, name);
        if (order == 0) {
            return &gguf->tensors[middle];
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return NULL;
}

int ek_gguf_read_string(const ek_gguf *gguf, const ek_gguf_value *value, char *text, size_t bytes) {
    if (value->type != EK_GGUF_STRING || value->count >= bytes ||
        !ek_read_at(gguf->file, text, value->count, value->offset)) {
        return 0;
    }
    text[value->count] = 0;
    return 1;
}
