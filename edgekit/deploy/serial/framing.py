"""Frames on a serial line: COBS between zero bytes, a sequence number, CRC-32.

::

    00  COBS( kind | sequence, 2 bytes | body, 0 to 240 bytes | CRC-32, 4 bytes )  00

Integers are little-endian. COBS (Cheshire and Baker, "Consistent Overhead Byte Stuffing", 1999)
leaves no zero byte in a frame, so that a receiver is back in step at the next zero, whatever came
before. What is not a frame with the right CRC is dropped without a word.

``csrc/monitor/frame.c`` is the same in C.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_BODY_BYTES = 240
HEADER_BYTES = 3
CRC_BYTES = 4
MAX_ENCODED_BYTES = HEADER_BYTES + MAX_BODY_BYTES + CRC_BYTES + 1


@dataclass(frozen=True, slots=True)
class Frame:
    """One message.

    Parameters
    ----------
    kind : int
        0 to 255.
    sequence : int
        0 to 65535.
    body : bytes
        At most ``MAX_BODY_BYTES``.
    """

    kind: int
    sequence: int
    body: bytes = b""

    def __post_init__(self) -> None:
        if len(self.body) > MAX_BODY_BYTES:
            raise ValueError(f"a frame carries {MAX_BODY_BYTES} bytes, not {len(self.body)}")

    def encode(self) -> bytes:
        """Return the bytes for the line, delimited on both sides."""
        content = struct.pack("<BH", self.kind, self.sequence) + self.body
        return b"\0" + cobs_encode(content + struct.pack("<I", zlib.crc32(content))) + b"\0"


def decode_frame(data: bytes) -> Frame | None:
    """Return the frame in what stood between two zero bytes, or None where it is damaged."""
    content = cobs_decode(data)
    if content is None or len(content) < HEADER_BYTES + CRC_BYTES:
        return None
    content, checksum = content[:-CRC_BYTES], content[-CRC_BYTES:]
    if len(content) > HEADER_BYTES + MAX_BODY_BYTES:
        return None
    if struct.pack("<I", zlib.crc32(content)) != checksum:
        return None
    kind, sequence = struct.unpack_from("<BH", content)
    return Frame(kind, sequence, content[HEADER_BYTES:])


@dataclass(slots=True)
class FrameReader:
    """Finds frames in a stream of bytes, and the way back into step after noise."""

    _pending: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take bytes as they come; yield each frame that is complete and undamaged."""
        for byte in data:
            if byte:
                if len(self._pending) <= MAX_ENCODED_BYTES:
                    self._pending.append(byte)
                continue
            frame = decode_frame(bytes(self._pending))
            self._pending.clear()
            if frame is not None:
                yield frame


def cobs_encode(data: bytes) -> bytes:
    """Return data without zero bytes, at most one byte in 254 longer (and one)."""
    result = bytearray()
    for position, run in enumerate(runs := data.split(b"\0")):
        is_last = position == len(runs) - 1
        while len(run) >= 254:
            result += b"\xff" + run[:254]
            run = run[254:]
            if is_last and not run:
                return bytes(result)
        result += bytes([len(run) + 1]) + run
    return bytes(result)


def cobs_decode(data: bytes) -> bytes | None:
    """Return what was encoded, or None where ``data`` cannot be the result of encoding."""
    result = bytearray()
    position = 0
    while position < len(data):
        length = data[position]
        run = data[position + 1 : position + length]
        if length == 0 or len(run) != length - 1 or 0 in run:
            return None
        result += run
        position += length
        if length < 255 and position < len(data):
            result.append(0)
    return bytes(result)
