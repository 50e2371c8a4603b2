/* UTF-8, strictly: no overlong forms, no surrogates, nothing beyond U+10FFFF (RFC 3629). */
#ifndef EDGEKIT_ENGINE_UTF8_H
#define EDGEKIT_ENGINE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the character that `text` begins with; 0 where it begins with none. */
size_t ek_utf8_read(const uint8_t *text, size_t bytes, uint32_t *character);
/* Number of characters; -1 where the text is no UTF-8. */
int64_t ek_utf8_count(const uint8_t *text, size_t bytes);

#endif
