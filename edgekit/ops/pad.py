"""``pad``: elements around a tensor.

Input: x. Attributes: ``padding`` ((before, after), ...), one pair an axis; ``mode``: ``constant``,
``reflect`` (without the edge), ``symmetric`` (with it) or ``edge``; ``value``: the constant, a real
number. Int8: the output has the input's scale, zero is the zero point.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import ModelError
from edgekit.graph import Attr, Dim
from edgekit.ops import cases, int8
from edgekit.ops.checks import PACKED
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType

_MODES = ("constant", "reflect", "symmetric", "edge")


def _infer(view: OpView) -> list[TensorType]:
    x, padding = view.input(0), view.pairs_attr("padding")
    mode = view.str_attr("mode", "constant")
    if len(padding) != len(x.shape) or mode not in _MODES:
        raise ModelError(f"layer {view.node.where}: {mode} padding {padding} of {list(x.shape)}")
    dims: list[Dim] = []
    for dim, pair in zip(x.shape, padding, strict=True):
        if isinstance(dim, str) and pair == (0, 0):
            dims.append(dim)
            continue
        room = {"reflect": -1, "symmetric": 0}.get(mode)
        if isinstance(dim, str) or min(pair) < 0 or (room is not None and max(pair) > dim + room):
            raise ModelError(f"layer {view.node.where}: {mode} padding {pair} of an axis of {dim}")
        dims.append(dim + sum(pair))
    return [TensorType(tuple(dims), x.dtype)]


def _reference(call: OpCall) -> list[Array]:
    view, x = call.view, call.array(0)
    padding, mode = view.pairs_attr("padding"), view.str_attr("mode", "constant")
    if mode == "constant":
        value = _stored_value(view)
        return [np.pad(x, padding, constant_values=x.dtype.type(value))]
    if mode == "reflect":
        return [np.pad(x, padding, "reflect")]
    if mode == "symmetric":
        return [np.pad(x, padding, "symmetric")]
    return [np.pad(x, padding, "edge")]


def _stored_value(view: OpView) -> float:
    """Return the constant as it is stored in the input's type."""
    value = view.float_attr("value", 0.0)
    tensor = view.input(0)
    if tensor.dtype.is_float or tensor.quantization is None:
        return value
    return float(int8.stored_from_real(np.array(value, np.float32), tensor))


def _cases() -> Iterable[OpCase]:
    for name, shape, attrs in _VARIANTS:
        yield cases.case(f"float_{name}", _infer, (cases.float_input("x", shape),), attrs)
        x = cases.int8_input("x", shape, 0.1, 17)
        yield cases.case(f"int8_{name}", _infer, (x,), attrs, scale=0.1, zero_point=17)
    for dtype in PACKED:
        for name, shape, attrs in (*_VARIANTS[:1], *_PACKED_VARIANTS):
            x = cases.stored_input("x", shape, dtype, 0.4, -1)
            case_id = f"{dtype.value}_{name}"
            yield cases.case(case_id, _infer, (x,), attrs, scale=0.4, zero_point=-1)


_VARIANTS: tuple[tuple[str, tuple[int, ...], dict[str, Attr]], ...] = (
    ("zeros", (1, 4, 3, 2), {"padding": ((0, 0), (1, 2), (0, 1), (0, 0))}),
    ("value", (2, 3), {"padding": ((1, 0), (0, 2)), "value": 1.5}),
    ("reflect", (4, 3), {"padding": ((3, 1), (0, 2)), "mode": "reflect"}),
    ("symmetric", (2, 3), {"padding": ((2, 1), (0, 3)), "mode": "symmetric"}),
    ("edge", (2, 3), {"padding": ((2, 3), (1, 0)), "mode": "edge"}),
)

_PACKED_VARIANTS: tuple[tuple[str, tuple[int, ...], dict[str, Attr]], ...] = (
    ("channels", (2, 3, 8), {"padding": ((0, 0), (1, 0), (4, 5)), "value": 0.4}),
    ("edge_rows", (2, 3, 5), {"padding": ((2, 3), (1, 0), (0, 0)), "mode": "edge"}),
)

SPECS = (
    OpSpec(
        name="pad",
        infer=_infer,
        reference=_reference,
        quantization=QuantRule.SAME_SCALE,
        cases=_cases,
    ),
)
