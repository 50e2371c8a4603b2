"""Checks that shape rules share."""

from __future__ import annotations

from edgekit.dtypes import DType
from edgekit.errors import ModelError, UnsupportedOpError
from edgekit.ops.spec import OpView

FLOATS = (DType.FLOAT32, DType.FLOAT16)
"""Types of float operators; float16 is computed in float32 and stored as float16."""


def require_dtype(view: OpView, index: int, allowed: tuple[DType, ...]) -> DType:
    """Return the element type of an input.

    Raises
    ------
    UnsupportedOpError
        If it is not one of ``allowed``.
    """
    dtype = view.input(index).dtype
    if dtype not in allowed:
        names = ", ".join(kind.value for kind in allowed)
        raise UnsupportedOpError(
            view.node.op,
            node=view.node.where,
            hint=f"input {index} is {dtype.value}; edgekit computes {view.node.op} in {names}",
        )
    return dtype


def require_quantized_pair(view: OpView) -> DType:
    """Return the type of an operator with weights: float x and weights, or int8 x and weights.

    Raises
    ------
    UnsupportedOpError
        If x and weights are of different kinds.
    ModelError
        If an int8 operand has no scale.
    """
    dtype = require_dtype(view, 0, (*FLOATS, DType.INT8))
    require_dtype(view, 1, (DType.INT8,) if dtype is DType.INT8 else FLOATS)
    if dtype is DType.INT8:
        for tensor in (view.input(0), view.input(1)):
            if tensor.quantization is None:
                raise ModelError(f"layer {view.node.where}: {tensor.name} is int8 without scale")
    return dtype
