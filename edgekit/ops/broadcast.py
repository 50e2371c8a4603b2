"""Shapes of NumPy broadcasting, with named dimensions, and the fused activations of float ops."""

from __future__ import annotations

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import ModelError
from edgekit.graph import Dim, Shape

_FLOAT_CLAMPS: dict[str, tuple[float | None, float | None]] = {
    "relu": (0.0, None),
    "relu6": (0.0, 6.0),
    "relu_n1_1": (-1.0, 1.0),
}


def broadcast_shapes(first: Shape, second: Shape, *, where: str) -> Shape:
    """Return the shape to which two shapes broadcast.

    A named dimension fits itself and 1.

    Raises
    ------
    ModelError
        If the shapes do not fit.
    """
    rank = max(len(first), len(second))
    padded_first: Shape = (1,) * (rank - len(first)) + first
    padded_second: Shape = (1,) * (rank - len(second)) + second
    dims: list[Dim] = []
    for a, b in zip(padded_first, padded_second, strict=True):
        if a != b and 1 not in (a, b):
            raise ModelError(f"layer {where}: shapes {list(first)} and {list(second)} do not fit")
        dims.append(b if a == 1 else a)
    return tuple(dims)


def normalized_axis(axis: int, rank: int, *, where: str) -> int:
    """Return an axis counted from the front.

    Raises
    ------
    ModelError
        If it is out of range.
    """
    if not -rank <= axis < rank:
        raise ModelError(f"layer {where}: axis {axis} of a tensor of {rank} axes")
    return axis % rank


def clamp(array: Array, activation: str) -> Array:
    """Apply a fused activation to an array that is not quantized.

    Raises
    ------
    ModelError
        If the activation is unknown.
    """
    if activation == "none":
        return array
    if activation == "tanh":
        return np.tanh(array.astype(np.float32))
    if activation not in _FLOAT_CLAMPS:
        raise ModelError(f"unknown fused activation {activation}")
    low, high = _FLOAT_CLAMPS[activation]
    kind = array.dtype.type
    clipped: Array = np.clip(
        array, None if low is None else kind(low), None if high is None else kind(high)
    )
    return clipped
