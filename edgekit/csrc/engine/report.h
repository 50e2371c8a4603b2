/* The sentence that goes with a status. */
#ifndef EDGEKIT_ENGINE_REPORT_H
#define EDGEKIT_ENGINE_REPORT_H

#include <stddef.h>

#include "edgekit/status.h"

typedef struct ek_message {
    char *text; /* may be NULL */
    size_t bytes;
} ek_message;

#if defined(__GNUC__)
#define EK_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define EK_PRINTF(text, first)
#endif

/* Writes the sentence and returns the status, so that a check is one line. */
ek_status ek_report(const ek_message *message, ek_status status, const char *format, ...)
    EK_PRINTF(3, 4);

#endif
