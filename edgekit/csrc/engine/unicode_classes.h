/* Classes of characters that word rules tell apart: general categories of Unicode. */
#ifndef EDGEKIT_ENGINE_UNICODE_CLASSES_H
#define EDGEKIT_ENGINE_UNICODE_CLASSES_H

#include <stdint.h>

enum {
    EK_CLASS_SPACE = 1,  /* White_Space */
    EK_CLASS_NUMBER = 2, /* N */
    EK_CLASS_LETTER = 4, /* L */
    EK_CLASS_UPPER = 8,  /* Lu, Lt, Lm, Lo, M: what may stand where a word has capitals */
    EK_CLASS_LOWER = 16, /* Ll, Lm, Lo, M: likewise small letters */
    EK_CLASS_LINE = 32,  /* carriage return, line feed: set by who reads a text */
    EK_CLASS_END = 64    /* no character: what follows the last one */
};

uint8_t ek_unicode_classes(uint32_t character);

#endif
