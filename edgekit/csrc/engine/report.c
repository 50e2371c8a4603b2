#include "report.h"

#include <stdarg.h>
#include <stdio.h>

ek_status ek_report(const ek_message *message, ek_status status, const char *format, ...) {
    if (message->text != NULL && message->bytes > 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(message->text, message->bytes, format, arguments);
        va_end(arguments);
    }
    return status;
}
