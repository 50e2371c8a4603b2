/* Saved sessions: a header, then the parts of each layer and KV head that hold the tokens. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"

typedef struct state_header {
    char magic[8];
    uint64_t fingerprint; /* of the model */
    uint64_t checksum;    /* of everything after the header */
    int64_t payload_bytes;
    int32_t position;
    int32_t kv_type;
    int32_t byte_order;
    int32_t reserved;
} state_header;
_Static_assert(sizeof(state_header) == 48, "header of a saved session");

static const char MAGIC[8] = {'E', 'K', 'L', 'L', 'M', 'K', 'V', '1'};
enum { BYTE_ORDER_MARK = 0x01020304, COPY_BYTES = 1 << 12 };
static const uint64_t HASH_START = 0xCBF29CE484222325u;

/* FNV-1a (Fowler, Noll, Vo), 64 bits. */
static uint64_t hash_bytes(uint64_t hash, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001B3u;
    }
    return hash;
}

/* Called for every part that holds the first `position` tokens, until one call returns 0. */
typedef int (*part_visit)(void *context, const ek_kv_part *part);

static int visit_parts(const ek_llm_session *session, int32_t position, part_visit visit,
                       void *context) {
    const ek_kv_shape *shape = &session->engine->kv_shape;
    for (int32_t layer = 0; layer < shape->layers; layer++) {
        for (int32_t h = 0; h < shape->kv_heads; h++) {
            ek_kv_head head = ek_kv_find(shape, session->cache, layer, h);
            ek_kv_part parts[4];
            int32_t count = ek_kv_parts(shape, &head, position, parts);
            for (int32_t i = 0; i < count; i++) {
                if (!visit(context, &parts[i])) {
                    return 0;
                }
            }
        }
    }
    return 1;
}

static int hash_part(void *context, const ek_kv_part *part) {
    state_header *header = context;
    header->checksum = hash_bytes(header->checksum, part->data, (size_t)part->bytes);
    header->payload_bytes += part->bytes;
    return 1;
}

static int count_part(void *context, const ek_kv_part *part) {
    *(int64_t *)context += part->bytes;
    return 1;
}

static int write_part(void *context, const ek_kv_part *part) {
    return part->bytes == 0 || fwrite(part->data, (size_t)part->bytes, 1, context) == 1;
}

static int read_part(void *context, const ek_kv_part *part) {
    return part->bytes == 0 || fread(part->data, (size_t)part->bytes, 1, context) == 1;
}

static state_header describe(const ek_llm_session *session) {
    state_header header = {.fingerprint = session->engine->model->facts.fingerprint,
                           .checksum = HASH_START,
                           .position = session->position,
                           .kv_type = session->engine->options.kv_type,
                           .byte_order = BYTE_ORDER_MARK};
    memcpy(header.magic, MAGIC, sizeof MAGIC);
    visit_parts(session, session->position, hash_part, &header);
    return header;
}

static int write_state(const ek_llm_session *session, FILE *file) {
    state_header header = describe(session);
    int written = fwrite(&header, sizeof header, 1, file) == 1 &&
                  visit_parts(session, session->position, write_part, file) && fflush(file) == 0 &&
                  fsync(fileno(file)) == 0;
    return written;
}

ek_status ek_llm_save(const ek_llm_session *session, const char *path, char *message,
                      size_t message_bytes) {
    ek_message said = {message, message_bytes};
    ek_report(&said, EK_STATUS_OK, "%s", "");
    if (session == NULL || path == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    size_t bytes = strlen(path) + sizeof ".XXXXXX";
    char *temporary = malloc(bytes);
    if (temporary == NULL) {
        return ek_report(&said, EK_STATUS_OUT_OF_MEMORY, "no memory for a file name");
    }
    snprintf(temporary, bytes, "%s.XXXXXX", path);
    int descriptor = mkstemp(temporary);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "wb");
    int written = file != NULL && write_state(session, file);
    int why = errno;
    written = (file == NULL || fclose(file) == 0) && written;
    if (!written || rename(temporary, path) != 0) {
        why = written ? errno : why;
        if (descriptor >= 0) {
            unlink(temporary);
        }
        free(temporary);
        return ek_report(&said, EK_STATUS_IO, "%s cannot be written: %s", path, strerror(why));
    }
    free(temporary);
    return EK_STATUS_OK;
}

static ek_status check_header(const ek_llm_session *session, const state_header *header,
                              const ek_message *message) {
    int64_t payload = 0;
    if (memcmp(header->magic, MAGIC, sizeof MAGIC) != 0 || header->byte_order != BYTE_ORDER_MARK) {
        return ek_report(message, EK_STATUS_CORRUPT, "is not a saved session");
    }
    if (header->fingerprint != session->engine->model->facts.fingerprint) {
        return ek_report(message, EK_STATUS_CORRUPT, "was saved with another model");
    }
    if (header->kv_type != session->engine->options.kv_type) {
        return ek_report(message, EK_STATUS_CORRUPT, "was saved with another type of KV cache");
    }
    if (header->position > session->engine->options.context) {
        return ek_report(message, EK_STATUS_FULL, "has %d tokens, the context is %d",
                         (int)header->position, (int)session->engine->options.context);
    }
    if (header->position >= 0) {
        visit_parts(session, header->position, count_part, &payload);
    }
    if (header->position < 0 || payload != header->payload_bytes) {
        return ek_report(message, EK_STATUS_CORRUPT, "is damaged: %lld bytes for %d tokens",
                         (long long)header->payload_bytes, (int)header->position);
    }
    return EK_STATUS_OK;
}

/* Everything after the header, without touching the session. */
static ek_status check_payload(FILE *file, const state_header *header, const ek_message *message) {
    uint8_t bytes[COPY_BYTES];
    uint64_t checksum = HASH_START;
    int64_t left = header->payload_bytes;
    while (left > 0) {
        size_t now = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
        if (fread(bytes, now, 1, file) != 1) {
            return ek_report(message, EK_STATUS_CORRUPT, "is damaged: %lld bytes are missing",
                             (long long)left);
        }
        checksum = hash_bytes(checksum, bytes, now);
        left -= (int64_t)now;
    }
    if (checksum != header->checksum || fgetc(file) != EOF) {
        return ek_report(message, EK_STATUS_CORRUPT, "is damaged: its checksum differs");
    }
    return EK_STATUS_OK;
}

ek_status ek_llm_restore(ek_llm_session *session, const char *path, char *message,
                         size_t message_bytes) {
    ek_message said = {message, message_bytes};
    state_header header = {.position = -1};
    ek_report(&said, EK_STATUS_OK, "%s", "");
    if (session == NULL || path == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return ek_report(&said, EK_STATUS_IO, "cannot be opened: %s", strerror(errno));
    }
    ek_status status = fread(&header, sizeof header, 1, file) == 1
                           ? check_header(session, &header, &said)
                           : ek_report(&said, EK_STATUS_CORRUPT, "is not a saved session");
    status = status == EK_STATUS_OK ? check_payload(file, &header, &said) : status;
    if (status == EK_STATUS_OK) {
        session->position = 0; /* what was there is overwritten now */
        if (fseek(file, (long)sizeof header, SEEK_SET) == 0 &&
            visit_parts(session, header.position, read_part, file)) {
            session->position = header.position;
        } else {
            status = ek_report(&said, EK_STATUS_IO, "cannot be read to its end");
        }
    }
    fclose(file);
    return status;
}
