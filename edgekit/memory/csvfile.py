"""Buffers in CSV: ``id,lower,upper,size`` and, where a plan is known, ``offset``.

The columns and the half-open lifetime are those of the MiniMalloc benchmark files; columns may
come in any order, further ones are ignored.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.errors import UsageError
from edgekit.memory.problem import MAX_BYTES, Buffer

COLUMNS = ("id", "lower", "upper", "size")
MAX_FILE_BYTES = 64 << 20
MAX_BUFFERS = 1_000_000


def read_buffers(path: Path) -> list[Buffer]:
    """Read buffers.

    Parameters
    ----------
    path : Path
        CSV file with at least the columns ``id``, ``lower``, ``upper`` and ``size``; an optional
        column ``alignment``.

    Returns
    -------
    list of Buffer
        In the order of the file, at least one.

    Raises
    ------
    UsageError
        Naming file, line and column, if the file cannot be read, is empty, or holds a number that
        is not an integer or out of range, an empty lifetime, or an id twice.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path}: larger than {MAX_FILE_BYTES:,} bytes, which no plan needs")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as text: {error}") from error
    try:
        rows = list(csv.reader(text.splitlines(), strict=True))
    except csv.Error as error:
        raise UsageError(f"{path}: not a CSV file: {error}") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise UsageError(
            f"{path}: line 1 must name the columns {', '.join(COLUMNS)}; missing: "
            f"{', '.join(missing)}"
        )
    lines = [(number, row) for number, row in enumerate(rows[1:], start=2) if any(row)]
    if not 1 <= len(lines) <= MAX_BUFFERS:
        raise UsageError(f"{path}: {len(lines):,} buffers, between 1 and {MAX_BUFFERS:,} expected")
    buffers = [_buffer(f"{path}: line {number}", header, row) for number, row in lines]
    _refuse_duplicates(path, buffers)
    return buffers


def write_offsets(path: Path, buffers: Sequence[Buffer], offsets: Mapping[str, int]) -> None:
    """Write buffers with their offsets, whole or not at all.

    Parameters
    ----------
    path : Path
        Written under a temporary name beside it, then renamed.
    buffers : sequence of Buffer
    offsets : mapping of str to int
        Offset of each buffer by id, bytes.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*COLUMNS, "offset"])
            for b in buffers:
                writer.writerow([b.id, b.first_step, b.end_step, b.size_bytes, offsets[b.id]])
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written: {error}") from error


def _buffer(where: str, header: Sequence[str], row: Sequence[str]) -> Buffer:
    if len(row) != len(header):
        raise UsageError(f"{where}: {len(row)} fields, {len(header)} expected")
    fields = dict(zip(header, (field.strip() for field in row), strict=True))
    if not fields["id"]:
        raise UsageError(f"{where}: the id is empty")
    size_bytes = _integer(where, "size", fields["size"])
    if size_bytes == 0:
        raise UsageError(f"{where}: size is 0, at least 1 expected")
    try:
        return Buffer(
            id=fields["id"],
            first_step=_integer(where, "lower", fields["lower"]),
            end_step=_integer(where, "upper", fields["upper"]),
            size_bytes=size_bytes,
            alignment_bytes=_integer(where, "alignment", fields.get("alignment", "1")),
        )
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error


def _integer(where: str, column: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_BYTES)):
        shown = text if len(text) <= 24 else text[:24] + "..."
        raise UsageError(
            f"{where}: {column} is {shown!r}, an integer from 0 to {MAX_BYTES} expected"
        )
    return int(text)


def _refuse_duplicates(path: Path, buffers: Sequence[Buffer]) -> None:
    seen: set[str] = set()
    for buffer in buffers:
        if buffer.id in seen:
            raise UsageError(f"{path}: the id {buffer.id} is given to more than one buffer")
        seen.add(buffer.id)
