/* Frames on a serial line: COBS between zero bytes, sequence number, CRC-32.
 *
 *     00  COBS( kind | sequence, 2 bytes | body, 0 to 240 bytes | CRC-32, 4 bytes )  00
 *
 * Little-endian. The same as edgekit/deploy/serial/framing.py; described in
 * docs/serial-protocol.md. No allocation, no global state.
 */
#ifndef EDGEKIT_MONITOR_FRAME_H
#define EDGEKIT_MONITOR_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define EK_FRAME_MAX_BODY 240u
#define EK_FRAME_HEADER 3u
#define EK_FRAME_CRC 4u
#define EK_FRAME_MAX_CONTENT (EK_FRAME_HEADER + EK_FRAME_MAX_BODY + EK_FRAME_CRC)
#define EK_FRAME_MAX_ENCODED (EK_FRAME_MAX_CONTENT + 1u)
#define EK_FRAME_MAX_WIRE (EK_FRAME_MAX_ENCODED + 2u)

typedef struct ek_frame {
    uint8_t kind;
    uint16_t sequence;
    uint8_t body_bytes;
    uint8_t body[EK_FRAME_MAX_BODY];
} ek_frame;

/* All zeros at start. */
typedef struct ek_frame_reader {
    uint16_t count; /* above EK_FRAME_MAX_ENCODED: too long, waits for the next zero */
    uint8_t pending[EK_FRAME_MAX_ENCODED];
} ek_frame_reader;

/* CRC-32 of zlib and Ethernet; `crc` is 0 or what an earlier part gave. */
uint32_t ek_crc32(uint32_t crc, const void *data, size_t bytes);

/* Take a byte. Returns 1 and fills `frame` when it ends an undamaged frame, else 0. */
int32_t ek_frame_feed(ek_frame_reader *reader, uint8_t byte, ek_frame *frame);

/* Write the frame for the line, delimiters included. `wire` holds EK_FRAME_MAX_WIRE bytes.
 * Returns how many were written; 0 where the body is too long. */
size_t ek_frame_encode(const ek_frame *frame, uint8_t *wire);

/* Little-endian numbers, at any alignment. */
uint32_t ek_get_u32(const uint8_t *from);
void ek_put_u32(uint8_t *to, uint32_t value);

#endif
