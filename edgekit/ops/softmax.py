"""``softmax``: ``exp(beta * x) / sum(exp(beta * x))`` along an axis.

Input: x. Attributes: ``axis`` (default -1), ``beta`` (default 1), ``output_dtype`` (``int16`` lets
an int8 input have an int16 output).

Int8: output scale 1/256 and zero point -128 (int16 output: 1/65536 and -32768), by the fixed-point
exponential of gemmlowp (``fixedpoint/fixedpoint.h``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, DType
from edgekit.ops import cases, int8
from edgekit.ops.broadcast import normalized_axis
from edgekit.ops.checks import FLOATS, require_dtype
from edgekit.ops.fixed_point import exp_on_negative_values, one_over_one_plus_x
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType

_INPUT_INTEGER_BITS = 5
"""Differences to the maximum are held as Q5.26."""
_SUM_INTEGER_BITS = 12
"""Sums of exponentials are held as Q12.19."""


def _infer(view: OpView) -> list[TensorType]:
    x = view.input(0)
    normalized_axis(view.int_attr("axis", -1), len(x.shape), where=view.node.where)
    dtype = require_dtype(view, 0, (*FLOATS, DType.INT8))
    return [TensorType(x.shape, DType(view.str_attr("output_dtype", dtype.value)))]


def _reference(call: OpCall) -> list[Array]:
    x, axis = call.array(0), call.view.int_attr("axis", -1)
    last = np.moveaxis(x, axis, -1)
    compute = _int8 if x.dtype == np.int8 else _float
    return [np.ascontiguousarray(np.moveaxis(compute(call, last), -1, axis))]


def _float(call: OpCall, x: Array) -> Array:
    real = x.astype(np.float32)
    beta = np.float32(call.view.float_attr("beta", 1.0))
    powers = np.exp((real - real.max(axis=-1, keepdims=True)) * beta)
    result: Array = (powers / powers.sum(axis=-1, keepdims=True)).astype(x.dtype)
    return result


def _int8(call: OpCall, x: Array) -> Array:
    view, output = call.view, call.view.outputs[0]
    beta = view.float_attr("beta", 1.0)
    scaled = beta * float(int8.scale_of(view.input(0))) * 2.0 ** (31 - _INPUT_INTEGER_BITS)
    factor = int8.quantize_multipliers(min(scaled, 2.0**31 - 1.0))
    radius = math.floor(
        (2**_INPUT_INTEGER_BITS - 1) * 2.0 ** (31 - _INPUT_INTEGER_BITS) / 2.0 ** int(factor.shift)
    )
    wide = x.astype(np.int64)
    difference = wide - wide.max(axis=-1, keepdims=True)
    counted = difference >= -radius
    powers = exp_on_negative_values(
        int8.multiply(np.where(counted, difference, 0), factor), _INPUT_INTEGER_BITS
    )
    probabilities = _normalized(powers, counted, 8 * output.dtype.item_bytes)
    low, high = int8.integer_range(output.dtype)
    stored = np.clip(np.where(counted, probabilities + low, low), low, high)
    return stored.astype(output.dtype.numpy)


def _normalized(
    powers: int8.IntArray, counted: npt.NDArray[np.bool_], output_bits: int
) -> int8.IntArray:
    """Divide Q0.31 exponentials by their sum along the last axis, to ``output_bits`` bits."""
    terms = int8.rounding_shift_right(powers, _SUM_INTEGER_BITS)
    total = np.where(counted, terms, 0).sum(axis=-1, keepdims=True)
    leading_zeros = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    fraction = (total << leading_zeros) - (1 << 31)
    reciprocal = one_over_one_plus_x(fraction)
    exponent = _SUM_INTEGER_BITS - leading_zeros + 31 - output_bits
    return int8.rounding_shift_right(int8.high_mul(reciprocal, powers), exponent)


def _macs(view: OpView) -> int:
    return view.outputs[0].elements


def _cases() -> Iterable[OpCase]:
    for shape, axis, beta in (((1, 10), -1, 1.0), ((3, 5), -1, 0.5), ((2, 4, 3), 1, 1.0)):
        x, attrs = cases.float_input("x", shape, -9, 9), {"axis": axis, "beta": beta}
        name = "x".join(map(str, shape))
        yield cases.case(f"float_{name}", _infer, (x,), attrs, tolerance=1e-6)
        for scale in (0.02, 0.1, 0.9):
            x = cases.int8_input("x", shape, scale, 13)
            case_id = f"int8_{name}_scale{scale}"
            yield cases.case(case_id, _infer, (x,), attrs, scale=1 / 256, zero_point=-128)
    wide = {"output_dtype": "int16"}
    x = cases.int8_input("x", (2, 6), 0.1, 0)
    yield cases.case("int8_to_int16", _infer, (x,), wide, scale=1 / 65536, zero_point=-32768)


SPECS = (
    OpSpec(
        name="softmax",
        infer=_infer,
        reference=_reference,
        macs=_macs,
        quantization=QuantRule.FIXED_OUTPUT,
        fixed_output=(1 / 256, -128),
        in_place=((0, 0),),
        cases=_cases,
    ),
)
