"""Reads ``tokenizer.model``: the protocol buffer that SentencePiece writes.

Only what a vocabulary needs. Format: sentencepiece_model.proto in
https://github.com/google/sentencepiece (``ModelProto``: pieces are field 1, the trainer's settings
2, the normalizer's 3).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import ModelFormatError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BPE = 2
_MOST_BYTES = 64 << 20

Field = tuple[int, int | bytes]


@dataclass(frozen=True, slots=True)
class Piece:
    """One token; ``kind`` has the numbers of GGUF's token types."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True, slots=True)
class SentencePieceFile:
    """A vocabulary of the BPE kind."""

    pieces: tuple[Piece, ...]
    add_space_prefix: bool
    remove_extra_spaces: bool


def read_sentencepiece(path: Path) -> SentencePieceFile:
    """Read a vocabulary.

    Raises
    ------
    ModelFormatError
        If the file is damaged or of another kind than BPE (unigram models choose tokens by
        another rule than GGUF's ``llama`` vocabulary does).
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelFormatError("is too large for a vocabulary", path=str(path))
        return _model(path.read_bytes(), path)
    except OSError as error:
        raise ModelFormatError(f"cannot be read ({error.strerror})", path=str(path)) from error
    except (IndexError, ValueError, struct.error) as error:
        raise ModelFormatError("is no SentencePiece model", path=str(path)) from error


def _model(data: bytes, path: Path) -> SentencePieceFile:
    pieces: list[Piece] = []
    # Defaults of the proto: a unigram model, a space before every text, spaces collapsed.
    kind, prefix, collapse = 1, True, True
    for number, value in _fields(data):
        if number == 1:
            pieces.append(_piece(_message(value)))
        elif number == 2:
            kind = _number(_message(value), 3, kind)
        elif number == 3:
            for inner, flag in _fields(_message(value)):
                prefix = bool(flag) if inner == 3 else prefix
                collapse = bool(flag) if inner == 4 else collapse
    if not pieces:
        raise ValueError("no pieces")
    if kind != _BPE:
        raise ModelFormatError(
            "is a SentencePiece model of the unigram kind; vocabularies of the BPE kind are read",
            path=str(path),
        )
    return SentencePieceFile(tuple(pieces), prefix, collapse)


def _piece(data: bytes) -> Piece:
    text, score, kind = "", 0.0, 1
    for number, value in _fields(data):
        if number == 1:
            text = _message(value).decode("utf-8")
        elif number == 2:
            score = struct.unpack("<f", _message(value))[0]
        elif number == 3 and isinstance(value, int):
            kind = value
    return Piece(text, score, kind)


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value


def _fields(data: bytes) -> Iterator[Field]:
    """Yield number and value of each field: an int for varints, bytes for everything else."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        if size > len(data) - at:
            raise ValueError("ends in the middle of a field")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _number(data: bytes, field: int, default: int) -> int:
    """Return a number field of a message."""
    found = [value for number, value in _fields(data) if number == field]
    return found[-1] if found and isinstance(found[-1], int) else default
