"""Constants of generated C: arrays in flash, each defined once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from edgekit.dtypes import Array, DType, to_device_bytes
from edgekit.errors import UnsupportedOpError
from edgekit.graph import Tensor

C_TYPES = {
    DType.INT2: "uint8_t",
    DType.INT4: "uint8_t",
    DType.INT8: "int8_t",
    DType.UINT8: "uint8_t",
    DType.INT16: "int16_t",
    DType.INT32: "int32_t",
    DType.INT64: "int64_t",
    DType.FLOAT32: "float",
    DType.BOOL: "uint8_t",
}
"""How elements of each type are stored; several of the first two share a byte."""

LINE_VALUES = 16


def c_type(dtype: DType, *, where: str) -> str:
    """Return the C type of an element (UnsupportedOpError where generated C has none)."""
    if dtype not in C_TYPES:
        raise UnsupportedOpError(dtype.value, node=where, where="generated C")
    return C_TYPES[dtype]


@dataclass(slots=True)
class ConstantPool:
    """Arrays that generated code refers to; equal contents share one definition.

    Parameters
    ----------
    prefix : str
        Begin of every name.
    """

    prefix: str
    names: dict[tuple[str, bytes], str] = field(default_factory=dict)
    definitions: list[str] = field(default_factory=list)
    declarations: list[str] = field(default_factory=list)
    size_bytes: int = 0

    def tensor(self, tensor: Tensor) -> str:
        """Return the name of the array that holds a constant's data."""
        element = c_type(tensor.dtype, where=tensor.name)
        data = to_device_bytes(tensor.data, tensor.dtype) if tensor.dtype.is_packed else tensor.data
        return self.array(data, element, tensor.name)

    def array(self, data: Array, element: str, comment: str) -> str:
        """Return the name of an array with this content, defining it at first use.

        Parameters
        ----------
        data : array
            Written in C order.
        element : str
            C type of an element.
        comment : str
            What it is, for readers of the generated code.
        """
        flat = np.ascontiguousarray(data).reshape(-1)
        key = (element, flat.tobytes())
        if key not in self.names:
            name = f"{self.prefix}_constant_{len(self.names)}"
            self.names[key] = name
            head = f"const {element} {name}[{max(flat.size, 1)}]"
            self.declarations.append(f"extern {head};")
            self.definitions.append(
                f"/* {comment_text(comment)}, {shape_text(data.shape)} */\n"
                f"{head} __attribute__((aligned(4))) = {{\n{_values(flat)}}};\n"
            )
            self.size_bytes += flat.nbytes
        return self.names[key]


def comment_text(text: str) -> str:
    """Return text that cannot end a comment."""
    plain = text.encode("ascii", "replace").decode()
    return plain.replace("*/", "* /").replace("/*", "/ *").replace("\n", " ").replace("\\", "/")


def shape_text(shape: tuple[int, ...]) -> str:
    """Return ``(1, 49, 10, 1)``."""
    return f"({', '.join(map(str, shape))})"


def c_float(value: float) -> str:
    """Return a float32 constant that reads back as exactly this value."""
    single = float(np.float32(value))
    if math.isnan(single):
        return '__builtin_nanf("")'
    if math.isinf(single):
        return "__builtin_inff()" if single > 0 else "-__builtin_inff()"
    return f"{single.hex()}f"


def _values(flat: Array) -> str:
    if flat.dtype.kind == "f":
        texts = [c_float(value) for value in flat.tolist()]
    else:
        # The least value of a type has no literal of its own: its negation would overflow.
        texts = [c_integer(value) for value in flat.astype(np.int64).tolist()]
    lines = [
        "    " + ", ".join(texts[at : at + LINE_VALUES]) + ",\n"
        for at in range(0, len(texts), LINE_VALUES)
    ]
    return "".join(lines) or "    0,\n"


def c_integer(value: int) -> str:
    """Return an integer literal of at most 32 bits."""
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)
