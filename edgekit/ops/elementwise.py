"""Element-wise arithmetic on two operands with NumPy broadcasting.

``add``, ``sub``, ``mul``, ``div``: inputs a, b; attribute ``activation``. ``maximum``, ``minimum``,
``pow``, ``squared_difference``: inputs a, b.

Floating point, and integers without scale as in C (division truncates, overflow wraps). Int8 for
``add``, ``sub``, ``mul``, ``maximum``, ``minimum`` and ``squared_difference``; maximum and minimum
need one scale for everything. ``add`` also takes int4 and int2, in any mix with int8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import product

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Attr
from edgekit.ops import cases, int8
from edgekit.ops.broadcast import broadcast_shapes, clamp
from edgekit.ops.checks import FLOATS, SMALL, declared_dtype, require_dtype
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType

_PLAIN_INTEGERS = (DType.INT32, DType.INT64)
_FUSED = ("none", "relu", "relu6")
_SUM_LEFT_SHIFT = 20
"""Int8 operands of sums are brought to a common scale with this many bits more."""
_DIFFERENCE_LEFT_SHIFT = 7
"""The same for squared differences, whose square must fit 32 bits."""

Arithmetic = Callable[[OpCall], int8.IntArray]
"""Int8 arithmetic: the stored output before it is clamped."""


def _infer(
    view: OpView, integers: tuple[DType, ...], quantized: tuple[DType, ...]
) -> list[TensorType]:
    dtype = require_dtype(view, 0, (*FLOATS, *integers, *quantized))
    other = require_dtype(view, 1, quantized if dtype in quantized else (dtype,))
    dtype = declared_dtype(view, max(dtype, other, key=lambda kind: kind.bits))
    shape = broadcast_shapes(view.input(0).shape, view.input(1).shape, where=view.node.where)
    return [TensorType(shape, dtype)]


def _binary(
    call: OpCall, compute: Callable[[Array, Array], Array], quantized: Arithmetic | None
) -> list[Array]:
    a, b = call.array(0), call.array(1)
    view, activation = call.view, call.view.str_attr("activation", "none")
    if a.dtype != np.int8:
        kind = np.dtype(np.float32) if a.dtype == np.float16 else a.dtype
        result = compute(a.astype(kind), b.astype(kind))
        return [clamp(result, activation).astype(a.dtype)]
    if quantized is None:
        raise ModelError(f"layer {view.node.where}: {view.node.op} has no int8 arithmetic")
    low, high = int8.activation_range(activation, view.outputs[0])
    return [np.clip(quantized(call), low, high).astype(np.int8)]


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.divide(a, b)
    if not b.all():
        raise ModelError("division of integers by zero")
    truncated: Array = (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)
    return truncated


def _squared_difference(a: Array, b: Array) -> Array:
    return np.square(np.subtract(a, b))


def _centred(call: OpCall, index: int) -> int8.IntArray:
    return int8.centred(call.array(index), call.view.input(index)).astype(np.int64)


def _scales(call: OpCall) -> tuple[np.float32, np.float32, np.float32]:
    view = call.view
    return (
        int8.scale_of(view.input(0)),
        int8.scale_of(view.input(1)),
        int8.scale_of(view.outputs[0]),
    )


def _common_scale(
    call: OpCall, left_shift: int, factors: tuple[float, float]
) -> tuple[int8.IntArray, int8.IntArray]:
    """Bring both operands to one scale, ``left_shift`` bits finer than twice the larger one."""
    a, b = (
        int8.multiply(_centred(call, index) << left_shift, int8.quantize_multipliers(factor))
        for index, factor in enumerate(factors)
    )
    return a, b


def _add_int8(call: OpCall) -> int8.IntArray:
    first, second, out = (float(scale) for scale in _scales(call))
    twice = 2.0 * max(first, second)
    a, b = _common_scale(call, _SUM_LEFT_SHIFT, (first / twice, second / twice))
    factor = int8.quantize_multipliers(twice / ((1 << _SUM_LEFT_SHIFT) * out))
    return int8.multiply(a + b, factor) + int8.zero_point_of(call.view.outputs[0])


def _sub_int8(call: OpCall) -> int8.IntArray:
    first, second, out = (float(scale) for scale in _scales(call))
    twice = 2.0 * max(first, second)
    a, b = _common_scale(call, _SUM_LEFT_SHIFT, (first / twice, second / twice))
    factor = int8.quantize_multipliers(twice / ((1 << _SUM_LEFT_SHIFT) * out))
    return int8.multiply(a - b, factor) + int8.zero_point_of(call.view.outputs[0])


def _mul_int8(call: OpCall) -> int8.IntArray:
    first, second, out = (float(scale) for scale in _scales(call))
    factor = int8.quantize_multipliers(first * second / out)
    product = _centred(call, 0) * _centred(call, 1)
    return int8.multiply(product, factor) + int8.zero_point_of(call.view.outputs[0])


def _squared_difference_int8(call: OpCall) -> int8.IntArray:
    first, second, out = _scales(call)
    twice = 2.0 * float(max(first, second))
    factors = float(first) / twice, float(second) / twice
    a, b = _common_scale(call, _DIFFERENCE_LEFT_SHIFT, factors)
    divisor = np.float32(1 << (2 * _DIFFERENCE_LEFT_SHIFT)) * out
    factor = int8.quantize_multipliers(twice * twice / float(divisor))
    return int8.multiply((a - b) ** 2, factor) + int8.zero_point_of(call.view.outputs[0])


def _same_scale_int8(
    call: OpCall, compute: Callable[[int8.IntArray, int8.IntArray], int8.IntArray]
) -> int8.IntArray:
    view = call.view
    for tensor in (view.input(0), view.input(1)):
        if not int8.quantization_of(tensor).same_as(view.outputs[0].quantization):
            raise ModelError(f"layer {view.node.where}: {view.node.op} needs one scale for all")
    return compute(call.array(0).astype(np.int64), call.array(1).astype(np.int64))


def _cases(
    infer: Callable[[OpView], list[TensorType]],
    *,
    activations: tuple[str, ...] = ("none",),
    quantized: bool = True,
    one_scale: bool = False,
    low: float = -3.0,
) -> Iterable[OpCase]:
    pairs: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
        ("same", (1, 4, 5, 3), (1, 4, 5, 3)),
        ("channels", (2, 3, 3, 5), (5,)),
        ("scalar", (3, 7), ()),
        ("both", (2, 1, 4), (3, 1)),
    )
    for name, first, second in pairs:
        a, b = cases.float_input("a", first, low), cases.float_input("b", second, max(low, 0.5))
        for activation in activations:
            attrs: dict[str, Attr] = {"activation": activation}
            case_id = f"float_{name}_{activation}"
            yield cases.case(case_id, infer, (a, b), attrs, tolerance=1e-5)
            if not quantized:
                continue
            scales = ((0.05, 0.05, 0.05),) if one_scale else ((0.05, 0.03, 0.08), (0.02, 0.4, 0.1))
            for index, (scale_a, scale_b, scale) in enumerate(scales):
                points = (4, 4, 4) if one_scale else (4, -9, 11)
                operands = (
                    cases.int8_input("a", first, scale_a, points[0]),
                    cases.int8_input("b", second, scale_b, points[1]),
                )
                case_id = f"int8_{name}_{activation}_{index}"
                yield cases.case(case_id, infer, operands, attrs, scale=scale, zero_point=points[2])


def _add_cases(infer: Callable[[OpView], list[TensorType]]) -> Iterable[OpCase]:
    yield from _cases(infer, activations=_FUSED, quantized=True, one_scale=False, low=-3.0)
    scales = {DType.INT8: 0.05, DType.INT4: 0.6, DType.INT2: 2.0}
    for kinds in product(SMALL, repeat=3):
        if kinds == (DType.INT8,) * 3:
            continue
        first, second, out = kinds
        for shape, activation in (((1, 2, 3, 8), "none"), ((2, 3, 5), "relu")):
            operands = (
                cases.stored_input("a", shape, first, scales[first], -1),
                cases.stored_input("b", shape, second, scales[second], 1),
            )
            yield cases.case(
                f"{'_'.join(kind.value for kind in kinds)}_{activation}",
                infer,
                operands,
                {"activation": activation},
                scale=1.5 * scales[out],
                zero_point=-1,
                dtype=out,
            )


def _macs(view: OpView) -> int:
    return view.outputs[0].elements


def _spec(
    name: str,
    compute: Callable[[Array, Array], Array],
    quantized: Arithmetic | None,
    rule: QuantRule,
    *,
    integers: tuple[DType, ...] = _PLAIN_INTEGERS,
    activations: tuple[str, ...] = ("none",),
    low: float = -3.0,
) -> OpSpec:
    stored = () if quantized is None else SMALL if name == "add" else (DType.INT8,)
    infer = partial(_infer, integers=integers, quantized=stored)
    return OpSpec(
        name=name,
        infer=infer,
        reference=partial(_binary, compute=compute, quantized=quantized),
        macs=_macs,
        quantization=rule,
        in_place=((0, 0), (1, 0)),
        cases=partial(_add_cases, infer)
        if name == "add"
        else partial(
            _cases,
            infer,
            activations=activations,
            quantized=quantized is not None,
            one_scale=rule is QuantRule.JOINED,
            low=low,
        ),
    )


SPECS = (
    _spec("add", np.add, _add_int8, QuantRule.REQUANTIZED, activations=_FUSED),
    _spec("sub", np.subtract, _sub_int8, QuantRule.REQUANTIZED, activations=_FUSED),
    _spec("mul", np.multiply, _mul_int8, QuantRule.REQUANTIZED, activations=_FUSED),
    _spec("div", _divide, None, QuantRule.FLOAT_ONLY, activations=_FUSED),
    _spec("pow", np.power, None, QuantRule.FLOAT_ONLY, integers=(), low=0.1),
    _spec(
        "squared_difference", _squared_difference, _squared_difference_int8, QuantRule.REQUANTIZED
    ),
    _spec("maximum", np.maximum, partial(_same_scale_int8, compute=np.maximum), QuantRule.JOINED),
    _spec("minimum", np.minimum, partial(_same_scale_int8, compute=np.minimum), QuantRule.JOINED),
)
