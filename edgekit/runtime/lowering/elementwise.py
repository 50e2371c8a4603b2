"""Element-wise operators: arithmetic on two operands, and tables for functions of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgekit.dtypes import Array
from edgekit.graph import Tensor
from edgekit.ops import int8, spec_of
from edgekit.ops.quantization import requantized
from edgekit.ops.spec import OpCall, OpView
from edgekit.runtime.lowering.call import (
    Field,
    KernelCall,
    call,
    dense_strides,
    merged_axes,
    no_kernel,
    require_types,
)

_SUM_LEFT_SHIFT = 20
_DIFFERENCE_LEFT_SHIFT = 7
"""As in :mod:`edgekit.ops.elementwise`."""

Factors = tuple[int, float, float, float]
"""Left shift of the operands, their factors, the factor of the result."""


def _sum_factors(view: OpView) -> Factors:
    first, second, output = _scales(view)
    twice = 2.0 * max(first, second)
    return _SUM_LEFT_SHIFT, first / twice, second / twice, twice / ((1 << _SUM_LEFT_SHIFT) * output)


def _product_factors(view: OpView) -> Factors:
    first, second, output = _scales(view)
    return 0, 0.0, 0.0, first * second / output


def _squared_factors(view: OpView) -> Factors:
    first, second, output = _scales(view)
    twice = 2.0 * max(first, second)
    divisor = float(np.float32(1 << (2 * _DIFFERENCE_LEFT_SHIFT)) * np.float32(output))
    return _DIFFERENCE_LEFT_SHIFT, first / twice, second / twice, twice * twice / divisor


def _scales(view: OpView) -> tuple[float, float, float]:
    tensors = view.input(0), view.input(1), view.outputs[0]
    first, second, output = (float(int8.scale_of(tensor)) for tensor in tensors)
    return first, second, output


_FACTORS: dict[str, Callable[[OpView], Factors]] = {
    "add": _sum_factors,
    "sub": _sum_factors,
    "mul": _product_factors,
    "squared_difference": _squared_factors,
}


def binary(view: OpView) -> tuple[KernelCall, ...]:
    """Lower arithmetic on two operands that are broadcast."""
    require_types(view, 2)
    names = view.input(0).name, view.input(1).name, view.outputs[0].name
    function = f"ek_{view.node.op}_s8"
    return (KernelCall(function, "ek_binary_s8_params", binary_fields(view), names),)


def binary_fields(view: OpView) -> dict[str, Field]:
    """Return shapes, strides and factors of arithmetic on two operands."""
    shape = view.outputs[0].static_shape
    strides = [broadcast_strides(view.input(index).static_shape, shape) for index in range(2)]
    dims, first, second = merged_axes(view, shape, *strides)
    low, high = int8.activation_range(view.str_attr("activation", "none"), view.outputs[0])
    fields: dict[str, Field] = {"dims": dims, "first_strides": first, "second_strides": second}
    fields |= _arithmetic(view) if view.node.op in _FACTORS else _comparison(view)
    return {**fields, "activation_min": low, "activation_max": high}


def broadcast_strides(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """Return strides, as many as ``target`` has axes, by which a shape is broadcast to it."""
    own = dense_strides(shape)
    missing = len(target) - len(shape)
    kept = [0 if dim == 1 else stride for dim, stride in zip(shape, own, strict=True)]
    return (*(0 for _ in range(missing)), *kept)


def _arithmetic(view: OpView) -> dict[str, Field]:
    left_shift, *factors = _FACTORS[view.node.op](view)
    tensors = view.input(0), view.input(1), view.outputs[0]
    fields: dict[str, Field] = {"left_shift": left_shift}
    for name, factor, tensor in zip(("first", "second", "output"), factors, tensors, strict=True):
        multiplier, shift = int8.quantize_multiplier(factor)
        fields |= {
            f"{name}_zero_point": int8.zero_point_of(tensor),
            f"{name}_multiplier": multiplier,
            f"{name}_shift": shift,
        }
    return fields


def _comparison(view: OpView) -> dict[str, Field]:
    for tensor in (view.input(0), view.input(1)):
        if not int8.quantization_of(tensor).same_as(view.outputs[0].quantization):
            raise no_kernel(view, "one scale for all is needed")
    names = [f"{name}_{kind}" for name in _OPERANDS for kind in ("zero_point", *_FACTOR)]
    return {"left_shift": 0, **dict.fromkeys(names, 0)}


_OPERANDS = ("first", "second", "output")
_FACTOR = ("multiplier", "shift")


def lookup(view: OpView) -> tuple[KernelCall, ...]:
    """Lower any function of one int8: the reference fills a table."""
    require_types(view, 1)
    x, output = view.input(0), view.outputs[0]
    return (table_call(x, output, function_table(view), (1, x.elements, x.elements)),)


def function_table(view: OpView) -> Array:
    """Return the node's stored output for each stored input from -128 to 127, as int8."""
    values = np.arange(-128, 128).astype(np.int8)
    shape = values.shape
    tensors = tuple(t and replace(t, shape=shape) for t in view.inputs[:1])
    of_table = OpView(view.node, tensors, (replace(view.outputs[0], shape=shape),))
    return np.asarray(spec_of(view.node).reference(OpCall(of_table, (values,)))[0])


def table_call(
    x: Tensor, output: Tensor, table: Array, rows: tuple[int, int, int], start: int = 0
) -> KernelCall:
    """Return the call that looks ``x`` up.

    Parameters
    ----------
    table : array of int8, shape (256,)
    rows : (rows, columns, output stride)
    start : int
        First element of the output.
    """
    fields: dict[str, Field] = {
        "rows": rows[0],
        "columns": rows[1],
        "output_start": start,
        "output_stride": rows[2],
        "table": table,
    }
    return call("ek_lookup_s8", fields, x.name, output.name)


def requantize_table(x: Tensor, output: Tensor) -> Array:
    """Return the table that brings stored int8 values from one scale to another."""
    return requantized(np.arange(-128, 128), x, output)
