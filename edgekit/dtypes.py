"""Element types of tensors, and their NumPy counterparts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
"""Any NumPy array; functions state dtype and shape in their docstring."""


class DType(Enum):
    """Element type of a tensor; the value is the name used in files and messages.

    ``int4`` and ``int2`` are two's complement, -8 to 7 and -2 to 1. On a device they are packed
    along the last axis, the first element in the lowest bits, each row of the last axis in whole
    bytes; bits that are left over mean nothing. NumPy has no such types: arrays hold them as int8,
    one element a byte.
    """

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    FLOAT64 = "float64"
    INT2 = "int2"
    INT4 = "int4"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy dtype that holds the elements."""
        return np.dtype("int8" if self.is_packed else self.value)

    @property
    def is_packed(self) -> bool:
        """Whether several elements share a byte on the device."""
        return self in (DType.INT4, DType.INT2)

    @property
    def bits(self) -> int:
        """Bits of one element on the device."""
        packed = {DType.INT4: 4, DType.INT2: 2}
        return packed.get(self) or 8 * self.numpy.itemsize

    @property
    def item_bytes(self) -> int:
        """Bytes of one element of a NumPy array."""
        return self.numpy.itemsize

    def size_bytes(self, shape: Sequence[int]) -> int:
        """Return the bytes that a tensor takes on the device, without alignment."""
        if not self.is_packed or not shape:
            return math.prod(shape) * self.item_bytes
        return math.prod(shape[:-1]) * -(-shape[-1] * self.bits // 8)

    @property
    def is_float(self) -> bool:
        """Whether the type is a floating-point type."""
        return self.numpy.kind == "f"

    @classmethod
    def from_numpy(cls, dtype: npt.DTypeLike) -> DType:
        """Return the element type of a NumPy dtype.

        Raises
        ------
        ValueError
            If edgekit has no such element type.
        """
        return cls(np.dtype(dtype).name)


def to_device_bytes(array: Array, dtype: DType) -> npt.NDArray[np.uint8]:
    """Return the bytes that hold an array on the device.

    Parameters
    ----------
    array : array
        Of ``dtype.numpy``; values of packed types in their range.
    dtype : DType

    Returns
    -------
    array of uint8, shape (dtype.size_bytes(array.shape),)
    """
    if not dtype.is_packed or not array.shape:
        return np.frombuffer(array.tobytes(), np.uint8).copy()
    per_byte = 8 // dtype.bits
    padded = np.pad(array, (*((0, 0),) * (array.ndim - 1), (0, -array.shape[-1] % per_byte)))
    masked = padded.astype(np.uint8) & np.uint8((1 << dtype.bits) - 1)
    shifts = (dtype.bits * np.arange(per_byte)).astype(np.uint8)
    parts = masked.reshape(-1, per_byte) << shifts
    packed: npt.NDArray[np.uint8] = np.bitwise_or.reduce(parts, axis=1).astype(np.uint8)
    return packed


def from_device_bytes(data: npt.NDArray[np.uint8], dtype: DType, shape: tuple[int, ...]) -> Array:
    """Return the array that bytes of the device hold; a view of them unless the type is packed.

    Parameters
    ----------
    data : array of uint8, shape (dtype.size_bytes(shape),)
    dtype : DType
    shape : tuple of int
    """
    if not dtype.is_packed or not shape:
        whole: Array = data.view(dtype.numpy).reshape(shape)
        return whole
    per_byte = 8 // dtype.bits
    shifts = (8 - dtype.bits * np.arange(1, per_byte + 1)).astype(np.uint8)
    # Each element is brought to the top of a byte, from where its sign comes down with it.
    raised = (data.reshape(-1, 1) << shifts).astype(np.uint8).view(np.int8)
    elements = (raised >> (8 - dtype.bits)).reshape(
        *shape[:-1], -(-shape[-1] // per_byte) * per_byte
    )
    return np.ascontiguousarray(elements[..., : shape[-1]])
