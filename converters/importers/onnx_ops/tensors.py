"""Arrays from ONNX ``TensorProto`` records, with every size checked before memory is taken.

Source: onnx/onnx.proto of the ONNX project, message ``TensorProto``, and its ``ExternalData.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import ModelFormatError

MAX_ELEMENTS = 2**31 - 1
"""Largest number of elements of one tensor; more cannot be meant on an edge device."""

_MAX_TEXT = 400

BFLOAT16 = 16
ELEMENT_TYPES: dict[int, str] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    BFLOAT16: "uint16",
}
"""NumPy name of the stored form of each ``TensorProto.DataType`` that is read."""

_INT32_FIELD = frozenset({"uint8", "int8", "int16", "int32", "bool", "float16", "uint16"})


def printable(text: str) -> str:
    """Return text from a file fit for a message: one line, no control characters, not endless."""
    clean = "".join(char if char.isprintable() else "?" for char in text)
    return clean if len(clean) <= _MAX_TEXT else f"{clean[:_MAX_TEXT]}..."


@dataclass(frozen=True, slots=True)
class TensorSource:
    """Where tensors come from, for external data and messages.

    Parameters
    ----------
    path : Path
        The model file; external data must lie in its folder.
    """

    path: Path

    def fail(self, message: str) -> ModelFormatError:
        """Return the error for something wrong in this file."""
        return ModelFormatError(printable(message), path=str(self.path))

    def reader(self, proto: Any) -> tuple[tuple[int, ...], np.dtype[np.generic], ArrayLoader]:
        """Return shape, dtype and a function that gives the data of a ``TensorProto``.

        Inline data is taken at once; external data is mapped from its file when it is needed.

        Raises
        ------
        ModelFormatError
            If the declared shape and the data disagree, the element type is not readable, or
            external data lies outside the folder of the model.
        """
        shape = self._shape(proto)
        stored = self._stored_dtype(proto)
        elements = math.prod(shape)
        size_bytes = elements * stored.itemsize
        if proto.data_location == 1:
            file, offset = self._external(proto, size_bytes)
            # The file is mapped, not read: pages come in when the data is used.
            return _lazy(proto.data_type, shape, stored, file, offset)
        if proto.HasField("raw_data"):
            raw = proto.raw_data
            if len(raw) != size_bytes:
                raise self.fail(
                    f"tensor {proto.name} declares {list(shape)} {stored.name} = {size_bytes:,} "
                    f"bytes but holds {len(raw):,}"
                )
            array = np.frombuffer(raw, stored.newbyteorder("<")).astype(stored, copy=False)
        else:
            array = self._typed_field(proto, stored, elements)
        decoded = _decoded(proto.data_type, array).reshape(shape)
        return shape, decoded.dtype, lambda: decoded

    def array(self, proto: Any) -> Array:
        """Return the data of a ``TensorProto`` as an array (errors as :meth:`reader`)."""
        return self.reader(proto)[2]()

    def _shape(self, proto: Any) -> tuple[int, ...]:
        shape = tuple(int(dim) for dim in proto.dims)
        if any(dim < 0 for dim in shape) or math.prod(shape) > MAX_ELEMENTS:
            raise self.fail(f"tensor {proto.name} declares the impossible shape {list(shape)}")
        return shape

    def _stored_dtype(self, proto: Any) -> np.dtype[np.generic]:
        name = ELEMENT_TYPES.get(proto.data_type)
        if name is None:
            raise self.fail(
                f"tensor {proto.name} has ONNX element type {proto.data_type}, which is not "
                "supported (supported: float, float16, bfloat16, double, signed integers, uint8, "
                "bool)"
            )
        return np.dtype(name)

    def _typed_field(self, proto: Any, stored: np.dtype[np.generic], elements: int) -> Array:
        """Read one of the typed repeated fields; float16 lies bit for bit in ``int32_data``."""
        if stored.name in _INT32_FIELD:
            values: Any = proto.int32_data
        elif stored.name == "int64":
            values = proto.int64_data
        else:
            values = proto.float_data if stored.name == "float32" else proto.double_data
        if len(values) != elements:
            raise self.fail(
                f"tensor {proto.name} declares {elements:,} elements but holds {len(values):,}"
            )
        wide = np.fromiter(values, _wide_dtype(stored), count=elements)
        if stored.name == "float16":
            return wide.astype(np.uint16).view(np.float16)
        return wide.astype(stored)

    def _external(self, proto: Any, size_bytes: int) -> tuple[Path, int]:
        """Return file and offset of external data that is proven to lie inside the folder."""
        entries = {entry.key: entry.value for entry in proto.external_data}
        folder = self.path.resolve().parent
        file = (folder / entries.get("location", "")).resolve()
        if not file.is_relative_to(folder) or file == folder:
            raise self.fail(
                f"tensor {proto.name} points to data outside the model's folder: "
                f"{entries.get('location', '')!r}"
            )
        if not file.is_file():
            raise self.fail(f"the data file {file.name} of tensor {proto.name} is missing")
        offset, length = (
            _count(entries.get("offset", "0")),
            _count(entries.get("length", str(size_bytes))),
        )
        if length != size_bytes or offset < 0 or offset + size_bytes > file.stat().st_size:
            raise self.fail(
                f"tensor {proto.name} needs {size_bytes:,} bytes at offset {offset:,} of "
                f"{file.name}, which holds {file.stat().st_size:,}"
            )
        return file, offset


ArrayLoader = Callable[[], Array]


def _lazy(
    data_type: int, shape: tuple[int, ...], stored: np.dtype[np.generic], file: Path, offset: int
) -> tuple[tuple[int, ...], np.dtype[np.generic], ArrayLoader]:
    def load() -> Array:
        count = math.prod(shape)
        if count == 0:
            return _decoded(data_type, np.zeros(0, stored)).reshape(shape)
        mapped = np.memmap(file, stored.newbyteorder("<"), "r", offset, (count,))
        return _decoded(data_type, np.asarray(mapped)).reshape(shape)

    return shape, _decoded(data_type, np.zeros(0, stored)).dtype, load


def _decoded(data_type: int, array: Array) -> Array:
    """Turn bfloat16 bits into float32; all else is stored as it is."""
    if data_type != BFLOAT16:
        return array
    return (array.astype(np.uint32) << 16).view(np.float32)


def _wide_dtype(stored: np.dtype[np.generic]) -> np.dtype[np.generic]:
    return stored if stored.name in {"float32", "float64", "int64"} else np.dtype(np.int64)


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else -1
