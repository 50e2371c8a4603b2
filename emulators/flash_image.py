"""A flash image: weight matrices as the pages that a chiplet holds, spare areas included.

All numbers are little-endian.

======  =====  =====================================================================
offset  bytes  what
======  =====  =====================================================================
0       4      ``EKN1``
4       4      version of the layout, 1
8       8      header bytes H: a multiple of 4096
16      8      length of the JSON description D
24      32     SHA-256 of description and table
56      D      JSON: geometry, blocks, correction, matrices with their number of pages
..      32*n   table: for each page of each matrix its number in the chiplet (uint64), first
               row, first column, rows, columns, streamed (uint32 each) and four zeros
H       ..     pages by number: data area, then spare area; a page that is not used is a hole
======  =====  =====================================================================

A page has its part of a matrix row by row, two int4 weights in a byte, the first in the low half,
and zeros up to the end. Its number counts planes in order of channel, chip, die and plane, then
blocks, then pages. What lies where is decided by
:mod:`edgekit.converters.partitioning.flash_placement`; what lies in the spare area by
:mod:`edgekit.emulators.on_die_ecc`.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from edgekit.converters.partitioning.flash_placement import (
    FlashMatrix,
    FlashPlacement,
    MatrixPages,
    place_tiles,
)
from edgekit.cost.nand import NandGeometry
from edgekit.emulators.on_die_ecc import Correction, correction_named
from edgekit.errors import EmulatorError, PackageDigestError, UsageError

MAGIC = b"EKN1"
VERSION = 1
ALIGNMENT_BYTES = 4096
PAGES_PER_BLOCK = 256
WEIGHT_BITS = (4, 8)
MOST = 1 << 31
"""No count in an image reaches it."""

_FIXED = struct.Struct("<4sIQQ32s")
_ENTRY = np.dtype(
    [
        ("number", "<u8"),
        *((name, "<u4") for name in ("row", "column", "rows", "columns", "streamed", "zero")),
    ]
)
_RANGES = {4: (-8, 7), 8: (-128, 127)}

Bytes = npt.NDArray[np.uint8]
Weights = npt.NDArray[np.int8]


class StoredMatrix(msgspec.Struct, frozen=True):
    """What the description says of one matrix."""

    name: str
    rows: int
    columns: int
    weight_bits: int
    pages: int


class ImageDescription(msgspec.Struct, frozen=True):
    """The JSON part of an image."""

    geometry: NandGeometry
    pages_per_block: int
    blocks_per_plane: int
    correction: str
    matrices: tuple[StoredMatrix, ...]


@dataclass(frozen=True, slots=True)
class StoredPage:
    """One page of a matrix.

    Parameters
    ----------
    number : int
        In the chiplet; :attr:`FlashImage.channel_of` and others take it apart.
    row, column : int
        First of the matrix in this page.
    rows, columns : int
        Of the matrix in this page.
    is_streamed : bool
        Sent to the processor, not computed in flash.
    """

    number: int
    row: int
    column: int
    rows: int
    columns: int
    is_streamed: bool


@dataclass(frozen=True, slots=True, eq=False)
class FlashImage:
    """An image on disk whose header has been checked.

    Parameters
    ----------
    path : Path
    description : ImageDescription
    pages : mapping of matrix name to pages
        In the order of their rounds.
    """

    path: Path
    description: ImageDescription
    pages: Mapping[str, tuple[StoredPage, ...]]
    _areas: npt.NDArray[np.uint8]

    @property
    def geometry(self) -> NandGeometry:
        """Of the chiplet that the image is for."""
        return self.description.geometry

    @property
    def correction(self) -> Correction | None:
        """What the spare areas are written for."""
        return correction_named(self.description.correction, self.geometry.page_bytes)

    def matrix(self, name: str) -> StoredMatrix:
        """Return what is known of a matrix.

        Raises
        ------
        UsageError
            If the image has none of that name.
        """
        for matrix in self.description.matrices:
            if matrix.name == name:
                return matrix
        known = ", ".join(matrix.name for matrix in self.description.matrices)
        raise UsageError(f"{self.path} has no matrix {name}; it has {known}")

    def channel_of(self, page: StoredPage) -> int:
        """Return the channel that a page lies behind."""
        return self.die_of(page) // self.geometry.dies_per_channel

    def die_of(self, page: StoredPage) -> int:
        """Return the die of a page, counted over the whole chiplet."""
        per_plane = self.description.blocks_per_plane * self.description.pages_per_block
        return page.number // per_plane // self.geometry.planes_per_die

    def read(self, page: StoredPage) -> Bytes:
        """Return data and spare area of a page, uint8 array of shape (bytes,)."""
        return np.array(self._areas[page.number])


def write_image(
    path: Path,
    matrices: Mapping[str, Weights],
    geometry: NandGeometry,
    *,
    weight_bits: Mapping[str, int] | None = None,
    correction: str = "none",
    pages_per_block: int = PAGES_PER_BLOCK,
    blocks_per_plane: int | None = None,
) -> FlashImage:
    """Lay matrices out, write the image and open it.

    The same arguments give the same bytes. The file appears under its name when it is complete.

    Parameters
    ----------
    path : Path
    matrices : mapping of name to int8 array, shape (outputs, inputs)
        int4 weights are int8 values of -8 .. 7.
    geometry : NandGeometry
    weight_bits : mapping of name to {4, 8}, optional
        8 where a name is missing.
    correction : {"none", "copies", "planes"}
        Of :mod:`edgekit.emulators.on_die_ecc`; pages of int8 only.
    pages_per_block : int
    blocks_per_plane : int, optional
        Without it as many as the matrices need.

    Raises
    ------
    UsageError
        If a matrix is no matrix of int8, a weight is out of range, a correction is not known or
        needs more than the spare area, or is asked for int4.
    MemoryBudgetError
        If a plane has not enough pages.
    """
    widths = {name: (weight_bits or {}).get(name, 8) for name in matrices}
    for name, weights in matrices.items():
        _check_matrix(name, weights, widths[name], correction)
    scheme = correction_named(correction, geometry.page_bytes)
    if scheme is not None and scheme.spare_bits > 8 * geometry.spare_bytes_per_page:
        raise UsageError(
            f"correction {correction} needs {scheme.spare_bits:,} bits, the spare area has "
            f"{8 * geometry.spare_bytes_per_page:,}"
        )
    asked = [
        FlashMatrix(name, weights.shape[0], weights.shape[1], widths[name])
        for name, weights in matrices.items()
    ]
    blocks = blocks_per_plane or _blocks_needed(asked, geometry, pages_per_block)
    placement = place_tiles(
        asked, geometry, pages_per_block=pages_per_block, blocks_per_plane=blocks
    )
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            start = _write_header(file, placement, correction)
            for placed in placement.matrices:
                weights = matrices[placed.matrix.name]
                _write_pages(file, start, placement, placed, weights, scheme)
            page_bytes = geometry.page_bytes + geometry.spare_bytes_per_page
            file.truncate(start + geometry.planes * blocks * pages_per_block * page_bytes)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return open_image(path)


def open_image(path: Path) -> FlashImage:
    """Open an image; pages are read when they are asked for.

    Raises
    ------
    EmulatorError
        If the file cannot be read, is no image, or is cut off.
    PackageDigestError
        If description or table were changed.
    """
    try:
        with path.open("rb") as file:
            return _read_header(path, file)
    except OSError as error:
        raise EmulatorError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, struct.error) as error:
        raise EmulatorError(f"{path} is no flash image: {error}") from error


def pack_weights(weights: Weights, weight_bits: int) -> Bytes:
    """Return the bytes of weights, uint8 array; int4: two in a byte, the first in the low half."""
    flat = np.ascontiguousarray(weights).reshape(-1).view(np.uint8)
    if weight_bits == 8:
        return flat
    padded = np.pad(flat & 15, (0, len(flat) % 2))
    return np.asarray(padded[::2] | padded[1::2] << 4, dtype=np.uint8)


def unpack_weights(data: Bytes, count: int, weight_bits: int) -> Weights:
    """Return the first weights of a page, int8 array of shape (count,)."""
    if weight_bits == 8:
        return data[:count].view(np.int8)
    halves = np.stack([data & 15, data >> 4], axis=1).reshape(-1)[:count]
    return ((halves ^ 8).astype(np.int8) - 8).astype(np.int8)


def _check_matrix(name: str, weights: Weights, weight_bits: int, correction: str) -> None:
    if weight_bits not in WEIGHT_BITS:
        raise UsageError(f"matrix {name}: images hold weights of 4 or 8 bits, not {weight_bits}")
    if weights.ndim != 2 or weights.dtype != np.int8 or weights.size == 0:
        raise UsageError(f"matrix {name}: int8 of two axes, not {weights.dtype} {weights.shape}")
    low, high = _RANGES[weight_bits]
    if not (low <= weights.min() and weights.max() <= high):
        raise UsageError(f"matrix {name}: weights of {weight_bits} bits are {low}..{high}")
    if weight_bits != 8 and correction != "none":
        raise UsageError(f"matrix {name}: correction {correction} is for weights of 8 bits")


def _blocks_needed(
    matrices: Sequence[FlashMatrix], geometry: NandGeometry, pages_per_block: int
) -> int:
    """Blocks of a plane that the fullest plane needs: its pages, counted in one large block."""
    page_bytes = geometry.page_bytes * 8 // max(WEIGHT_BITS)
    most = sum(m.rows * m.columns // page_bytes + m.rows + m.columns + 1 for m in matrices)
    counted = place_tiles(matrices, geometry, pages_per_block=most, blocks_per_plane=1)
    pages = max(int(placed.page.max()) for placed in counted.matrices) + 1
    return -(-pages // pages_per_block)


def _write_header(file: BinaryIO, placement: FlashPlacement, correction: str) -> int:
    """Write everything before the pages; return where they begin."""
    stored = tuple(
        StoredMatrix(
            placed.matrix.name,
            placed.matrix.rows,
            placed.matrix.columns,
            placed.matrix.weight_bits,
            placed.count,
        )
        for placed in placement.matrices
    )
    description = ImageDescription(
        geometry=placement.geometry,
        pages_per_block=placement.pages_per_block,
        blocks_per_plane=placement.blocks_per_plane,
        correction=correction,
        matrices=stored,
    )
    text = msgspec.json.encode(description)
    table = b"".join(_table(placement, placed).tobytes() for placed in placement.matrices)
    start = -(-(_FIXED.size + len(text) + len(table)) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    digest = hashlib.sha256(text + table).digest()
    file.write(_FIXED.pack(MAGIC, VERSION, start, len(text), digest) + text + table)
    return start


def _table(placement: FlashPlacement, placed: MatrixPages) -> npt.NDArray[np.void]:
    table = np.zeros(placed.count, dtype=_ENTRY)
    table["number"] = placement.page_numbers(placed)
    table["row"], table["column"] = placed.first_row, placed.first_column
    table["rows"], table["columns"] = placed.rows, placed.columns
    table["streamed"] = placed.streamed
    return table


def _write_pages(
    file: BinaryIO,
    start: int,
    placement: FlashPlacement,
    placed: MatrixPages,
    weights: Weights,
    scheme: Correction | None,
) -> None:
    geometry = placement.geometry
    size_bytes = geometry.page_bytes + geometry.spare_bytes_per_page
    numbers = placement.page_numbers(placed)
    for index in range(placed.count):
        row, column = int(placed.first_row[index]), int(placed.first_column[index])
        rows, columns = int(placed.rows[index]), int(placed.columns[index])
        part = weights[row : row + rows, column : column + columns]
        page = np.zeros(size_bytes, dtype=np.uint8)
        packed = pack_weights(part, placed.matrix.weight_bits)
        page[: len(packed)] = packed
        if scheme is not None:
            spare = scheme.encode(page[: geometry.page_bytes].view(np.int8))
            page[geometry.page_bytes :][: len(spare)] = spare
        file.seek(start + int(numbers[index]) * size_bytes)
        file.write(page.tobytes())


def _read_header(path: Path, file: BinaryIO) -> FlashImage:
    magic, version, start, text_bytes, digest = _FIXED.unpack(file.read(_FIXED.size))
    if magic != MAGIC or version != VERSION:
        raise EmulatorError(f"{path} is no flash image of version {VERSION}")
    size_bytes = os.fstat(file.fileno()).st_size
    if not _FIXED.size + text_bytes <= start <= size_bytes:
        raise EmulatorError(f"{path} is cut off or damaged: its header has {start:,} bytes")
    text = file.read(text_bytes)
    rest = file.read(start - _FIXED.size - text_bytes)
    description = msgspec.json.decode(text, type=ImageDescription)
    total = sum(max(0, matrix.pages) for matrix in description.matrices)
    table = rest[: total * _ENTRY.itemsize]
    if hashlib.sha256(text + table).digest() != digest:
        raise PackageDigestError(f"the header of {path}")
    _check_description(path, description)
    geometry = description.geometry
    page_bytes = geometry.page_bytes + geometry.spare_bytes_per_page
    pages = geometry.planes * description.blocks_per_plane * description.pages_per_block
    if size_bytes != start + pages * page_bytes:
        raise EmulatorError(
            f"{path} has {size_bytes:,} bytes, not {start + pages * page_bytes:,}: it is cut off"
        )
    areas = np.memmap(path, dtype=np.uint8, mode="r", offset=start, shape=(pages, page_bytes))
    entries = np.frombuffer(table, dtype=_ENTRY)
    _check_entries(path, description, entries, pages)
    return FlashImage(path, description, _pages_by_matrix(description, entries), areas)


def _check_description(path: Path, description: ImageDescription) -> None:
    """Refuse numbers that no image was written with: C is handed them."""
    geometry = description.geometry
    counts = [geometry.channels, geometry.chips_per_channel, geometry.dies_per_chip]
    counts += [geometry.planes_per_die, geometry.cores_per_die, geometry.page_bytes]
    counts += [description.pages_per_block, description.blocks_per_plane]
    for matrix in description.matrices:
        counts += [matrix.rows, matrix.columns]
        if matrix.weight_bits not in WEIGHT_BITS:
            raise EmulatorError(f"{path} is damaged: weights of {matrix.weight_bits} bits")
        if not 0 <= matrix.pages < MOST:
            raise EmulatorError(f"{path} is damaged: a matrix of {matrix.pages} pages")
    if geometry.spare_bytes_per_page < 0 or not all(0 < count < MOST for count in counts):
        raise EmulatorError(f"{path} is damaged: a size in its description is impossible")


def _check_entries(
    path: Path, description: ImageDescription, entries: npt.NDArray[np.void], pages: int
) -> None:
    """Refuse pages outside the chiplet, outside their matrix, or with more than they hold."""
    repeats = [matrix.pages for matrix in description.matrices]
    rows, columns, room = (
        np.repeat(np.array(numbers, dtype=np.int64), repeats)
        for numbers in (
            [matrix.rows for matrix in description.matrices],
            [matrix.columns for matrix in description.matrices],
            [description.geometry.page_weights(m.weight_bits) for m in description.matrices],
        )
    )
    part = {name: entries[name].astype(np.int64) for name in ("row", "column", "rows", "columns")}
    inside = (
        (entries["number"] < pages)
        & (part["row"] + part["rows"] <= rows)
        & (part["column"] + part["columns"] <= columns)
        & (part["rows"] * part["columns"] <= room)
    )
    if not inside.all():
        raise EmulatorError(f"{path} is damaged: page {int(np.argmin(inside))} of its table")


def _pages_by_matrix(
    description: ImageDescription, entries: npt.NDArray[np.void]
) -> dict[str, tuple[StoredPage, ...]]:
    found: dict[str, tuple[StoredPage, ...]] = {}
    first = 0
    for matrix in description.matrices:
        rows = entries[first : first + matrix.pages].tolist()
        found[matrix.name] = tuple(
            StoredPage(number, row, column, height, width, bool(streamed))
            for number, row, column, height, width, streamed, _ in rows
        )
        first += matrix.pages
    return found
