/* Result codes of every public function. Values are spaced by cause, so that new ones fit in. */
#ifndef EDGEKIT_STATUS_H
#define EDGEKIT_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ek_status {
    EK_STATUS_OK = 0,

    /* The caller's fault: arguments. */
    EK_STATUS_NULL_ARGUMENT = 100,
    EK_STATUS_INVALID_ARGUMENT = 101,
    EK_STATUS_OUT_OF_RANGE = 102,

    /* The caller's fault: memory handed in. */
    EK_STATUS_SCRATCH_TOO_SMALL = 200,
    EK_STATUS_SCRATCH_UNALIGNED = 201,

    /* Sizes beyond what an implementation takes. */
    EK_STATUS_TOO_LARGE = 300,

    /* A session, or every session, is in use to its end. */
    EK_STATUS_FULL = 301,

    /* Something that this build cannot do. */
    EK_STATUS_UNSUPPORTED = 400,

    /* Files. */
    EK_STATUS_IO = 500,      /* cannot be opened, read or written */
    EK_STATUS_CORRUPT = 501, /* the contents break the format */

    /* Memory of the machine. */
    EK_STATUS_OUT_OF_MEMORY = 600,
    EK_STATUS_BUDGET_TOO_SMALL = 601,

    /* Ended from outside. */
    EK_STATUS_CANCELLED = 700
} ek_status;

#ifdef __cplusplus
}
#endif

#endif
