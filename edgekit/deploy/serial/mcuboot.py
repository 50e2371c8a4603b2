"""Images as the bootloader MCUboot takes them: header, program, SHA-256.

::

    0            header: magic, load address, header bytes, protected bytes, program bytes, flags,
                 version; zeros up to ``HEADER_BYTES``, so that a vector table may follow
    512          the program
    512 + n      TLV area: magic, bytes; type 0x10: SHA-256 of header and program

Source: MCUboot documentation, "Bootloader", sections "Image format" and "Integrity check". Images
are not signed: a bootloader that asks for a signature takes them after ``imgtool sign``.
"""

from __future__ import annotations

import hashlib
import struct

from edgekit.errors import FlashError

MAGIC = 0x96F3B83D
HEADER_BYTES = 512
TLV_MAGIC = 0x6907
TLV_SHA256 = 0x10

_HEADER = struct.Struct("<IIHHIIBBHII")
_PAIR = struct.Struct("<HH")


def wrap(program: bytes) -> bytes:
    """Return a program, linked to ``HEADER_BYTES`` behind the begin of its slot, as an image."""
    header = _HEADER.pack(MAGIC, 0, HEADER_BYTES, 0, len(program), 0, 0, 0, 0, 0, 0)
    body = header.ljust(HEADER_BYTES, b"\0") + program
    digest = hashlib.sha256(body).digest()
    entry = _PAIR.pack(TLV_SHA256, len(digest)) + digest
    return body + _PAIR.pack(TLV_MAGIC, _PAIR.size + len(entry)) + entry


def is_image(data: bytes) -> bool:
    """Whether data begins with a header."""
    return len(data) >= _HEADER.size and data[:4] == struct.pack("<I", MAGIC)


def recorded_digest(data: bytes) -> bytes:
    """Return the SHA-256 that an image carries, by which a bootloader names it.

    Raises
    ------
    FlashError
        If there is none.
    """
    if is_image(data):
        _, _, header_bytes, protected_bytes, program_bytes, *_ = _HEADER.unpack_from(data)
        at = header_bytes + program_bytes + protected_bytes
        if _pair(data, at)[0] == TLV_MAGIC:
            end = at + _pair(data, at)[1]
            at += _PAIR.size
            while at + _PAIR.size <= min(end, len(data)):
                kind, size_bytes = _pair(data, at)
                content = data[at + _PAIR.size : at + _PAIR.size + size_bytes]
                if kind == TLV_SHA256 and len(content) == 32:
                    return content
                at += _PAIR.size + size_bytes
    raise FlashError("no image of MCUboot with a digest")


def is_intact(data: bytes) -> bool:
    """Whether header and program have the digest that the image carries."""
    try:
        digest = recorded_digest(data)
    except FlashError:
        return False
    _, _, header_bytes, protected_bytes, program_bytes, *_ = _HEADER.unpack_from(data)
    covered = data[: header_bytes + program_bytes + protected_bytes]
    return hashlib.sha256(covered).digest() == digest


def program_offset(data: bytes) -> int:
    """Return where in an image its program begins."""
    return int(_HEADER.unpack_from(data)[2])


def _pair(data: bytes, at: int) -> tuple[int, int]:
    if at + _PAIR.size > len(data):
        return 0, 0
    first, second = _PAIR.unpack_from(data, at)
    return int(first), int(second)
