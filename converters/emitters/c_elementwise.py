"""Element-wise operators in generated C: two operands, tables of one, scales, softmax."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgekit.converters.emitters.c_call import CallSite, CCall, no_kernel
from edgekit.converters.emitters.c_weights import c_float
from edgekit.converters.emitters.c_windows import activation_fields, require_int8, require_types
from edgekit.dtypes import DType
from edgekit.graph import Tensor
from edgekit.ops import int8, spec_of
from edgekit.ops.broadcast import normalized_axis
from edgekit.ops.fixed_point import exp_on_negative_values
from edgekit.ops.spec import OpCall, OpView

AXES = 6
"""Axes that kernels with strides take."""

SUM_LEFT_SHIFT = 20
DIFFERENCE_LEFT_SHIFT = 7
SOFTMAX_INTEGER_BITS = 5
"""As in the reference of each operator."""

LEVELS = 256


def c_numbers(values: tuple[int, ...]) -> str:
    """Return the initializer of an array of integers."""
    return "{" + ", ".join(map(str, values)) + "}"


def filled_axes(values: tuple[int, ...], filler: int, *, view: OpView) -> tuple[int, ...]:
    """Return ``AXES`` values, ``filler`` before the given ones."""
    if len(values) > AXES:
        raise no_kernel(view)
    return (filler,) * (AXES - len(values)) + values


def dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return elements from one index to the next along every axis."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def add(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of a sum."""
    return _sum(site, sign=1)


def sub(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of a difference."""
    return _sum(site, sign=-1)


def _sum(site: CallSite, *, sign: int) -> tuple[CCall, ...]:
    first, second, output = _scales(site.view)
    twice = 2.0 * max(first, second)
    factors = {
        "first": int8.quantize_multiplier(first / twice),
        "second": int8.quantize_multiplier(second / twice),
        "output": int8.quantize_multiplier(twice / ((1 << SUM_LEFT_SHIFT) * output)),
    }
    factors["second"] = (sign * factors["second"][0], factors["second"][1])
    return _binary(site, "ek_add_s8", SUM_LEFT_SHIFT, factors)


def mul(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of a product."""
    first, second, output = _scales(site.view)
    factor = int8.quantize_multiplier(first * second / output)
    return _binary(site, "ek_mul_s8", 0, {"output": factor})


def _scales(view: OpView) -> tuple[float, float, float]:
    require_int8(view, 2)
    tensors = (view.input(0), view.input(1), view.outputs[0])
    first, second, output = (float(int8.scale_of(tensor)) for tensor in tensors)
    return first, second, output


def _binary(
    site: CallSite, function: str, left_shift: int, factors: dict[str, tuple[int, int]]
) -> tuple[CCall, ...]:
    view = site.view
    fields = {
        "dims": c_numbers(filled_axes(view.outputs[0].static_shape, 1, view=view)),
        "first_strides": c_numbers(_broadcast_strides(view, view.input(0))),
        "second_strides": c_numbers(_broadcast_strides(view, view.input(1))),
        "left_shift": str(left_shift),
        "first_zero_point": str(int8.zero_point_of(view.input(0))),
        "second_zero_point": str(int8.zero_point_of(view.input(1))),
        "output_zero_point": str(int8.zero_point_of(view.outputs[0])),
        **activation_fields(view),
    }
    for name, (multiplier, shift) in factors.items():
        fields |= {f"{name}_multiplier": str(multiplier), f"{name}_shift": str(shift)}
    arguments = (site.input(0), site.input(1), site.output())
    return (CCall(function, "ek_binary_s8_params", fields, arguments),)


def _broadcast_strides(view: OpView, tensor: Tensor) -> tuple[int, ...]:
    strides = tuple(
        0 if dim == 1 else stride
        for dim, stride in zip(tensor.static_shape, dense_strides(tensor.static_shape), strict=True)
    )
    return filled_axes(strides, 0, view=view)


def lookup(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of an operator that maps each int8 to an int8, by a table of all values."""
    view = site.view
    require_int8(view)
    table = _table(view)
    elements = str(view.outputs[0].elements)
    fields = {
        "rows": "1",
        "columns": elements,
        "output_stride": elements,
        "table": site.pool.array(table, "int8_t", f"table of {view.node.name}"),
    }
    name = "ek_lookup_s8"
    return (CCall(name, f"{name}_params", fields, (site.input(0), site.output())),)


def _table(view: OpView) -> npt.NDArray[np.int8]:
    """Return what the reference makes of -128 to 127."""
    levels = np.arange(-128, 128).astype(np.int8)
    inputs = (replace(view.input(0), shape=(LEVELS,)), *view.inputs[1:])
    outputs = (replace(view.outputs[0], shape=(LEVELS,)),)
    call = OpCall(OpView(view.node, inputs, outputs), (levels, *[None] * (len(inputs) - 1)))
    return spec_of(view.node).reference(call)[0].astype(np.int8)


def softmax(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of a softmax."""
    view = site.view
    wide = view.outputs[0].dtype is DType.INT16
    require_types(view, DType.INT8, DType.INT16 if wide else DType.INT8)
    shape = view.input(0).static_shape
    axis = normalized_axis(view.int_attr("axis", -1), len(shape), where=view.node.where)
    fields = {
        "outer": str(math.prod(shape[:axis])),
        "depth": str(shape[axis]),
        "inner": str(math.prod(shape[axis + 1 :])),
        "powers": site.pool.array(_powers(view), "int32_t", f"powers of {view.node.name}"),
    }
    function = "ek_softmax_s8_s16" if wide else "ek_softmax_s8"
    return (CCall(function, "ek_softmax_s8_params", fields, (site.input(0), site.output())),)


def _powers(view: OpView) -> npt.NDArray[np.int32]:
    """Return exp of minus 0 to 255 steps of the input's scale as Q0.31, zero where negligible."""
    fraction_bits = 31 - SOFTMAX_INTEGER_BITS
    beta = view.float_attr("beta", 1.0)
    scaled = beta * float(int8.scale_of(view.input(0))) * 2.0**fraction_bits
    factor = int8.quantize_multipliers(min(scaled, 2.0**31 - 1.0))
    largest = (2**SOFTMAX_INTEGER_BITS - 1) * 2.0**fraction_bits
    counted = np.arange(LEVELS) <= math.floor(largest / 2.0 ** int(factor.shift))
    difference = np.where(counted, -np.arange(LEVELS), 0)
    powers = exp_on_negative_values(int8.multiply(difference, factor), SOFTMAX_INTEGER_BITS)
    return np.where(counted, powers, 0).astype(np.int32)


def quantize(site: CallSite) -> tuple[CCall, ...]:
    """Return the call that quantizes floats, or brings stored values to another scale."""
    view = site.view
    source, target = view.input(0), view.outputs[0]
    if source.dtype is DType.INT8:
        return lookup(site)
    arguments = (site.input(0), site.output())
    if source.dtype is DType.FLOAT32:
        require_types(view, DType.FLOAT32, DType.INT8)
        fields = _scale_fields(target)
        return (CCall("ek_quantize_f32_s8", "ek_quantize_params", fields, arguments),)
    suffix = {DType.INT8: "s16_s8", DType.INT32: "s16_s32"}.get(target.dtype)
    if source.dtype is not DType.INT16 or suffix is None:
        raise no_kernel(view)
    factor = float(int8.scale_of(source)) / float(int8.scale_of(target))
    multiplier, shift = int8.quantize_multiplier(factor)
    fields = {
        "elements": str(target.elements),
        "input_zero_point": str(int8.zero_point_of(source)),
        "multiplier": str(multiplier),
        "shift": str(shift),
        "output_zero_point": str(int8.zero_point_of(target)),
    }
    return (CCall(f"ek_requantize_{suffix}", "ek_requantize_params", fields, arguments),)


def dequantize(site: CallSite) -> tuple[CCall, ...]:
    """Return the call that gives the real values of int8."""
    view = site.view
    require_types(view, DType.INT8, DType.FLOAT32)
    if int8.quantization_of(view.input(0)).axis is not None:
        raise no_kernel(view)
    fields = _scale_fields(view.input(0))
    arguments = (site.input(0), site.output())
    return (CCall("ek_dequantize_s8_f32", "ek_quantize_params", fields, arguments),)


def _scale_fields(tensor: Tensor) -> dict[str, str]:
    return {
        "elements": str(tensor.elements),
        "zero_point": str(int8.zero_point_of(tensor)),
        "scale": c_float(float(int8.scale_of(tensor))),
    }
