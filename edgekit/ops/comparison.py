"""Comparisons, logic and selection; NumPy broadcasting, no attributes.

``equal``, ``less``, ``greater``, ``less_equal``, ``greater_equal``: two tensors of one type to
bool. ``logical_and``, ``logical_or``: two bool tensors; ``logical_not``: one. ``where``: condition
(bool), value where true, value where false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Shape, Tensor, TensorKind
from edgekit.ops.broadcast import broadcast_shapes
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, TensorType


def _joint_shape(view: OpView, count: int) -> Shape:
    shape = view.input(0).shape
    for index in range(1, count):
        shape = broadcast_shapes(shape, view.input(index).shape, where=view.node.where)
    return shape


def _check_types(view: OpView, expected: DType, indices: tuple[int, ...]) -> None:
    for index in indices:
        if view.input(index).dtype is not expected:
            raise ModelError(
                f"layer {view.node.where}: input {index} of {view.node.op} is "
                f"{view.input(index).dtype.value}, not {expected.value}"
            )


def _infer_compare(view: OpView) -> list[TensorType]:
    _check_types(view, view.input(0).dtype, (1,))
    return [TensorType(_joint_shape(view, 2), DType.BOOL)]


def _infer_logic(view: OpView) -> list[TensorType]:
    _check_types(view, DType.BOOL, (0, 1))
    return [TensorType(_joint_shape(view, 2), DType.BOOL)]


def _infer_not(view: OpView) -> list[TensorType]:
    _check_types(view, DType.BOOL, (0,))
    return [TensorType(view.input(0).shape, DType.BOOL)]


def _infer_where(view: OpView) -> list[TensorType]:
    _check_types(view, DType.BOOL, (0,))
    _check_types(view, view.input(1).dtype, (2,))
    return [TensorType(_joint_shape(view, 3), view.input(1).dtype)]


def _reference(function: Callable[..., Array], count: int) -> Callable[[OpCall], list[Array]]:
    def run(call: OpCall) -> list[Array]:
        return [np.asarray(function(*(call.array(index) for index in range(count))))]

    return run


def _case(name: str, arrays: list[Array], result: Array) -> OpCase:
    inputs = tuple(
        (Tensor(f"x{i}", array.shape, DType.from_numpy(array.dtype), TensorKind.INPUT), array)
        for i, array in enumerate(arrays)
    )
    return OpCase(name, inputs, (Tensor("y", result.shape, DType.from_numpy(result.dtype)),))


def _cases(function: Callable[..., Array], kinds: str) -> Callable[[], Iterable[OpCase]]:
    """``kinds`` has a letter for each input: b for bool, f for float32."""

    def cases() -> Iterable[OpCase]:
        for name, shapes in (
            ("same_shape", [(2, 3, 4)] * 3),
            ("broadcast", [(2, 3, 4), (4,), (3, 1)]),
        ):
            rng = np.random.default_rng(7)
            numbers = [rng.integers(-2, 3, shape) for shape in shapes[: len(kinds)]]
            arrays: list[Array] = [
                n > 0 if kind == "b" else n.astype(np.float32)
                for n, kind in zip(numbers, kinds, strict=True)
            ]
            yield _case(name, arrays, np.asarray(function(*arrays)))

    return cases


def _compare(name: str, function: Callable[..., Array]) -> OpSpec:
    return OpSpec(name, _infer_compare, _reference(function, 2), cases=_cases(function, "ff"))


def _logic(name: str, function: Callable[..., Array]) -> OpSpec:
    return OpSpec(name, _infer_logic, _reference(function, 2), cases=_cases(function, "bb"))


SPECS = (
    _compare("equal", np.equal),
    _compare("less", np.less),
    _compare("greater", np.greater),
    _compare("less_equal", np.less_equal),
    _compare("greater_equal", np.greater_equal),
    _logic("logical_and", np.logical_and),
    _logic("logical_or", np.logical_or),
    OpSpec(
        "logical_not", _infer_not, _reference(np.logical_not, 1), cases=_cases(np.logical_not, "b")
    ),
    OpSpec("where", _infer_where, _reference(np.where, 3), cases=_cases(np.where, "bff")),
)
