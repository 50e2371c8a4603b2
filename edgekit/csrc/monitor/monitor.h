/* Inference and field update over a serial line: answers the frames that `edgekit monitor` sends.
 *
 * The program gives every byte that arrives to ek_monitor_feed, which calls `write` with what is to
 * be sent. A request that comes twice (its answer was lost) is answered again, not executed again.
 * No allocation, no global state. Messages: docs/serial-protocol.md.
 */
#ifndef EDGEKIT_MONITOR_MONITOR_H
#define EDGEKIT_MONITOR_MONITOR_H

#include <stdint.h>

#include "edgekit/status.h"
#include "frame.h"
#include "update.h"

#define EK_MONITOR_PROTOCOL 1u
#define EK_MONITOR_MAX_RANK 6u
#define EK_MONITOR_ANSWER 0x80u
#define EK_MONITOR_ERROR 0xFFu

enum ek_monitor_kind {
    EK_MONITOR_HELLO = 1,
    EK_MONITOR_TENSOR = 2,
    EK_MONITOR_WRITE = 3,
    EK_MONITOR_RUN = 4,
    EK_MONITOR_READ = 5,
    EK_MONITOR_UPDATE_STATUS = 6,
    EK_MONITOR_UPDATE_BEGIN = 7,
    EK_MONITOR_UPDATE_WRITE = 8,
    EK_MONITOR_UPDATE_FINISH = 9,
    EK_MONITOR_UPDATE_CONFIRM = 10,
    EK_MONITOR_RESTART = 11
};

enum ek_monitor_dtype {
    EK_MONITOR_INT8 = 1,
    EK_MONITOR_UINT8 = 2,
    EK_MONITOR_INT16 = 3,
    EK_MONITOR_INT32 = 4,
    EK_MONITOR_INT64 = 5,
    EK_MONITOR_FLOAT32 = 6,
    EK_MONITOR_BOOL = 7
};

typedef struct ek_monitor_tensor {
    const char *name;
    uint32_t bytes;
    uint8_t dtype; /* ek_monitor_dtype */
    uint8_t rank;  /* at most EK_MONITOR_MAX_RANK */
    uint32_t shape[EK_MONITOR_MAX_RANK];
    float scale;        /* 0 where the tensor is not quantized */
    int32_t zero_point; /* real = scale * (stored - zero point) */
} ek_monitor_tensor;

typedef struct ek_monitor_model {
    const char *name;
    uint8_t inputs;  /* tensors 0 .. inputs - 1 */
    uint8_t outputs; /* tensors inputs .. inputs + outputs - 1 */
    const ek_monitor_tensor *tensors;
    ek_status (*init)(void);
    ek_status (*run)(void);
    void *(*tensor)(uint32_t index);
    uint64_t (*ticks)(void); /* NULL where there is no clock */
    uint32_t clock_hz;       /* of the ticks */
} ek_monitor_model;

/* Where images are received; NULL in ek_monitor where they are not. */
typedef struct ek_monitor_update {
    ek_flash flash;
    ek_update_layout layout;
    uint32_t running; /* slot, or EK_UPDATE_NO_SLOT in a bootloader */
} ek_monitor_update;

/* All zeros but for the first five members. */
typedef struct ek_monitor {
    const ek_monitor_model *model;   /* NULL in a bootloader */
    const ek_monitor_update *update; /* or NULL */
    void (*write)(void *context, const uint8_t *data, size_t bytes);
    void *context;
    void (*restart)(void); /* called after the answer was written; or NULL */
    uint32_t update_slot;  /* begun and not finished, plus 1 */
    uint8_t has_answered;
    ek_frame request;
    ek_frame answer;
    ek_frame_reader reader;
} ek_monitor;

void ek_monitor_feed(ek_monitor *monitor, uint8_t byte);

#endif
