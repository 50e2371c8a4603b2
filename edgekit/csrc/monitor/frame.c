#include "frame.h"

#include <string.h>

uint32_t ek_crc32(uint32_t crc, const void *data, size_t bytes) {
    const uint8_t *from = (const uint8_t *)data;
    crc = ~crc;
    for (size_t i = 0; i < bytes; ++i) {
        crc ^= from[i];
        for (int32_t bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

uint32_t ek_get_u32(const uint8_t *from) {
    return (uint32_t)from[0] | ((uint32_t)from[1] << 8) | ((uint32_t)from[2] << 16) |
           ((uint32_t)from[3] << 24);
}

void ek_put_u32(uint8_t *to, uint32_t value) {
    for (int32_t i = 0; i < 4; ++i) {
        to[i] = (uint8_t)(value >> (8 * i));
    }
}

/* Undo COBS. Returns the number of bytes, 0 where the code is not valid. */
static size_t unstuff(const uint8_t *code, size_t count, uint8_t *content) {
    size_t out = 0;
    size_t in = 0;
    while (in < count) {
        const size_t length = code[in];
        if (length == 0 || in + length > count || out + length > EK_FRAME_MAX_CONTENT + 1u) {
            return 0;
        }
        memcpy(content + out, code + in + 1, length - 1);
        out += length - 1;
        in += length;
        if (length < 255 && in < count) {
            content[out++] = 0;
        }
    }
    return out;
}

static int32_t decode(const uint8_t *code, size_t count, ek_frame *frame) {
    uint8_t content[EK_FRAME_MAX_CONTENT + 1u];
    const size_t bytes = unstuff(code, count, content);
    if (bytes < EK_FRAME_HEADER + EK_FRAME_CRC || bytes > EK_FRAME_MAX_CONTENT) {
        return 0;
    }
    const size_t checked = bytes - EK_FRAME_CRC;
    if (ek_crc32(0, content, checked) != ek_get_u32(content + checked)) {
        return 0;
    }
    frame->kind = content[0];
    frame->sequence = (uint16_t)(content[1] | (content[2] << 8));
    frame->body_bytes = (uint8_t)(checked - EK_FRAME_HEADER);
    memcpy(frame->body, content + EK_FRAME_HEADER, frame->body_bytes);
    return 1;
}

int32_t ek_frame_feed(ek_frame_reader *reader, uint8_t byte, ek_frame *frame) {
    if (byte != 0) {
        if (reader->count < EK_FRAME_MAX_ENCODED) {
            reader->pending[reader->count] = byte;
        }
        if (reader->count <= EK_FRAME_MAX_ENCODED) {
            ++reader->count;
        }
        return 0;
    }
    const size_t count = reader->count;
    reader->count = 0;
    return count <= EK_FRAME_MAX_ENCODED ? decode(reader->pending, count, frame) : 0;
}

size_t ek_frame_encode(const ek_frame *frame, uint8_t *wire) {
    uint8_t content[EK_FRAME_MAX_CONTENT];
    if (frame->body_bytes > EK_FRAME_MAX_BODY) {
        return 0;
    }
    const size_t checked = EK_FRAME_HEADER + frame->body_bytes;
    content[0] = frame->kind;
    content[1] = (uint8_t)frame->sequence;
    content[2] = (uint8_t)(frame->sequence >> 8);
    memcpy(content + EK_FRAME_HEADER, frame->body, frame->body_bytes);
    ek_put_u32(content + checked, ek_crc32(0, content, checked));
    size_t out = 0;
    wire[out++] = 0;
    size_t code = out++;
    /* The content is shorter than 254 bytes, so that no run reaches the length of 255. */
    for (size_t i = 0; i < checked + EK_FRAME_CRC; ++i) {
        if (content[i] == 0) {
            wire[code] = (uint8_t)(out - code);
            code = out++;
        } else {
            wire[out++] = content[i];
        }
    }
    wire[code] = (uint8_t)(out - code);
    wire[out++] = 0;
    return out;
}
