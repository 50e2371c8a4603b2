"""Packed operators that work value by value: sums, tables, means."""

from __future__ import annotations

import math

import numpy as np

from edgekit.dtypes import DType
from edgekit.ops import int8
from edgekit.ops.checks import SMALL
from edgekit.ops.quantization import requantized
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.call import Field, KernelCall, call, no_kernel, require_types
from edgekit.runtime.lowering.elementwise import binary_fields
from edgekit.runtime.lowering.reductions import total_fields


def add(view: OpView) -> tuple[KernelCall, ...]:
    """Lower the sum of two operands of one shape."""
    require_types(view, 2, SMALL)
    first, second, y = view.input(0), view.input(1), view.outputs[0]
    if not first.shape == second.shape == y.shape:
        raise no_kernel(view, "both operands must have the shape of the sum")
    base = binary_fields(view)
    fields: dict[str, Field] = {f"base.{name}": field for name, field in base.items()}
    fields |= _pixels(view)
    fields |= {
        "first_bits": first.dtype.bits,
        "second_bits": second.dtype.bits,
        "output_bits": y.dtype.bits,
    }
    return (call("ek_add_packed", fields, first.name, second.name, y.name),)


def quantize(view: OpView) -> tuple[KernelCall, ...]:
    """Lower the change to another scale or number of bits: a table."""
    require_types(view, 1, SMALL)
    x, y = view.input(0), view.outputs[0]
    low, high = int8.integer_range(x.dtype)
    fields: dict[str, Field] = {
        **_pixels(view),
        "input_bits": x.dtype.bits,
        "output_bits": y.dtype.bits,
        "table": requantized(np.arange(low, high + 1), x, y),
    }
    return (call("ek_lookup_packed", fields, x.name, y.name),)


def mean(view: OpView) -> tuple[KernelCall, ...]:
    """Lower the mean of an image to int8."""
    x, y = view.input(0), view.outputs[0]
    shape = x.static_shape
    axes = {axis % len(shape) for axis in view.ints_attr("axes")}
    if len(shape) != 4 or axes != {1, 2} or y.dtype is not DType.INT8:
        raise no_kernel(view, "of packed values there is the mean over images, to int8")
    pixels = math.prod(shape[1:3])
    fields: dict[str, Field] = {
        "batches": shape[0],
        "pixels": pixels,
        "channels": shape[3],
        "input_bits": x.dtype.bits,
        **total_fields(view, pixels),
    }
    return (call("ek_reduce_sum_packed", fields, x.name, y.name),)


def _pixels(view: OpView) -> dict[str, Field]:
    shape = view.outputs[0].static_shape
    channels = shape[-1] if shape else 1
    return {"pixels": view.outputs[0].elements // channels, "channels": channels}
