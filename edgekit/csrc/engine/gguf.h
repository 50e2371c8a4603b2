/* Header of a GGUF file: key-value pairs and tensors, read with bounded buffers.
 *
 * Format: github.com/ggml-org/ggml, docs/gguf.md. Nothing is allocated for a count that the file is
 * too short for; strings and arrays stay in the file and are found by their offset.
 */
#ifndef EDGEKIT_ENGINE_GGUF_H
#define EDGEKIT_ENGINE_GGUF_H

#include <stddef.h>
#include <stdint.h>

#include "report.h"

enum {
    EK_GGUF_UINT8 = 0,
    EK_GGUF_INT8 = 1,
    EK_GGUF_UINT16 = 2,
    EK_GGUF_INT16 = 3,
    EK_GGUF_UINT32 = 4,
    EK_GGUF_INT32 = 5,
    EK_GGUF_FLOAT32 = 6,
    EK_GGUF_BOOL = 7,
    EK_GGUF_STRING = 8,
    EK_GGUF_ARRAY = 9,
    EK_GGUF_UINT64 = 10,
    EK_GGUF_INT64 = 11,
    EK_GGUF_FLOAT64 = 12
};

typedef struct ek_gguf_value {
    uint32_t key; /* place in `names` */
    uint32_t type;
    uint32_t element_type; /* of an array */
    uint64_t count;        /* elements of an array, bytes of a string */
    int64_t offset;        /* in the file: contents of an array or a string */
    int64_t bytes;         /* of the contents */
    uint64_t bits;         /* of a scalar, zero-extended */
} ek_gguf_value;

typedef struct ek_gguf_tensor {
    uint32_t name; /* place in `names` */
    uint32_t type; /* known to ek_type_find */
    int64_t sizes[4];
    int64_t offset; /* in the file */
    int64_t bytes;
    int32_t used; /* set by whoever takes it */
} ek_gguf_tensor;

typedef struct ek_gguf {
    int file;
    int64_t file_bytes;
    char *names; /* all keys and names, each terminated */
    size_t names_bytes;
    ek_gguf_value *values; /* sorted by key */
    size_t value_count;
    ek_gguf_tensor *tensors; /* sorted by name */
    size_t tensor_count;
    uint64_t fingerprint; /* of the header and the file's size */
    int64_t heap_bytes;
} ek_gguf;

/* On failure nothing is held. */
ek_status ek_gguf_open(const char *path, ek_gguf *gguf, const ek_message *message);
void ek_gguf_close(ek_gguf *gguf);

const ek_gguf_value *ek_gguf_find_value(const ek_gguf *gguf, const char *key);
ek_gguf_tensor *ek_gguf_find_tensor(const ek_gguf *gguf, const char *name);
/* Copies a string value, terminated; 0 where it is too long or cannot be read. */
int ek_gguf_read_string(const ek_gguf *gguf, const ek_gguf_value *value, char *text, size_t bytes);

/* Reads exactly `bytes`; 0 where the file ends before or reading fails. */
int ek_read_at(int file, void *out, size_t bytes, int64_t offset);

#endif
