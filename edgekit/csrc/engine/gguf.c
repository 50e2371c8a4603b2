#include "gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "quants.h"

enum {
    READ_BYTES = 1 << 16,
    MAX_NAME_BYTES = 1 << 10,
    MAX_VALUES = 1 << 16,
    MAX_TENSORS = 1 << 18,
    VALUE_BYTES = 13, /* the least that a pair takes: length of the key, type, one byte */
    TENSOR_BYTES = 32 /* likewise: length, rank, one size, type, offset */
};

typedef struct reader {
    ek_gguf *gguf;
    const ek_message *message;
    int64_t position;
    int64_t buffer_start;
    size_t buffer_bytes;
    size_t names_capacity;
    uint8_t *buffer;
} reader;

static ek_status ends_early(const reader *r) {
    return ek_report(r->message, EK_STATUS_CORRUPT, "the header ends early, at byte %lld",
                     (long long)r->position);
}

static int64_t remaining(const reader *r) { return r->gguf->file_bytes - r->position; }

static ek_status skip(reader *r, uint64_t bytes) {
    if (bytes > (uint64_t)remaining(r)) {
        return ends_early(r);
    }
    r->position += (int64_t)bytes;
    return EK_STATUS_OK;
}

/* Up to READ_BYTES. */
static ek_status take(reader *r, void *out, size_t bytes) {
    if ((int64_t)bytes > remaining(r)) {
        return ends_early(r);
    }
    int64_t inside = r->position - r->buffer_start;
    if (inside < 0 || inside + (int64_t)bytes > (int64_t)r->buffer_bytes) {
        int64_t left = remaining(r);
        size_t wanted = left < READ_BYTES ? (size_t)left : READ_BYTES;
        r->buffer_bytes = 0;
        if (!ek_read_at(r->gguf->file, r->buffer, wanted, r->position)) {
            return ek_report(r->message, EK_STATUS_IO, "cannot be read at byte %lld",
                             (long long)r->position);
        }
        r->buffer_start = r->position;
        r->buffer_bytes = wanted;
        inside = 0;
    }
    memcpy(out, r->buffer + inside, bytes);
    r->position += (int64_t)bytes;
    return EK_STATUS_OK;
}

/* A name, kept in `names`. */
static ek_status take_name(reader *r, uint32_t *name) {
    uint64_t bytes = 0;
    ek_status status = take(r, &bytes, sizeof bytes);
    if (status != EK_STATUS_OK) {
        return status;
    }
    if (bytes > MAX_NAME_BYTES) {
        return ek_report(r->message, EK_STATUS_CORRUPT,
                         "a name of %llu bytes before byte %lld, at most %d are allowed",
                         (unsigned long long)bytes, (long long)r->position, MAX_NAME_BYTES);
    }
    ek_gguf *gguf = r->gguf;
    if (gguf->names_bytes + bytes + 1 > r->names_capacity) {
        size_t capacity = r->names_capacity * 2 + MAX_NAME_BYTES + 1;
        char *names = realloc(gguf->names, capacity);
        if (names == NULL) {
            return ek_report(r->message, EK_STATUS_OUT_OF_MEMORY, "no memory for names");
        }
        gguf->names = names;
        r->names_capacity = capacity;
    }
    char *text = gguf->names + gguf->names_bytes;
    status = take(r, text, bytes);
    if (status != EK_STATUS_OK) {
        return status;
    }
    if (memchr(text, 0, bytes) != NULL) {
        return ek_report(r->message, EK_STATUS_CORRUPT, "a name with a zero byte before byte %lld",
                         (long long)r->position);
    }
    text[bytes] = 0;
    *name = (uint32_t)gguf->names_bytes;
    gguf->names_bytes += bytes + 1;
    return EK_STATUS_OK;
}

/* 0: a string, an array or unknown. */
static size_t scalar_bytes(uint32_t type) {
    static const uint8_t BYTES[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof BYTES ? BYTES[type] : 0;
}

static ek_status skip_strings(reader *r, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        uint64_t bytes = 0;
        ek_status status = take(r, &bytes, sizeof bytes);
        status = status == EK_STATUS_OK ? skip(r, bytes) : status;
        if (status != EK_STATUS_OK) {
            return status;
        }
    }
    return EK_STATUS_OK;
}

static ek_status take_array(reader *r, ek_gguf_value *value) {
    ek_status status = take(r, &value->element_type, sizeof value->element_type);
    status = status == EK_STATUS_OK ? take(r, &value->count, sizeof value->count) : status;
    if (status != EK_STATUS_OK) {
        return status;
    }
    value->offset = r->position;
    if (value->element_type == EK_GGUF_STRING) {
        return skip_strings(r, value->count);
    }
    size_t bytes = scalar_bytes(value->element_type);
    if (bytes == 0) {
        return ek_report(r->message, EK_STATUS_CORRUPT, "%s: an array of unknown type %u",
                         r->gguf->names + value->key, (unsigned)value->element_type);
    }
    if (value->count > (uint64_t)remaining(r) / bytes) {
        return ends_early(r);
    }
    return skip(r, value->count * bytes);
}

static ek_status take_value(reader *r, ek_gguf_value *value) {
    memset(value, 0, sizeof *value);
    ek_status status = take_name(r, &value->key);
    status = status == EK_STATUS_OK ? take(r, &value->type, sizeof value->type) : status;
    if (status != EK_STATUS_OK) {
        return status;
    }
    if (value->type == EK_GGUF_ARRAY) {
        status = take_array(r, value);
        value->bytes = r->position - value->offset;
        return status;
    }
    if (value->type == EK_GGUF_STRING) {
        status = take(r, &value->count, sizeof value->count);
        value->offset = r->position;
        value->bytes = (int64_t)value->count;
        return status == EK_STATUS_OK ? skip(r, value->count) : status;
    }
    size_t bytes = scalar_bytes(value->type);
    if (bytes == 0) {
        return ek_report(r->message, EK_STATUS_CORRUPT, "%s has the unknown type %u",
                         r->gguf->names + value->key, (unsigned)value->type);
    }
    return take(r, &value->bits, bytes); /* little endian */
}

static ek_status check_tensor(const reader *r, ek_gguf_tensor *tensor, uint64_t offset) {
    const char *name = r->gguf->names + tensor->name;
    const ek_type *type = ek_type_find(tensor->type);
    if (type == NULL) {
        return ek_report(r->message, EK_STATUS_UNSUPPORTED, "tensor %s has the unknown type %u",
                         name, (unsigned)tensor->type);
    }
    int64_t limit = INT64_MAX / 512; /* no type has 512 bytes for one weight */
    int64_t count = 1;
    for (int i = 0; i < 4; i++) {
        if (tensor->sizes[i] < 1 || tensor->sizes[i] > limit / count) {
            return ek_report(r->message, EK_STATUS_CORRUPT, "tensor %s has the size %lld", name,
                             (long long)tensor->sizes[i]);
        }
        count *= tensor->sizes[i];
    }
    if (tensor->sizes[0] % type->columns != 0) {
        return ek_report(r->message, EK_STATUS_CORRUPT,
                         "tensor %s has %lld columns, %s needs multiples of %d", name,
                         (long long)tensor->sizes[0], type->name, (int)type->columns);
    }
    tensor->bytes = count / type->columns * type->bytes;
    if (offset > (uint64_t)r->gguf->file_bytes) {
        return ek_report(r->message, EK_STATUS_CORRUPT, "tensor %s lies beyond the file's end",
                         name);
    }
    tensor->offset = (int64_t)offset;
    return EK_STATUS_OK;
}

static ek_status take_tensor(reader *r, ek_gguf_tensor *tensor) {
    uint32_t rank = 0;
    uint64_t offset = 0;
    *tensor = (ek_gguf_tensor){.sizes = {1, 1, 1, 1}};
    ek_status status = take_name(r, &tensor->name);
    status = status == EK_STATUS_OK ? take(r, &rank, sizeof rank) : status;
    if (status != EK_STATUS_OK) {
        return status;
    }
    if (rank < 1 || rank > 4) {
        return ek_report(r->message, EK_STATUS_CORRUPT, "tensor %s has %u dimensions",
                         r->gguf->names + tensor->name, (unsigned)rank);
    }
    status = take(r, tensor->sizes, rank * sizeof tensor->sizes[0]);
    status = status == EK_STATUS_OK ? take(r, &tensor->type, sizeof tensor->type) : status;
    status = status == EK_STATUS_OK ? take(r, &offset, sizeof offset) : status;
    return status == EK_STATUS_OK ? check_tensor(r, tensor, offset) : status;
}

/* Names for qsort, which passes no context: pairs of a name and a record. */
typedef struct named {
    const char *name;
    size_t index;
} named;

static int compare_named(const void *left, const void *right) {
    return strcmp(((const named *)left)->name, ((const named *)right)->name);
}

/* Sorts records of `bytes` whose first member is the place of their name; refuses duplicates. */
static ek_status sort_records(const reader *r, void **records, size_t count, size_t bytes) {
    if (count == 0) {
        return EK_STATUS_OK;
    }
    named *order = malloc(count * sizeof *order);
    uint8_t *sorted = malloc(count * bytes);
    ek_status status = EK_STATUS_OK;
    if (order == NULL || sorted == NULL) {
        free(order);
        free(sorted);
        return ek_report(r->message, EK_STATUS_OUT_OF_MEMORY, "no memory for the header");
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t name;
        memcpy(&name, (uint8_t *)*records + i * bytes, sizeof name);
        order[i] = (named){r->gguf->names + name, i};
    }
    qsort(order, count, sizeof *order, compare_named);
    for (size_t i = 0; i < count; i++) {
        memcpy(sorted + i * bytes, (uint8_t *)*records + order[i].index * bytes, bytes);
        if (i > 0 && compare_named(&order[i - 1], &order[i]) == 0) {
            status = ek_report(r->message, EK_STATUS_CORRUPT, "%s occurs twice", order[i].name);
        }
    }
    free(*records);
    free(order);
    *records = sorted;
    return status;
}

static ek_status take_values(reader *r, uint64_t count) {
    ek_gguf *gguf = r->gguf;
    if (count > MAX_VALUES || count > (uint64_t)remaining(r) / VALUE_BYTES) {
        return ek_report(r->message, EK_STATUS_CORRUPT, "%llu key-value pairs",
                         (unsigned long long)count);
    }
    gguf->values = malloc((count + 1) * sizeof *gguf->values);
    if (gguf->values == NULL) {
        return ek_report(r->message, EK_STATUS_OUT_OF_MEMORY, "no memory for the header");
    }
    for (; gguf->value_count < count; gguf->value_count++) {
        ek_status status = take_value(r, &gguf->values[gguf->value_count]);
        if (status != EK_STATUS_OK) {
            return status;
        }
    }
    return EK_STATUS_OK;
}

static ek_status take_tensors(reader *r, uint64_t count) {
    ek_gguf *gguf = r->gguf;
    if (count > MAX_TENSORS || count > (uint64_t)remaining(r) / TENSOR_BYTES) {
        return ek_report(r->message, EK_STATUS_CORRUPT, "%llu tensors", (unsigned long long)count);
    }
    gguf->tensors = malloc((count + 1) * sizeof *gguf->tensors);
    if (gguf->tensors == NULL) {
        return ek_report(r->message, EK_STATUS_OUT_OF_MEMORY, "no memory for the header");
    }
    for (; gguf->tensor_count < count; gguf->tensor_count++) {
        ek_status status = take_tensor(r, &gguf->tensors[gguf->tensor_count]);
        if (status != EK_STATUS_OK) {
            return status;
        }
    }
    return EK_STATUS_OK;
}

/* Offsets in the header count from the first multiple of the alignment after it. */
static ek_status place_tensors(reader *r) {
    ek_gguf *gguf = r->gguf;
    const ek_gguf_value *value = ek_gguf_find_value(gguf, "general.alignment");
    uint64_t alignment = value == NULL ? 32 : value->bits;
    if (value != NULL && (value->type != EK_GGUF_UINT32 || alignment < 1 || alignment > 1 << 20 ||
                          (alignment & (alignment - 1)) != 0)) {
        return ek_report(r->message, EK_STATUS_CORRUPT, "general.alignment is not a power of two");
    }
    int64_t step = (int64_t)alignment;
    int64_t start = (r->position + step - 1) / step * step;
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        ek_gguf_tensor *tensor = &gguf->tensors[i];
        int64_t space = gguf->file_bytes - start - tensor->offset;
        if (tensor->offset % step != 0 || tensor->bytes > space) {
            return ek_report(r->message, EK_STATUS_CORRUPT,
                             "tensor %s is not within the file: %lld bytes at %lld of %lld",
                             gguf->names + tensor->name, (long long)tensor->bytes,
                             (long long)(start + tensor->offset), (long long)gguf->file_bytes);
        }
        tensor->offset += start;
    }
    return EK_STATUS_OK;
}

/* FNV-1a over words of eight bytes (Fowler, Noll, Vo; constants of the 64-bit variant). */
static ek_status take_fingerprint(reader *r) {
    int64_t header_bytes = r->position;
    uint64_t hash = 0xCBF29CE484222325u ^ (uint64_t)r->gguf->file_bytes;
    for (r->position = 0; r->position < header_bytes;) {
        uint64_t word = 0;
        int64_t left = header_bytes - r->position;
        ek_status status = take(r, &word, left < 8 ? (size_t)left : 8);
        if (status != EK_STATUS_OK) {
            return status;
        }
        hash = (hash ^ word) * 0x100000001B3u;
        hash ^= hash >> 32;
    }
    r->gguf->fingerprint = hash;
    return EK_STATUS_OK;
}

static ek_status take_header(reader *r) {
    struct {
        char magic[4];
        uint32_t version;
        uint64_t tensors;
        uint64_t values;
    } start;
    _Static_assert(sizeof start == 24, "start of a GGUF file");
    ek_gguf *gguf = r->gguf;
    if (remaining(r) < (int64_t)sizeof start) {
        return ek_report(r->message, EK_STATUS_CORRUPT, "is not a GGUF file: %lld bytes",
                         (long long)gguf->file_bytes);
    }
    ek_status status = take(r, &start, sizeof start);
    if (status != EK_STATUS_OK) {
        return status;
    }
    if (memcmp(start.magic, "GGUF", 4) != 0) {
        return ek_report(r->message, EK_STATUS_CORRUPT, "is not a GGUF file");
    }
    if (start.version > 0xFFFF) {
        return ek_report(r->message, EK_STATUS_UNSUPPORTED, "is a big-endian GGUF file");
    }
    if (start.version != 2 && start.version != 3) {
        return ek_report(r->message, EK_STATUS_UNSUPPORTED,
                         "has GGUF version %u, 2 and 3 are supported", (unsigned)start.version);
    }
    status = take_values(r, start.values);
    status = status == EK_STATUS_OK ? take_tensors(r, start.tensors) : status;
    if (status != EK_STATUS_OK) {
        return status;
    }
    void *values = gguf->values;
    void *tensors = gguf->tensors;
    status = sort_records(r, &values, gguf->value_count, sizeof *gguf->values);
    gguf->values = values;
    if (status == EK_STATUS_OK) {
        status = sort_records(r, &tensors, gguf->tensor_count, sizeof *gguf->tensors);
        gguf->tensors = tensors;
    }
    status = status == EK_STATUS_OK ? place_tensors(r) : status;
    return status == EK_STATUS_OK ? take_fingerprint(r) : status;
}

ek_status ek_gguf_open(const char *path, ek_gguf *gguf, const ek_message *message) {
    struct stat facts;
    memset(gguf, 0, sizeof *gguf);
    gguf->file = open(path, O_RDONLY | O_CLOEXEC);
    if (gguf->file < 0 || fstat(gguf->file, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        const char *why = gguf->file < 0 ? strerror(errno) : "it is not a regular file";
        ek_status status = ek_report(message, EK_STATUS_IO, "cannot be opened: %s", why);
        ek_gguf_close(gguf);
        return status;
    }
    gguf->file_bytes = (int64_t)facts.st_size;
    reader r = {.gguf = gguf, .message = message, .buffer = malloc(READ_BYTES)};
    ek_status status = r.buffer == NULL
                           ? ek_report(message, EK_STATUS_OUT_OF_MEMORY, "no memory to read")
                           : take_header(&r);
    free(r.buffer);
    if (status != EK_STATUS_OK) {
        ek_gguf_close(gguf);
        return status;
    }
    gguf->heap_bytes = (int64_t)(r.names_capacity + (gguf->value_count + 1) * sizeof *gguf->values +
                                 (gguf->tensor_count + 1) * sizeof *gguf->tensors);
    return EK_STATUS_OK;
}

void ek_gguf_close(ek_gguf *gguf) {
    if (gguf->file >= 0) {
        close(gguf->file);
    }
    free(gguf->names);
    free(gguf->values);
    free(gguf->tensors);
    memset(gguf, 0, sizeof *gguf);
    gguf->file = -1;
}
