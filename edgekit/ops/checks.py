"""Checks that shape rules share."""

from __future__ import annotations

from edgekit.dtypes import DType
from edgekit.errors import ModelError, UnsupportedOpError
from edgekit.ops.spec import OpView

FLOATS = (DType.FLOAT32, DType.FLOAT16)
"""Types of float operators; float16 is computed in float32 and stored as float16."""
PACKED = (DType.INT4, DType.INT2)
SMALL = (DType.INT8, *PACKED)
"""Types of quantized activations that are computed as int8 is, each clamped to its own range."""


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


def declared_dtype(view: OpView, default: DType) -> DType:
    """Return the type of the output: of the small integers, that which is declared, if one is.

    Parameters
    ----------
    default : DType
        Where the output is not declared yet, or is nothing to choose.
    """
    declared = view.outputs[0].dtype if view.outputs else default
    return declared if default in SMALL and declared in SMALL else default


def require_quantized_pair(view: OpView, quantized: tuple[DType, ...] = (DType.INT8,)) -> DType:
    """Return the type of x of an operator with weights: both of floats, or both quantized.

    Parameters
    ----------
    quantized : tuple of DType
        The quantized types that the operator has, in any mix.

    Raises
    ------
    UnsupportedOpError
        If x and weights are of different kinds.
    ModelError
        If a quantized operand has no scale.
    """
    dtype = require_dtype(view, 0, (*FLOATS, *quantized))
    require_dtype(view, 1, quantized if dtype in quantized else FLOATS)
    if dtype in quantized:
        for tensor in (view.input(0), view.input(1)):
            if tensor.quantization is None:
                raise ModelError(
                    f"layer {view.node.where}: {tensor.name} is {tensor.dtype.value} without scale"
                )
    return dtype
