"""The header of a GGUF file: key-value metadata and what tensors there are. No weight is read.

The file is untrusted: every count and length is compared with the bytes that are left before
anything is made of it. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions
2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import ModelFormatError, UsageError

MAGIC: Final = b"GGUF"
MOST_KEYS: Final = 1 << 16
MOST_TENSORS: Final = 1 << 17
MOST_AXES: Final = 4
LONGEST_NAME: Final = 256

Value = int | float | bool | str | list[str] | Array

_SCALARS: Mapping[int, struct.Struct] = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_ARRAYS: Mapping[int, str] = dict(
    zip(
        _SCALARS,
        ("<u1", "<i1", "<u2", "<i2", "<u4", "<i4", "<f4", "<u1", "<u8", "<i8", "<f8"),
        strict=True,
    )
)
_STRING, _ARRAY = 8, 9
_U32, _U64 = _SCALARS[4], _SCALARS[10]

TENSOR_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    20: ("IQ4_NL", 32, 18),
    23: ("IQ4_XS", 256, 136),
    30: ("BF16", 1, 2),
}
"""Name, elements and bytes of a block, by the number in the file."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of the file.

    Parameters
    ----------
    name : str
    shape : tuple of int
        As NumPy has it: rows first (the file has the reverse order).
    type_name : str
        For instance ``Q4_0``; ``type 99`` for one that is not known.
    size_bytes : int
        0 where the type is not known.
    """

    name: str
    shape: tuple[int, ...]
    type_name: str
    size_bytes: int

    @property
    def elements(self) -> int:
        """Number of weights."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What stands before the weights.

    Parameters
    ----------
    path : Path
    size_bytes : int
        Of the whole file.
    metadata : mapping of str to value
        Strings, numbers, lists of strings, arrays of numbers.
    tensors : tuple of TensorInfo
    """

    path: Path
    size_bytes: int
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]

    @property
    def architecture(self) -> str:
        """``general.architecture``; empty where the file does not say."""
        return self.text("general.architecture")

    @property
    def parameters(self) -> int:
        """Number of weights of all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def weights_bytes(self) -> int:
        """Bytes of all tensors whose type is known."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def tensor_types(self) -> dict[str, int]:
        """How many tensors there are of each type."""
        return dict(sorted(Counter(tensor.type_name for tensor in self.tensors).items()))

    def text(self, key: str, default: str = "") -> str:
        """Return a string (ModelFormatError where it is no string)."""
        value = self.metadata.get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        return value

    def integer(self, key: str, default: int) -> int:
        """Return a whole number (ModelFormatError where it is none)."""
        value = self.metadata.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, "a whole number")
        return value

    def truth(self, key: str, default: bool) -> bool:
        """Return a truth value (ModelFormatError where it is none)."""
        value = self.metadata.get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def strings(self, key: str) -> list[str]:
        """Return a list of strings; empty where the key is missing."""
        value = self.metadata.get(key, [])
        if not isinstance(value, list):
            raise self._wrong(key, "a list of strings")
        return value

    def numbers(self, key: str) -> Array | None:
        """Return an array of numbers, None where the key is missing."""
        value = self.metadata.get(key)
        if value is None:
            return None
        if not isinstance(value, np.ndarray):
            raise self._wrong(key, "an array of numbers")
        return value

    def _wrong(self, key: str, expected: str) -> ModelFormatError:
        return ModelFormatError(f"metadata {key} is not {expected}", path=str(self.path))


def read_header(path: Path) -> GgufHeader:
    """Read metadata and the list of tensors.

    Parameters
    ----------
    path : Path

    Raises
    ------
    UsageError
        If there is no such file, or it cannot be opened.
    ModelFormatError
        If it is no GGUF file of a known version, or is damaged: the place is named.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(path, data).header()
    except ValueError as error:  # mmap refuses an empty file
        raise ModelFormatError("is empty, not a GGUF file", path=str(path)) from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error


class _Reader:
    """A place in the file, which only moves forward and never past the end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.size_bytes = len(data)
        self.at = 0

    def header(self) -> GgufHeader:
        if self.take(4) != MAGIC:
            raise self.damage("does not begin with GGUF")
        version = self.number(_U32)
        if version not in (2, 3):
            hint = " (big-endian files are not read)" if version & 0xFFFF == 0 else ""
            raise self.damage(f"is GGUF version {version}; versions 2 and 3 are read{hint}")
        tensor_count, key_count = self.number(_U64), self.number(_U64)
        # A key takes 13 bytes at least (length, type, value), a tensor 32.
        self.check_count(key_count, 13, MOST_KEYS, "keys")
        self.check_count(tensor_count, 32, MOST_TENSORS, "tensors")
        metadata: dict[str, Value] = {}
        for _ in range(key_count):
            key = self.string("a key")
            if len(key) > LONGEST_NAME:
                raise self.damage(f"a key is {len(key)} characters long")
            if key in metadata:
                raise self.damage(f"metadata {key} stands there twice")
            metadata[key] = self.value(key)
        tensors = tuple(self.tensor() for _ in range(tensor_count))
        return GgufHeader(self.path, self.size_bytes, metadata, tensors)

    def value(self, key: str) -> Value:
        kind = self.number(_U32)
        if kind == _STRING:
            return self.string(key)
        if kind == _ARRAY:
            return self.array(key)
        scalar = _SCALARS.get(kind)
        if scalar is None:
            raise self.damage(f"metadata {key} has the unknown type {kind}")
        value: int | float | bool = scalar.unpack(self.take(scalar.size))[0]
        return value

    def array(self, key: str) -> list[str] | Array:
        kind, count = self.number(_U32), self.number(_U64)
        if kind == _STRING:
            self.check_count(count, 8, self.size_bytes, f"strings of {key}")
            return self.strings(key, count)
        if kind not in _ARRAYS:
            raise self.damage(f"metadata {key} is an array of the unknown type {kind}")
        dtype = np.dtype(_ARRAYS[kind])
        self.check_count(count, dtype.itemsize, self.size_bytes, f"numbers of {key}")
        found: Array = np.frombuffer(self.take(count * dtype.itemsize), dtype)
        return found

    def strings(self, key: str, count: int) -> list[str]:
        # A vocabulary has hundreds of thousands: no call for each. Some of its pieces may be no
        # UTF-8 by themselves.
        data, size_bytes, at, unpack = self.data, self.size_bytes, self.at, _U64.unpack_from
        found: list[str] = []
        for _ in range(count):
            if size_bytes - at < 8:
                raise self.damage(f"ends in the middle of {key}")
            length = unpack(data, at)[0]
            at += 8
            if length > size_bytes - at:
                raise self.damage(f"{key} has a string of {length:,} bytes, more than is left")
            found.append(data[at : at + length].decode("utf-8", "surrogateescape"))
            at += length
        self.at = at
        return found

    def tensor(self) -> TensorInfo:
        name = self.string("a tensor's name")
        if len(name) > LONGEST_NAME:
            raise self.damage(f"a tensor's name is {len(name)} characters long")
        axes = self.number(_U32)
        if not 1 <= axes <= MOST_AXES:
            raise self.damage(f"tensor {name} has {axes} axes")
        shape = tuple(self.number(_U64) for _ in range(axes))[::-1]
        kind, _ = self.number(_U32), self.number(_U64)
        if any(not 0 < size < 1 << 40 for size in shape):
            raise self.damage(f"tensor {name} cannot have the shape {list(shape)}")
        type_name, block, block_bytes = TENSOR_TYPES.get(kind, (f"type {kind}", 1, 0))
        info = TensorInfo(name, shape, type_name, 0)
        if shape[-1] % block:
            raise self.damage(f"tensor {name}: {type_name} rows are multiples of {block}")
        size_bytes = info.elements // block * block_bytes
        if size_bytes > self.size_bytes:
            raise self.damage(f"tensor {name} has {size_bytes:,} bytes, more than the file")
        return TensorInfo(name, shape, type_name, size_bytes)

    def string(self, what: str) -> str:
        length = self.number(_U64)
        if length > self.size_bytes - self.at:
            raise self.damage(f"{what} is {length:,} bytes long, more than is left of the file")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise self.damage(f"{what} is no UTF-8 text") from error

    def number(self, kind: struct.Struct) -> int:
        value: int = kind.unpack(self.take(kind.size))[0]
        return value

    def take(self, count: int) -> bytes:
        if count > self.size_bytes - self.at:
            raise self.damage("ends in the middle of the header")
        self.at += count
        return self.data[self.at - count : self.at]

    def check_count(self, count: int, least_bytes: int, most: int, what: str) -> None:
        if count > most or count * least_bytes > self.size_bytes - self.at:
            raise self.damage(f"claims {count:,} {what}, more than the file can hold")

    def damage(self, message: str) -> ModelFormatError:
        return ModelFormatError(f"{message} (byte {self.at:,})", path=str(self.path))
