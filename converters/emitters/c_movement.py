"""Operators that move elements, in generated C: every one is a strided copy, or several."""

from __future__ import annotations

import math

import numpy as np

from edgekit.converters.emitters.c_call import CallSite, CCall, no_kernel
from edgekit.converters.emitters.c_elementwise import (
    c_numbers,
    dense_strides,
    filled_axes,
)
from edgekit.dtypes import DType
from edgekit.graph import Tensor
from edgekit.ops import int8
from edgekit.ops.broadcast import normalized_axis
from edgekit.ops.quantization import requantized
from edgekit.ops.spec import OpView

Shape = tuple[int, ...]


def transpose(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of a transposition."""
    view = site.view
    strides = dense_strides(view.input(0).static_shape)
    turned = tuple(strides[axis] for axis in view.ints_attr("perm"))
    shape = view.outputs[0].static_shape
    return (_copy(site, site.input(0), shape, 0, turned, 0, dense_strides(shape)),)


def pad(site: CallSite) -> tuple[CCall, ...]:
    """Return the calls that fill the output and copy the input into it."""
    view = site.view
    source, target = view.input(0), view.outputs[0]
    if view.str_attr("mode", "constant") != "constant":
        raise no_kernel(view)
    value = np.full(1, _stored_constant(view), target.dtype.numpy).view(np.uint8)
    if np.unique(value).size != 1:
        raise no_kernel(view)
    fill = {"bytes": str(target.size_bytes), "value": str(int(value[0]))}
    strides = dense_strides(target.static_shape)
    before = [pair[0] for pair in view.pairs_attr("padding")]
    start = sum(count * stride for count, stride in zip(before, strides, strict=True))
    shape = source.static_shape
    return (
        CCall("ek_fill", "ek_fill_params", fill, (site.output(),)),
        _copy(site, site.input(0), shape, 0, dense_strides(shape), start, strides),
    )


def _stored_constant(view: OpView) -> float:
    value, tensor = view.float_attr("value", 0.0), view.input(0)
    if tensor.dtype.is_float or tensor.quantization is None:
        return value
    return float(int8.stored_from_real(np.array(value, np.float32), tensor))


def cut(site: CallSite) -> tuple[CCall, ...]:
    """Return the call that copies a regular part of a tensor."""
    view = site.view
    shape, target = view.input(0).static_shape, view.outputs[0].static_shape
    bounds = zip(*(view.ints_attr(name) for name in ("begin", "end", "strides")), strict=True)
    parts = [slice(*part).indices(dim) for dim, part in zip(shape, bounds, strict=True)]
    strides = dense_strides(shape)
    start = sum(part[0] * stride for part, stride in zip(parts, strides, strict=True))
    stepped = tuple(part[2] * stride for part, stride in zip(parts, strides, strict=True))
    return (_copy(site, site.input(0), target, start, stepped, 0, dense_strides(target)),)


def concat(site: CallSite) -> tuple[CCall, ...]:
    """Return one call for each input: a copy, or a table where its scale is another."""
    view, target = site.view, site.view.outputs[0]
    shape = target.static_shape
    axis = normalized_axis(view.int_attr("axis"), len(shape), where=view.node.where)
    if view.str_attr("activation", "none") != "none":
        raise no_kernel(view)
    calls: list[CCall] = []
    start = 0
    inner = math.prod(shape[axis + 1 :])
    for index in range(len(view.inputs)):
        source = view.input(index)
        if _needs_rescaling(source, target):
            calls.append(_rescaled(site, index, axis, start))
        else:
            dims = source.static_shape
            calls.append(
                _copy(
                    site,
                    site.input(index),
                    dims,
                    0,
                    dense_strides(dims),
                    start,
                    dense_strides(shape),
                )
            )
        start += source.static_shape[axis] * inner
    return tuple(calls)


def _needs_rescaling(source: Tensor, target: Tensor) -> bool:
    if source.quantization is None or target.quantization is None:
        return False
    return not source.quantization.same_as(target.quantization)


def _rescaled(site: CallSite, index: int, axis: int, start: int) -> CCall:
    view, source, target = site.view, site.view.input(index), site.view.outputs[0]
    if source.dtype is not DType.INT8 or target.dtype is not DType.INT8:
        raise no_kernel(view)
    table = requantized(np.arange(-128, 128).astype(np.int8), source, target)
    fields = {
        "rows": str(math.prod(source.static_shape[:axis])),
        "columns": str(math.prod(source.static_shape[axis:])),
        "output_stride": str(math.prod(target.static_shape[axis:])),
        "table": site.pool.array(table, "int8_t", f"table of {view.node.name}"),
    }
    arguments = (site.input(index), f"({site.output()} + {start})")
    return CCall("ek_lookup_s8", "ek_lookup_s8_params", fields, arguments)


def _copy(
    site: CallSite,
    source: str,
    dims: Shape,
    input_start: int,
    input_strides: Shape,
    output_start: int,
    output_strides: Shape,
) -> CCall:
    view = site.view
    fields = {
        "item_bytes": str(view.outputs[0].dtype.item_bytes),
        "dims": c_numbers(filled_axes(dims, 1, view=view)),
        "input_start": str(input_start),
        "input_strides": c_numbers(filled_axes(input_strides, 0, view=view)),
        "output_start": str(output_start),
        "output_strides": c_numbers(filled_axes(output_strides, 0, view=view)),
    }
    return CCall("ek_copy", "ek_copy_params", fields, (source, site.output()))
