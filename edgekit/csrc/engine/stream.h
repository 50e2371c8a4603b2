/* Reads chunks ahead of the computation, in the order in which tokens use them, token after token.
 *
 *        head                           cursor
 *          |                              |
 *   ring: [in use][ready][ready][reading][    ][    ]
 *
 * Readers take the chunk at the cursor, skip pinned ones, and wrap from the end of one pass over
 * the model to the begin of the next, which they read ahead too. Experts are read once the layer
 * knows which ones it needs. The engine takes chunks in the same order; what was read for nothing
 * (a pass that ended early) is dropped on the way.
 */
#ifndef EDGEKIT_ENGINE_STREAM_H
#define EDGEKIT_ENGINE_STREAM_H

#include <pthread.h>
#include <stdint.h>

#include "chunks.h"

/* Two requests at a time keep storage busy (see docs/language-models.md). */
enum { EK_READERS = 2, EK_SLOTS = 8, EK_LEAST_SLOTS = EK_READERS + 1 };

typedef enum ek_slot_state { EK_SLOT_READING = 0, EK_SLOT_READY, EK_SLOT_FAILED } ek_slot_state;

typedef struct ek_slot {
    uint8_t *pages; /* aligned to EK_STORAGE_PAGE */
    int32_t chunk;
    ek_slot_state state;
} ek_slot;

typedef struct ek_stream_counters {
    int64_t read_bytes; /* from storage, in whole pages */
    int64_t wait_ns;    /* that the engine waited for chunks */
} ek_stream_counters;

typedef struct ek_reader {
    struct ek_stream *stream;
    uint8_t *group; /* eight rows of the longest matrix */
    pthread_t thread;
} ek_reader;

typedef struct ek_stream {
    const ek_chunk *chunks; /* in order of the walk */
    int32_t chunk_count;
    ek_slot slots[EK_SLOTS];
    int32_t slot_count;
    int64_t slot_bytes;
    uint8_t *row_pages; /* for one row of the embedding */
    int64_t timeout_ns;

    int file;      /* past the page cache where the system can */
    int is_direct; /* 0: the page cache is emptied after each read */
    ek_reader readers[EK_READERS];
    int32_t reader_count;
    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t filled;
    pthread_cond_t freed;
    int32_t head;
    int32_t used; /* slots from the head on */
    int32_t cursor;
    int64_t pass;          /* that the engine is in */
    int64_t reader_pass;   /* that the cursor is in: the same or the next */
    int32_t end;           /* chunk behind the last one of the engine's pass */
    int32_t is_complete;   /* the engine's pass ended as it should */
    int32_t routed;        /* layers of this pass whose experts are known */
    const uint8_t *chosen; /* [experts]: 1 where the last of these layers needs one */
    int32_t ending;
    ek_stream_counters counters;
} ek_stream;

/* Bytes of one slot, and of the pages for one row. */
int64_t ek_slot_bytes(int64_t chunk_bytes);

/* Opens the file again and starts the readers. `stream` has its chunks, slots and times. */
ek_status ek_stream_start(ek_stream *stream, int file, const ek_message *message);
/* Waits for reads that are under way. A stream that was never started is allowed. */
void ek_stream_stop(ek_stream *stream);

/* A pass over the chunks before `end` begins. */
ek_status ek_stream_begin(ek_stream *stream, int32_t end);
void ek_stream_complete(ek_stream *stream);
/* `chosen` must not change until the next call or the end of the pass. */
void ek_stream_route(ek_stream *stream, int32_t layer, const uint8_t *chosen);

/* Waits for a chunk, interleaved where it is to be. EK_STATUS_IO: it cannot be read, or not within
 * the time. */
ek_status ek_stream_take(ek_stream *stream, int32_t chunk, const uint8_t **data);
/* So far; zeros for a stream that was never started. */
ek_stream_counters ek_stream_count(ek_stream *stream);

/* Gives the chunk that was taken last back. */
void ek_stream_give(ek_stream *stream);

/* Reads a range of the file into pages; 0 on failure. `*data` is its first byte. */
int ek_stream_read(ek_stream *stream, uint8_t *pages, int64_t offset, int64_t bytes,
                   uint8_t **data);

#endif
