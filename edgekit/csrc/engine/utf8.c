#include "utf8.h"

size_t ek_utf8_read(const uint8_t *text, size_t bytes, uint32_t *character) {
    static const uint32_t SMALLEST[] = {0, 0, 0x80, 0x800, 0x10000};
    if (bytes == 0) {
        return 0;
    }
    uint8_t first = text[0];
    if (first < 0x80) {
        *character = first;
        return 1;
    }
    size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || length > bytes) {
        return 0;
    }
    uint32_t found = first & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xC0) != 0x80) {
            return 0;
        }
        found = found << 6 | (text[i] & 0x3F);
    }
    if (found < SMALLEST[length] || found > 0x10FFFF || (found >= 0xD800 && found <= 0xDFFF)) {
        return 0;
    }
    *character = found;
    return length;
}

int64_t ek_utf8_count(const uint8_t *text, size_t bytes) {
    int64_t count = 0;
    for (size_t at = 0; at < bytes; count++) {
        uint32_t character = 0;
        size_t length = ek_utf8_read(text + at, bytes - at, &character);
        if (length == 0) {
            return -1;
        }
        at += length;
    }
    return count;
}
