/* The four functions that compilers call by themselves, for builds without a C library. */
#include <stddef.h>
#include <stdint.h>

#define WORD_BYTES sizeof(uint32_t)

typedef uint32_t __attribute__((may_alias, aligned(4))) word;

static int are_aligned(const void *a, const void *b) {
    return (((uintptr_t)a | (uintptr_t)b) & (WORD_BYTES - 1)) == 0;
}

void *memcpy(void *restrict target, const void *restrict source, size_t size_bytes) {
    unsigned char *to = target;
    const unsigned char *from = source;
    if (are_aligned(to, from)) {
        for (; size_bytes >= 4 * WORD_BYTES; size_bytes -= 4 * WORD_BYTES) {
            const word *words = (const word *)(const void *)from;
            word *targets = (word *)(void *)to;
            const uint32_t a = words[0];
            const uint32_t b = words[1];
            const uint32_t c = words[2];
            const uint32_t d = words[3];
            targets[0] = a;
            targets[1] = b;
            targets[2] = c;
            targets[3] = d;
            from += 4 * WORD_BYTES;
            to += 4 * WORD_BYTES;
        }
        for (; size_bytes >= WORD_BYTES; size_bytes -= WORD_BYTES) {
            *(word *)(void *)to = *(const word *)(const void *)from;
            from += WORD_BYTES;
            to += WORD_BYTES;
        }
    }
    while (size_bytes-- > 0) {
        *to++ = *from++;
    }
    return target;
}

void *memmove(void *target, const void *source, size_t size_bytes) {
    unsigned char *to = target;
    const unsigned char *from = source;
    if ((uintptr_t)to <= (uintptr_t)from || (uintptr_t)to >= (uintptr_t)from + size_bytes) {
        return memcpy(target, source, size_bytes);
    }
    while (size_bytes-- > 0) {
        to[size_bytes] = from[size_bytes];
    }
    return target;
}

void *memset(void *target, int value, size_t size_bytes) {
    unsigned char *to = target;
    const uint32_t byte = (uint32_t)value & 0xFFu;
    const uint32_t pattern = byte * 0x01010101u;
    for (; size_bytes > 0 && ((uintptr_t)to & (WORD_BYTES - 1)) != 0; --size_bytes) {
        *to++ = (unsigned char)byte;
    }
    for (; size_bytes >= WORD_BYTES; size_bytes -= WORD_BYTES) {
        *(word *)(void *)to = pattern;
        to += WORD_BYTES;
    }
    while (size_bytes-- > 0) {
        *to++ = (unsigned char)byte;
    }
    return target;
}

int memcmp(const void *first, const void *second, size_t size_bytes) {
    const unsigned char *a = first;
    const unsigned char *b = second;
    for (; size_bytes > 0; --size_bytes, ++a, ++b) {
        if (*a != *b) {
            return *a < *b ? -1 : 1;
        }
    }
    return 0;
}
