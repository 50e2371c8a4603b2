"""``blobs/*.ekb``: byte layouts of our own, with a header that says what is in them.

All numbers are little-endian and unsigned.

======  =====  ====================================================================
offset  bytes  what
======  =====  ====================================================================
0       4      ``EKB1``
4       4      version of the layout, 1
8       8      header bytes H: a multiple of 4096
16      8      payload bytes P
24      8      length of the JSON description
32      ..     JSON description, then zeros up to the first multiple of 32
..      32*n   SHA-256 of each MiB of the payload, n = ceil(P / 2**20), then zeros up to H
H       P      payload
======  =====  ====================================================================

The payload begins at a multiple of 4096, so that it can be mapped or read without the page cache.
Sections in the payload are named in the description; each begins at a multiple of 4096 as well.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgekit.errors import PackageDigestError, PackageError

MAGIC = b"EKB1"
VERSION = 1
ALIGNMENT_BYTES = 4096
CHUNK_BYTES = 1 << 20

_FIXED = struct.Struct("<4sIQQQ")
_DIGEST_BYTES = 32
_LARGEST_HEADER_BYTES = 1 << 28


class Section(msgspec.Struct, frozen=True):
    """A named range of the payload; ``offset_bytes`` counts from the start of the payload."""

    name: str
    offset_bytes: int
    size_bytes: int


class Description(msgspec.Struct, frozen=True):
    """What a blob holds: a layout name, its sections, and whatever the layout wants to say."""

    layout: str
    sections: tuple[Section, ...]
    facts: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob on disk whose header has been checked; the payload is checked by :meth:`verify`."""

    path: Path
    description: Description
    payload_offset_bytes: int
    payload_bytes: int
    chunks_sha256: tuple[bytes, ...]

    def read(self, name: str) -> bytes:
        """Return the bytes of one section (PackageError where there is none of that name)."""
        for section in self.description.sections:
            if section.name == name:
                with self.path.open("rb") as file:
                    file.seek(self.payload_offset_bytes + section.offset_bytes)
                    return file.read(section.size_bytes)
        raise PackageError(f"{self.path} has no section {name}")

    def verify(self) -> None:
        """Compare every MiB with its digest (PackageDigestError names the first that differs)."""
        with self.path.open("rb") as file:
            file.seek(self.payload_offset_bytes)
            for index, digest in enumerate(self.chunks_sha256):
                chunk = file.read(min(CHUNK_BYTES, self.payload_bytes - index * CHUNK_BYTES))
                if hashlib.sha256(chunk).digest() != digest:
                    raise PackageDigestError(f"{self.path} (chunk {index} of 1 MiB)")


def blob_bytes(
    layout: str, sections: Mapping[str, bytes], facts: Mapping[str, Any] | None = None
) -> bytes:
    """Return a blob, the same bytes for the same content.

    Parameters
    ----------
    layout : str
        Name of the layout, for readers.
    sections : mapping of name to bytes
        Written in this order.
    facts : mapping, optional
        Plain JSON values for the description.
    """
    payload = bytearray()
    placed: list[Section] = []
    for name, data in sections.items():
        payload.extend(bytes(-len(payload) % ALIGNMENT_BYTES))
        placed.append(Section(name, len(payload), len(data)))
        payload.extend(data)
    description = Description(layout, tuple(placed), dict(sorted((facts or {}).items())))
    text = msgspec.json.encode(description)
    digests = b"".join(
        hashlib.sha256(payload[start : start + CHUNK_BYTES]).digest()
        for start in range(0, len(payload), CHUNK_BYTES)
    )
    table_offset = _digests_offset(len(text))
    header_bytes = _round_up(table_offset + len(digests), ALIGNMENT_BYTES)
    fixed = _FIXED.pack(MAGIC, VERSION, header_bytes, len(payload), len(text))
    header = (fixed + text).ljust(table_offset, b"\0") + digests
    return header.ljust(header_bytes, b"\0") + bytes(payload)


def open_blob(path: Path) -> Blob:
    """Read and check the header of a blob.

    Raises
    ------
    PackageError
        If the file is no blob, or its header contradicts its size.
    """
    try:
        with path.open("rb") as file:
            fixed = file.read(_FIXED.size)
            if len(fixed) < _FIXED.size:
                raise PackageError(f"{path} is too short for a blob")
            magic, version, header_bytes, payload_bytes, text_bytes = _FIXED.unpack(fixed)
            if magic != MAGIC or version != VERSION:
                raise PackageError(f"{path} is no blob of version {VERSION}")
            chunks = -(-payload_bytes // CHUNK_BYTES)
            table_offset = _digests_offset(text_bytes)
            needed_bytes = _round_up(table_offset + chunks * _DIGEST_BYTES, ALIGNMENT_BYTES)
            whole_bytes = path.stat().st_size
            if header_bytes != needed_bytes or header_bytes + payload_bytes != whole_bytes:
                raise PackageError(f"{path}: header and file size contradict each other")
            if header_bytes > _LARGEST_HEADER_BYTES:
                raise PackageError(f"{path}: a header of {header_bytes:,} bytes is too large")
            text = file.read(text_bytes)
            file.seek(table_offset)
            table = file.read(chunks * _DIGEST_BYTES)
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror}") from error
    description = _description(path, text, payload_bytes)
    digests = tuple(table[i : i + _DIGEST_BYTES] for i in range(0, len(table), _DIGEST_BYTES))
    return Blob(path, description, header_bytes, payload_bytes, digests)


def _description(path: Path, text: bytes, payload_bytes: int) -> Description:
    try:
        description = msgspec.json.decode(text, type=Description)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise PackageError(f"{path}: {error}") from error
    for section in description.sections:
        inside = 0 <= section.offset_bytes <= section.offset_bytes + section.size_bytes
        if not inside or section.offset_bytes + section.size_bytes > payload_bytes:
            raise PackageError(f"{path}: section {section.name} lies outside the payload")
        if section.offset_bytes % ALIGNMENT_BYTES:
            raise PackageError(f"{path}: section {section.name} is not aligned")
    return description


def _digests_offset(text_bytes: int) -> int:
    return _round_up(_FIXED.size + text_bytes, _DIGEST_BYTES)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
