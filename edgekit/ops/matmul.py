"""Matrix product of two computed tensors.

``matmul``: ``a`` (..., M, K) and ``b`` (..., K, N) of floats or integers to (..., M, N). Leading
axes broadcast as in NumPy. Attributes ``transpose_a`` and ``transpose_b`` (default false) swap the
last two axes first. A product with constant weights is ``fully_connected``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Shape, Tensor, TensorKind
from edgekit.ops.broadcast import broadcast_shapes
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, TensorType


def _operand(view: OpView, index: int, attr: str) -> Shape:
    """Return the shape of an operand after its transposition."""
    shape = view.input(index).shape
    if len(shape) < 2:
        raise ModelError(f"layer {view.node.where}: matmul needs two axes, input {index} has fewer")
    if view.bool_attr(attr, False):
        return (*shape[:-2], shape[-1], shape[-2])
    return shape


def _infer(view: OpView) -> list[TensorType]:
    where = view.node.where
    a, b = _operand(view, 0, "transpose_a"), _operand(view, 1, "transpose_b")
    if a[-1] != b[-2]:
        raise ModelError(f"layer {where}: matrices {list(a)} and {list(b)} do not fit")
    if view.input(0).dtype is not view.input(1).dtype:
        raise ModelError(f"layer {where}: matmul of {view.input(0).dtype} and another type")
    leading = broadcast_shapes(a[:-2], b[:-2], where=where)
    return [TensorType((*leading, a[-2], b[-1]), view.input(0).dtype)]


def _reference(call: OpCall) -> list[Array]:
    a, b = call.array(0), call.array(1)
    if call.view.bool_attr("transpose_a", False):
        a = a.swapaxes(-1, -2)
    if call.view.bool_attr("transpose_b", False):
        b = b.swapaxes(-1, -2)
    return [np.matmul(a, b)]


def _macs(view: OpView) -> int:
    depth = _operand(view, 0, "transpose_a")[-1]
    outputs = math.prod(int(dim) for dim in _infer(view)[0].shape)
    return outputs * int(depth)


def _case(
    name: str, a: tuple[int, ...], b: tuple[int, ...], *, ta: bool = False, tb: bool = False
) -> OpCase:
    rng = np.random.default_rng(len(name))
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in (a, b)]
    left = np.swapaxes(arrays[0], -1, -2) if ta else arrays[0]
    right = np.swapaxes(arrays[1], -1, -2) if tb else arrays[1]
    tensors = [
        Tensor(f"x{index}", array.shape, DType.FLOAT32, TensorKind.INPUT)
        for index, array in enumerate(arrays)
    ]
    return OpCase(
        name,
        tuple(zip(tensors, arrays, strict=True)),
        (Tensor("y", np.matmul(left, right).shape, tensors[0].dtype),),
        {"transpose_a": ta, "transpose_b": tb},
        tolerance=1e-5,
    )


def _cases() -> Iterable[OpCase]:
    yield _case("plain", (3, 5), (5, 4))
    yield _case("heads", (1, 2, 7, 5), (1, 2, 5, 7))
    yield _case("transposed_b", (2, 7, 5), (2, 3, 5), tb=True)
    yield _case("transposed_a", (5, 7), (5, 3), ta=True)
    yield _case("broadcast_batch", (4, 1, 2, 3), (5, 3, 2))


SPECS = (OpSpec("matmul", _infer, _reference, macs=_macs, cases=_cases),)
