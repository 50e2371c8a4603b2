"""One call of a native kernel, before it is either made through ctypes or printed as C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.dtypes import Array, DType
from edgekit.errors import UnsupportedOpError
from edgekit.ops.spec import OpView

Field = int | float | Array | tuple[int, ...]
"""An int32, a float, a pointer to constant data, or an array of int32 inside the structure."""

SCRATCH = ""
"""The argument that stands for the node's scratch memory."""

AXES = 6
"""``EK_KERNEL_AXES``."""


@dataclass(frozen=True, slots=True, eq=False)
class KernelCall:
    """``function(&params, arguments...)``.

    Parameters
    ----------
    function, params_type : str
        Names in ``edgekit/kernels.h``.
    fields : mapping of str to Field
        Members of the structure, in its order.
    arguments : tuple of str
        Names of tensors; :data:`SCRATCH` for the scratch memory.
    """

    function: str
    params_type: str
    fields: Mapping[str, Field]
    arguments: tuple[str, ...]


def call(function: str, fields: Mapping[str, Field], *arguments: str) -> KernelCall:
    """Return a call whose structure is named after the function."""
    return KernelCall(function, f"{function}_params", fields, arguments)


def no_kernel(view: OpView, hint: str = "") -> UnsupportedOpError:
    """Return the error that names an operator without a kernel, its types and its layer."""
    types = "/".join(t.dtype.value for t in (*view.inputs[:1], *view.outputs[:1]) if t)
    name = f"{view.node.op} ({types})"
    return UnsupportedOpError(name, node=view.node.where, where="native kernels", hint=hint)


def require_types(view: OpView, inputs: int, kinds: tuple[DType, ...] = (DType.INT8,)) -> None:
    """Refuse a node whose first inputs or whose output are not of ``kinds``."""
    tensors = (*(view.input(index) for index in range(inputs)), view.outputs[0])
    if any(tensor.dtype not in kinds for tensor in tensors):
        raise no_kernel(view)


def dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in elements, of a tensor that is stored row by row."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


def merged_axes(
    view: OpView, shape: tuple[int, ...], *strides: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """Return dimensions and strides with axes joined where that is possible, filled up in front.

    Parameters
    ----------
    shape : tuple of int
    strides : tuples of int
        In elements, each as long as ``shape``.

    Raises
    ------
    UnsupportedOpError
        If more than :data:`AXES` axes are left.
    """
    kept: list[list[int]] = []
    for axis in range(len(shape)):
        if shape[axis] == 1:
            continue
        entry = [shape[axis], *(each[axis] for each in strides)]
        if kept and all(kept[-1][i] == entry[i] * entry[0] for i in range(1, len(entry))):
            entry[0] *= kept[-1][0]
            kept[-1] = entry
        else:
            kept.append(entry)
    if len(kept) > AXES:
        raise no_kernel(view, f"more than {AXES} axes")
    filled = [[1] + [0] * len(strides)] * (AXES - len(kept)) + kept
    return tuple(tuple(entry[i] for entry in filled) for i in range(1 + len(strides)))
