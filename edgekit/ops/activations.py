"""Activation functions of one operand.

``relu``, ``relu6``, ``relu_n1_1``, ``sigmoid``, ``tanh``, ``hard_swish``: no attributes.
``leaky_relu``: ``alpha``. ``elu``: ``alpha`` (int8: 1). ``hard_sigmoid``: ``alpha``, ``beta``,
``clip(alpha * x + beta, 0, 1)``, floating point only.

Int8: sigmoid has the output scale 1/256 and zero point -128, tanh 1/128 and 0, both by gemmlowp's
fixed-point functions; the others rescale to any output scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Attr
from edgekit.ops import cases, fixed_point, int8
from edgekit.ops.broadcast import clamp
from edgekit.ops.checks import FLOATS, require_dtype
from edgekit.ops.hard_swish_int8 import hard_swish_int8
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType

Float = npt.NDArray[np.float32]

_INPUT_INTEGER_BITS = 4
"""Arguments of sigmoid and tanh are held as Q4.27."""


def _infer(view: OpView, *, quantized: bool) -> list[TensorType]:
    dtype = require_dtype(view, 0, (*FLOATS, DType.INT8) if quantized else FLOATS)
    return [TensorType(view.input(0).shape, dtype)]


def _apply(
    call: OpCall,
    real: Callable[[OpView, Float], Array],
    quantized: Callable[[OpView, Array], Array] | None,
) -> list[Array]:
    x = call.array(0)
    if x.dtype == np.int8 and quantized is not None:
        return [quantized(call.view, x)]
    return [real(call.view, x.astype(np.float32)).astype(x.dtype)]


def _relu_int8(view: OpView, x: Array, activation: str) -> Array:
    factor = float(int8.scale_of(view.input(0))) / float(int8.scale_of(view.outputs[0]))
    difference = int8.centred(x, view.input(0))
    return int8.store(difference, int8.quantize_multipliers(factor), view.outputs[0], activation)


def _sigmoid(_: OpView, x: Float) -> Array:
    # exp of the negative magnitude cannot overflow.
    power = np.exp(-np.abs(x))
    return np.where(x >= 0, np.float32(1), power) / (np.float32(1) + power)


def _saturating_int8(
    view: OpView, x: Array, function: Callable[[int8.IntArray, int], int8.IntArray], bits: int
) -> Array:
    """Apply a function that saturates, from Q4.27 to Q0.31, and keep ``bits`` bits of the result.

    Beyond the radius that Q4.27 holds, the result is the lowest or the highest int8.
    """
    factor = int8.quantize_multipliers(
        float(int8.scale_of(view.input(0))) * 2.0 ** (31 - _INPUT_INTEGER_BITS)
    )
    whole = (2**_INPUT_INTEGER_BITS - 1) * 2.0 ** (31 - _INPUT_INTEGER_BITS)
    radius = math.floor(whole / 2.0 ** int(factor.shift))
    difference = int8.centred(x, view.input(0))
    inside = np.abs(difference) < radius
    argument = int8.multiply(np.where(inside, difference, 0), factor)
    value = int8.rounding_shift_right(function(argument, _INPUT_INTEGER_BITS), 31 - bits)
    stored = np.clip(value + (-128 if bits == 8 else 0), -128, 127)
    edges = np.where(difference < 0, -128, 127)
    return np.where(inside, stored, edges).astype(np.int8)


def _leaky_relu(view: OpView, x: Float) -> Array:
    return np.where(x > 0, x, x * np.float32(view.float_attr("alpha")))


def _leaky_relu_int8(view: OpView, x: Array) -> Array:
    scale, out = int8.scale_of(view.input(0)), int8.scale_of(view.outputs[0])
    alpha = np.float32(view.float_attr("alpha"))
    difference = int8.centred(x, view.input(0))
    rescaled = np.where(
        difference >= 0,
        int8.multiply(difference, int8.quantize_multipliers(float(scale / out))),
        int8.multiply(difference, int8.quantize_multipliers(float(scale * alpha / out))),
    )
    return int8.saturate(rescaled + int8.zero_point_of(view.outputs[0]), DType.INT8)


def _elu(view: OpView, x: Float) -> Array:
    alpha = np.float32(view.float_attr("alpha", 1.0))
    return np.where(x < 0, alpha * (np.exp(np.minimum(x, 0)) - np.float32(1)), x)


def _elu_int8(view: OpView, x: Array) -> Array:
    """Look each of the 256 values up in a table that floating point fills."""
    if view.float_attr("alpha", 1.0) != 1.0:
        raise ModelError(f"layer {view.node.where}: int8 elu needs alpha 1")
    inverse = np.float32(1) / int8.scale_of(view.outputs[0])
    real = int8.scale_of(view.input(0)) * int8.centred(x, view.input(0)).astype(np.float32)
    scaled = (_elu(view, real).astype(np.float32) * inverse).astype(np.float64)
    rounded = np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int64)
    return int8.saturate(rounded + int8.zero_point_of(view.outputs[0]), DType.INT8)


def _hard_swish(_: OpView, x: Float) -> Array:
    gate = np.clip(x + np.float32(3), np.float32(0), np.float32(6))
    return np.asarray(np.divide(np.multiply(x, gate), np.float32(6)))


def _hard_sigmoid(view: OpView, x: Float) -> Array:
    alpha, beta = view.float_attr("alpha", 0.2), view.float_attr("beta", 0.5)
    line = np.add(np.multiply(np.float32(alpha), x), np.float32(beta))
    return np.asarray(np.clip(line, np.float32(0), np.float32(1)))


def _macs(view: OpView) -> int:
    return view.outputs[0].elements


def _cases(
    infer: Callable[[OpView], list[TensorType]],
    output: tuple[float, int] | None,
    attrs: dict[str, Attr],
    *,
    keeps_scale: bool,
) -> Iterable[OpCase]:
    """Yield all 256 values of int8 on several scales, to the scale ``output`` and to their own."""
    for shape in ((1, 16), (2, 3, 5, 4)):
        x = cases.float_input("x", shape, -9, 9)
        case_id = f"float_{'x'.join(map(str, shape))}"
        yield cases.case(case_id, infer, (x,), attrs, tolerance=1e-5)
    for scale, zero_point in ((0.05, -11), (0.11, 40), (0.4, 0)):
        tensor, _ = cases.int8_input("x", (256,), scale, zero_point)
        x = (tensor, np.arange(-128, 128).astype(np.int8))
        same = scale, zero_point
        for kind, target in (("same", same if keeps_scale else None), ("other", output)):
            if target is not None:
                yield cases.case(
                    f"int8_{kind}_scale{scale}",
                    infer,
                    (x,),
                    attrs,
                    scale=target[0],
                    zero_point=target[1],
                )


def _spec(
    name: str,
    real: Callable[[OpView, Float], Array],
    quantized: Callable[[OpView, Array], Array] | None,
    rule: QuantRule,
    *,
    fixed: tuple[float, int] | None = None,
    attrs: dict[str, Attr] | None = None,
) -> OpSpec:
    infer = partial(_infer, quantized=quantized is not None)
    case_output = fixed or (None if quantized is None else (0.06, -30))
    return OpSpec(
        name=name,
        infer=infer,
        reference=partial(_apply, real=real, quantized=quantized),
        macs=_macs,
        quantization=rule,
        fixed_output=fixed,
        in_place=((0, 0),),
        cases=partial(
            _cases,
            infer,
            case_output,
            attrs or {},
            keeps_scale=quantized is not None and fixed is None,
        ),
    )


def _relu(name: str) -> OpSpec:
    return _spec(
        name,
        lambda _, x: clamp(x, name),
        partial(_relu_int8, activation=name),
        QuantRule.REQUANTIZED,
    )


SPECS = (
    _relu("relu"),
    _relu("relu6"),
    _relu("relu_n1_1"),
    _spec(
        "sigmoid",
        _sigmoid,
        partial(_saturating_int8, function=fixed_point.logistic, bits=8),
        QuantRule.FIXED_OUTPUT,
        fixed=(1 / 256, -128),
    ),
    _spec(
        "tanh",
        lambda _, x: np.tanh(x),
        partial(_saturating_int8, function=fixed_point.tanh, bits=7),
        QuantRule.FIXED_OUTPUT,
        fixed=(1 / 128, 0),
    ),
    _spec(
        "leaky_relu", _leaky_relu, _leaky_relu_int8, QuantRule.REQUANTIZED, attrs={"alpha": 0.125}
    ),
    _spec("elu", _elu, _elu_int8, QuantRule.REQUANTIZED, attrs={"alpha": 1.0}),
    _spec("hard_swish", _hard_swish, hard_swish_int8, QuantRule.REQUANTIZED),
    _spec(
        "hard_sigmoid",
        _hard_sigmoid,
        None,
        QuantRule.FLOAT_ONLY,
        attrs={"alpha": 0.2, "beta": 0.5},
    ),
)
