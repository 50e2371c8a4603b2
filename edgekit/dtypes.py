"""Element types of tensors, and their NumPy counterparts."""

from __future__ import annotations

from enum import Enum

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
"""Any NumPy array; functions state dtype and shape in their docstring."""


class DType(Enum):
    """Element type of a tensor; the value is the name used in files and messages."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    FLOAT64 = "float64"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy dtype."""
        return np.dtype(self.value)

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return self.numpy.itemsize

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
