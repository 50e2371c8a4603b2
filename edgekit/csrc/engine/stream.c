#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int64_t ek_slot_bytes(int64_t chunk_bytes) {
    /* Whole pages around a range that may begin and end anywhere. */
    return (chunk_bytes + EK_STORAGE_PAGE - 1) / EK_STORAGE_PAGE * EK_STORAGE_PAGE +
           EK_STORAGE_PAGE;
}

/* Reads pages; the file may end within the last one. Returns how many bytes there were. */
static int64_t read_pages(int file, uint8_t *pages, int64_t bytes, int64_t offset) {
    int64_t done = 0;
    while (done < bytes) {
        ssize_t got = pread(file, pages + done, (size_t)(bytes - done), (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -1;
        }
        if (got == 0) {
            break;
        }
        done += got;
        if (done % EK_STORAGE_PAGE != 0) {
            break; /* the end of the file */
        }
    }
    return done;
}

int ek_stream_read(ek_stream *stream, uint8_t *pages, int64_t offset, int64_t bytes,
                   uint8_t **data) {
    int64_t start = offset / EK_STORAGE_PAGE * EK_STORAGE_PAGE;
    int64_t length = ek_page_bytes(offset, bytes);
    int64_t got = read_pages(stream->file, pages, length, start);
#if defined(POSIX_FADV_DONTNEED)
    if (!stream->is_direct) {
        (void)posix_fadvise(stream->file, (off_t)start, (off_t)length, POSIX_FADV_DONTNEED);
    }
#endif
    *data = pages + (offset - start);
    pthread_mutex_lock(&stream->lock);
    stream->counters.read_bytes += got > 0 ? got : 0;
    pthread_mutex_unlock(&stream->lock);
    return got >= offset - start + bytes;
}

ek_stream_counters ek_stream_count(ek_stream *stream) {
    ek_stream_counters counters = {0, 0};
    if (stream->row_pages != NULL) {
        pthread_mutex_lock(&stream->lock);
        counters = stream->counters;
        pthread_mutex_unlock(&stream->lock);
    }
    return counters;
}

/* Whether the reader may read an expert's chunk (1), must skip it (0) or wait (-1). */
static int is_needed(const ek_stream *stream, const ek_chunk *chunk) {
    if (chunk->expert < 0) {
        return 1;
    }
    if (stream->reader_pass > stream->pass || chunk->layer >= stream->routed) {
        return -1;
    }
    return chunk->layer == stream->routed - 1 && stream->chosen[chunk->expert];
}

/* Moves the cursor to the next chunk that has to be read and returns it; -1: none can be yet. */
static int32_t find_next(ek_stream *stream) {
    while (stream->used < stream->slot_count) {
        int in_pass = stream->reader_pass == stream->pass;
        if (stream->cursor >= (in_pass ? stream->end : stream->chunk_count)) {
            if (!in_pass) {
                return -1;
            }
            stream->cursor = 0;
            stream->reader_pass++;
            continue;
        }
        const ek_chunk *chunk = &stream->chunks[stream->cursor];
        int needed =
            chunk->is_pinned || chunk->class == EK_CHUNK_BY_ROW ? 0 : is_needed(stream, chunk);
        if (needed < 0) {
            return -1;
        }
        if (needed) {
            return stream->cursor;
        }
        stream->cursor++;
    }
    return -1;
}

static void *run_reader(void *argument) {
    const ek_reader *reader = argument;
    ek_stream *stream = reader->stream;
    pthread_mutex_lock(&stream->lock);
    while (!stream->ending) {
        int32_t index = find_next(stream);
        if (index < 0) {
            pthread_cond_wait(&stream->freed, &stream->lock);
            continue;
        }
        const ek_chunk *chunk = &stream->chunks[index];
        ek_slot *slot = &stream->slots[(stream->head + stream->used) % stream->slot_count];
        stream->cursor++;
        stream->used++;
        slot->chunk = index;
        slot->state = EK_SLOT_READING;
        pthread_mutex_unlock(&stream->lock);
        uint8_t *data = NULL;
        int done = ek_stream_read(stream, slot->pages, chunk->offset, chunk->bytes, &data);
        if (done) {
            ek_chunk_interleave(chunk, data, reader->group);
        }
        pthread_mutex_lock(&stream->lock);
        slot->state = done ? EK_SLOT_READY : EK_SLOT_FAILED;
        pthread_cond_broadcast(&stream->filled);
    }
    pthread_mutex_unlock(&stream->lock);
    return NULL;
}

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Waits until a slot is filled; 0 when the time is over. */
static int wait_filled(ek_stream *stream, int64_t until_ns) {
    /* Conditions are timed by the wall clock, which may be set: hence short waits. */
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    time.tv_nsec += 100000000;
    time.tv_sec += time.tv_nsec / 1000000000;
    time.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&stream->filled, &stream->lock, &time);
    return now_ns() < until_ns;
}

/* Another open file, so that the page cache is passed by for these reads alone. */
static int open_again(int file, int *is_direct) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    *is_direct = 0;
#if defined(O_DIRECT)
    int direct = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (direct >= 0) {
        *is_direct = 1;
        return direct;
    }
#endif
    int plain = open(path, O_RDONLY | O_CLOEXEC);
    return plain >= 0 ? plain : fcntl(file, F_DUPFD_CLOEXEC, 0);
}

ek_status ek_stream_start(ek_stream *stream, int file, const ek_message *message) {
    stream->file = open_again(file, &stream->is_direct);
    if (stream->file < 0) {
        return ek_report(message, EK_STATUS_IO, "the model's file cannot be opened again");
    }
    pthread_mutex_init(&stream->lock, NULL);
    pthread_cond_init(&stream->filled, NULL);
    pthread_cond_init(&stream->freed, NULL);
    /* Some file systems take the flag and refuse the reads. */
    if (stream->is_direct && read_pages(stream->file, stream->row_pages, EK_STORAGE_PAGE, 0) < 0) {
        (void)fcntl(stream->file, F_SETFL, 0);
        stream->is_direct = 0;
    }
    stream->cursor = stream->chunk_count; /* nothing is read before the first pass */
    stream->reader_pass = stream->pass + 1;
    while (stream->reader_count < EK_READERS && stream->slot_count > 0) {
        ek_reader *reader = &stream->readers[stream->reader_count];
        reader->stream = stream;
        if (pthread_create(&reader->thread, NULL, run_reader, reader) != 0) {
            return ek_report(message, EK_STATUS_OUT_OF_MEMORY, "a reader cannot be started");
        }
        stream->reader_count++;
    }
    return EK_STATUS_OK;
}

void ek_stream_stop(ek_stream *stream) {
    if (stream->row_pages == NULL || stream->file <= 0) {
        return;
    }
    pthread_mutex_lock(&stream->lock);
    stream->ending = 1;
    pthread_cond_broadcast(&stream->freed);
    pthread_mutex_unlock(&stream->lock);
    for (int32_t i = 0; i < stream->reader_count; i++) {
        pthread_join(stream->readers[i].thread, NULL);
    }
    pthread_cond_destroy(&stream->freed);
    pthread_cond_destroy(&stream->filled);
    pthread_mutex_destroy(&stream->lock);
    close(stream->file);
    stream->file = -1;
}

static void drop_head(ek_stream *stream) {
    stream->head = (stream->head + 1) % stream->slot_count;
    stream->used--;
    pthread_cond_broadcast(&stream->freed);
}

/* Empties the ring after a pass that broke off. */
static ek_status empty_ring(ek_stream *stream) {
    int64_t until_ns = now_ns() + stream->timeout_ns;
    stream->cursor = stream->chunk_count;
    stream->reader_pass = stream->pass + 1;
    while (stream->used > 0) {
        if (stream->slots[stream->head].state != EK_SLOT_READING) {
            drop_head(stream);
        } else if (!wait_filled(stream, until_ns)) {
            return EK_STATUS_IO;
        }
    }
    return EK_STATUS_OK;
}

ek_status ek_stream_begin(ek_stream *stream, int32_t end) {
    pthread_mutex_lock(&stream->lock);
    ek_status status = stream->is_complete ? EK_STATUS_OK : empty_ring(stream);
    if (status == EK_STATUS_OK) {
        int reads_ahead = stream->is_complete && stream->reader_pass > stream->pass;
        stream->pass++;
        stream->reader_pass = stream->pass;
        stream->cursor = reads_ahead ? stream->cursor : 0;
        stream->end = end;
        stream->routed = 0;
        stream->is_complete = 0;
        pthread_cond_broadcast(&stream->freed);
    }
    pthread_mutex_unlock(&stream->lock);
    return status;
}

void ek_stream_complete(ek_stream *stream) {
    pthread_mutex_lock(&stream->lock);
    stream->is_complete = 1;
    pthread_mutex_unlock(&stream->lock);
}

void ek_stream_route(ek_stream *stream, int32_t layer, const uint8_t *chosen) {
    pthread_mutex_lock(&stream->lock);
    stream->routed = layer + 1;
    stream->chosen = chosen;
    pthread_cond_broadcast(&stream->freed);
    pthread_mutex_unlock(&stream->lock);
}

ek_status ek_stream_take(ek_stream *stream, int32_t chunk, const uint8_t **data) {
    int64_t start_ns = now_ns();
    ek_status status = EK_STATUS_OK;
    pthread_mutex_lock(&stream->lock);
    for (;;) {
        ek_slot *slot = &stream->slots[stream->head];
        if (stream->used > 0 && slot->state != EK_SLOT_READING) {
            if (slot->chunk == chunk) {
                status = slot->state == EK_SLOT_READY ? EK_STATUS_OK : EK_STATUS_IO;
                const ek_chunk *found = &stream->chunks[chunk];
                *data = slot->pages + found->offset % EK_STORAGE_PAGE;
                break;
            }
            drop_head(stream);
        } else if (!wait_filled(stream, start_ns + stream->timeout_ns)) {
            status = EK_STATUS_IO;
            break;
        }
    }
    stream->counters.wait_ns += now_ns() - start_ns;
    pthread_mutex_unlock(&stream->lock);
    return status;
}

void ek_stream_give(ek_stream *stream) {
    pthread_mutex_lock(&stream->lock);
    drop_head(stream);
    pthread_mutex_unlock(&stream->lock);
}
