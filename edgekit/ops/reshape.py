"""``reshape``: the same elements under another shape.

Input: x. Attribute: ``shape``, entries as in ONNX: 0 copies the input's dimension at that place
(also a named one), -1 is inferred from the number of elements. Rows of the last axis of int4 and
int2 stay as they are, or are whole bytes on both sides: then all bytes stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from edgekit.dtypes import Array
from edgekit.errors import ModelError, UnsupportedOpError
from edgekit.graph import Dim, Shape
from edgekit.ops import cases
from edgekit.ops.checks import PACKED
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType


def _infer(view: OpView) -> list[TensorType]:
    x, wanted = view.input(0), view.ints_attr("shape")
    if any(dim < -1 for dim in wanted) or wanted.count(-1) > 1:
        raise ModelError(f"layer {view.node.where}: shape {list(wanted)} is not a shape")
    if any(dim == 0 and place >= len(x.shape) for place, dim in enumerate(wanted)):
        raise ModelError(f"layer {view.node.where}: shape {list(wanted)} copies a missing axis")
    dims: list[Dim] = [x.shape[place] if dim == 0 else dim for place, dim in enumerate(wanted)]
    if -1 in dims:
        dims[dims.index(-1)] = _missing(view, [dim for dim in dims if dim != -1])
    if sorted(_names(x.shape)) != sorted(_names(dims)) or _number(x.shape) != _number(dims):
        raise ModelError(f"layer {view.node.where}: {list(x.shape)} does not fill {dims}")
    if x.dtype.is_packed and not _keeps_bytes(x.shape, dims, x.dtype.bits):
        raise UnsupportedOpError(
            view.node.op,
            node=view.node.where,
            hint=f"rows of {list(x.shape)} and {dims} are not whole bytes of {x.dtype.value}",
        )
    return [TensorType(tuple(dims), x.dtype)]


def _keeps_bytes(shape: Shape, dims: list[Dim], bits: int) -> bool:
    rows = shape[-1:], tuple(dims[-1:])
    whole = (isinstance(dim, int) and dim * bits % 8 == 0 for row in rows for dim in row)
    return rows[0] == rows[1] or all(whole)


def _missing(view: OpView, given: list[Dim]) -> Dim:
    """Return what -1 stands for: a number, or the one named dimension that is left over."""
    shape = view.input(0).shape
    names = _names(shape)
    for name in _names(given):
        if name in names:
            names.remove(name)
    rest, remainder = divmod(_number(shape), max(_number(given), 1))
    if remainder or len(names) > 1 or (names and rest != 1):
        raise ModelError(f"layer {view.node.where}: {list(shape)} leaves no size for -1")
    return names[0] if names else rest


def _names(dims: Iterable[Dim]) -> list[str]:
    return [dim for dim in dims if isinstance(dim, str)]


def _number(dims: Iterable[Dim]) -> int:
    return math.prod(dim for dim in dims if isinstance(dim, int))


def _reference(call: OpCall) -> list[Array]:
    return [call.array(0).reshape(call.view.outputs[0].static_shape).copy()]


def _cases() -> Iterable[OpCase]:
    for name, shape, target in (
        ("flatten", (2, 3, 4), (2, -1)),
        ("copy_and_infer", (2, 3, 4), (0, 0, 2, -1)),
        ("merge", (1, 4, 5, 2), (20, 2)),
    ):
        attrs = {"shape": target}
        yield cases.case(f"float_{name}", _infer, (cases.float_input("x", shape),), attrs)
        x = cases.int8_input("x", shape, 0.1, 3)
        yield cases.case(f"int8_{name}", _infer, (x,), attrs, scale=0.1, zero_point=3)
    for dtype in PACKED:
        for name, shape, target in (
            ("merge", (1, 4, 5, 2), (20, 2)),
            ("whole", (2, 3, 8), (2, 24)),
        ):
            x = cases.stored_input("x", shape, dtype, 0.4, 1)
            attrs = {"shape": target}
            case_id = f"{dtype.value}_{name}"
            yield cases.case(case_id, _infer, (x,), attrs, scale=0.4, zero_point=1)


SPECS = (
    OpSpec(
        name="reshape",
        infer=_infer,
        reference=_reference,
        quantization=QuantRule.SAME_SCALE,
        in_place=((0, 0),),
        cases=_cases,
    ),
)
