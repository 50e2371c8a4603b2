"""Sizes and symbols of a 32-bit little-endian ELF image (System V ABI, "Object Files").

Reading them here keeps the figures exact and independent of which compiler's tools are installed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import PackageError

_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
_SECTION = struct.Struct("<10I")
_SEGMENT = struct.Struct("<8I")
_SYMBOL = struct.Struct("<IIIBBH")
_SYMBOL_TABLE = 2
_LOAD = 1


@dataclass(frozen=True, slots=True)
class Section:
    """One section: name, type, address, place in the file, size in bytes, link to another."""

    name: str
    kind: int
    address: int
    offset: int
    size_bytes: int
    link: int


@dataclass(frozen=True, slots=True)
class ElfFile:
    """An image in memory."""

    data: bytes
    sections: tuple[Section, ...]

    @classmethod
    def read(cls, path: Path) -> ElfFile:
        """Read an image.

        Raises
        ------
        PackageError
            If the file is no 32-bit little-endian ELF.
        """
        data = path.read_bytes()
        if data[:6] != b"\x7fELF\x01\x01":
            raise PackageError(f"{path} is no 32-bit little-endian ELF image")
        header = _HEADER.unpack_from(data)
        start, count, names = header[6], header[12], header[13]
        raw = [_SECTION.unpack_from(data, start + i * _SECTION.size) for i in range(count)]
        table = raw[names][4]
        sections = tuple(
            Section(_text(data, table + s[0]), s[1], s[3], s[4], s[5], s[6]) for s in raw
        )
        return cls(data, sections)

    def size_bytes(self, *names: str) -> int:
        """Return the bytes of sections together; absent ones count nothing."""
        return sum(section.size_bytes for section in self.sections if section.name in names)

    def symbols(self) -> dict[str, tuple[int, int]]:
        """Return address and size of every named symbol."""
        found: dict[str, tuple[int, int]] = {}
        for section in self.sections:
            if section.kind != _SYMBOL_TABLE:
                continue
            names = self.sections[section.link].offset
            for at in range(section.offset, section.offset + section.size_bytes, _SYMBOL.size):
                name, value, size, *_ = _SYMBOL.unpack_from(self.data, at)
                text = _text(self.data, names + name)
                if text:
                    found[text] = (value, size)
        return found

    def map_text(self) -> str:
        """Return a table of what lies where: sections, then symbols, by address."""
        lines = ["section          address     bytes"]
        lines += [
            f"{section.name:<16} 0x{section.address:08x}  {section.size_bytes}"
            for section in sorted(self.sections, key=lambda item: item.address)
            if section.name.startswith(".") and section.address and section.size_bytes
        ]
        lines += ["", "address     bytes     symbol"]
        lines += [
            f"0x{value:08x}  {size:<8}  {name}"
            for name, (value, size) in sorted(self.symbols().items(), key=lambda item: item[1])
            if size
        ]
        return "\n".join(lines) + "\n"

    def binary(self) -> tuple[int, bytes]:
        """Return what is written to flash: first address, and the bytes from there on.

        Gaps between segments are filled with 0xFF, the state of erased flash.
        """
        header = _HEADER.unpack_from(self.data)
        start, count = header[5], header[11]
        pieces: list[tuple[int, bytes]] = []
        for index in range(count):
            kind, offset, _, address, size, *_ = _SEGMENT.unpack_from(
                self.data, start + index * _SEGMENT.size
            )
            if kind == _LOAD and size:
                pieces.append((address, self.data[offset : offset + size]))
        first = min(address for address, _ in pieces)
        image = bytearray()
        for address, content in sorted(pieces):
            image += b"\xff" * (address - first - len(image)) + content
        return first, bytes(image)


def _text(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode("ascii", "replace")
