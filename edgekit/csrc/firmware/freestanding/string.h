/* The part of <string.h> that memory_functions.c implements, for builds without a C library. */
#ifndef EDGEKIT_FREESTANDING_STRING_H
#define EDGEKIT_FREESTANDING_STRING_H

#include <stddef.h>

void *memcpy(void *restrict target, const void *restrict source, size_t size_bytes);
void *memmove(void *target, const void *source, size_t size_bytes);
void *memset(void *target, int value, size_t size_bytes);
int memcmp(const void *first, const void *second, size_t size_bytes);

#endif
