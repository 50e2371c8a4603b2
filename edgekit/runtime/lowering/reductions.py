"""Softmax and reductions along axes."""

from __future__ import annotations

import math

import numpy as np

from edgekit.dtypes import DType
from edgekit.ops import int8
from edgekit.ops.fixed_point import exp_on_negative_values
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.call import (
    Field,
    KernelCall,
    dense_strides,
    merged_axes,
    no_kernel,
    require_types,
)

_INPUT_INTEGER_BITS = 5
"""As in :mod:`edgekit.ops.softmax`: differences to the maximum are held as Q5.26."""

_FUNCTIONS = {
    "reduce_mean": "ek_reduce_sum_s8",
    "reduce_sum": "ek_reduce_sum_s8",
    "reduce_max": "ek_reduce_max_s8",
    "reduce_min": "ek_reduce_min_s8",
}


def softmax(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a softmax; powers are a table of 256 entries."""
    x, y = view.input(0), view.outputs[0]
    functions = {DType.INT8: "ek_softmax_s8", DType.INT16: "ek_softmax_s8_s16"}
    if x.dtype is not DType.INT8 or y.dtype not in functions:
        raise no_kernel(view)
    shape = x.static_shape
    axis = view.int_attr("axis", -1) % len(shape)
    fields: dict[str, Field] = {
        "outer": math.prod(shape[:axis]),
        "depth": shape[axis],
        "inner": math.prod(shape[axis + 1 :]),
        "powers": softmax_powers(view),
    }
    name = functions[y.dtype]
    return (KernelCall(name, "ek_softmax_s8_params", fields, (x.name, y.name)),)


def softmax_powers(view: OpView) -> int8.IntArray:
    """Return ``exp`` of 0 to -255 steps of the input as Q0.31, zero for what is not counted."""
    fraction_bits = 31 - _INPUT_INTEGER_BITS
    scaled = view.float_attr("beta", 1.0) * float(int8.scale_of(view.input(0))) * 2.0**fraction_bits
    factor = int8.quantize_multipliers(min(scaled, 2.0**31 - 1.0))
    whole = (2**_INPUT_INTEGER_BITS - 1) * 2.0**fraction_bits
    radius = math.floor(whole / 2.0 ** int(factor.shift))
    difference = -np.arange(256)
    counted = difference >= -radius
    argument = int8.multiply(np.where(counted, difference, 0), factor)
    powers = exp_on_negative_values(argument, _INPUT_INTEGER_BITS)
    return np.where(counted, powers, 0).astype(np.int32)


def reduce(view: OpView) -> tuple[KernelCall, ...]:
    """Lower mean, sum, maximum or minimum over axes."""
    require_types(view, 1)
    x = view.input(0)
    shape, strides = x.static_shape, dense_strides(x.static_shape)
    axes = {axis % len(shape) for axis in view.ints_attr("axes")}
    kept = tuple(axis for axis in range(len(shape)) if axis not in axes)
    parts = []
    for chosen in (kept, tuple(sorted(axes))):
        dims = tuple(shape[axis] for axis in chosen)
        parts.append(merged_axes(view, dims, tuple(strides[axis] for axis in chosen)))
    fields: dict[str, Field] = {
        "kept_dims": parts[0][0],
        "kept_strides": parts[0][1],
        "reduced_dims": parts[1][0],
        "reduced_strides": parts[1][1],
        **total_fields(view, math.prod(shape[axis] for axis in axes)),
    }
    names = x.name, view.outputs[0].name
    return (KernelCall(_FUNCTIONS[view.node.op], "ek_reduce_s8_params", fields, names),)


def total_fields(view: OpView, count: int) -> dict[str, Field]:
    """Return how a total of ``count`` elements is rescaled; a mean divides in the multiplier."""
    names = ("bias", "multiplier", "shift", "output_zero_point")
    if view.node.op not in ("reduce_mean", "reduce_sum"):
        return dict.fromkeys(names, 0)
    x, y = view.input(0), view.outputs[0]
    multiplier, shift = int8.quantize_multiplier(float(int8.scale_of(x)) / float(int8.scale_of(y)))
    if view.node.op == "reduce_mean":
        extra = min(count.bit_length() - 1, 32, 31 + shift)
        multiplier = (multiplier << extra) // count
        shift -= extra
    values = -int8.zero_point_of(x) * count, multiplier, shift, int8.zero_point_of(y)
    return dict(zip(names, values, strict=True))
