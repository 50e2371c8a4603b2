"""Operators that move elements: strided copies."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from edgekit.dtypes import DType
from edgekit.graph import Tensor
from edgekit.ops import int8
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.call import (
    Field,
    KernelCall,
    call,
    dense_strides,
    merged_axes,
    no_kernel,
)
from edgekit.runtime.lowering.cases import when, zeros
from edgekit.runtime.lowering.elementwise import requantize_table, table_call

Strides = tuple[int, ...]
Place = tuple[int, Strides]
"""First element and strides."""


def copy(view: OpView, x: Tensor, y: Tensor, dims: Strides, source: Place, to: Place) -> KernelCall:
    """Return the call that copies ``dims`` elements from places of ``x`` to places of ``y``."""
    merged, from_strides, to_strides = merged_axes(view, dims, source[1], to[1])
    fields: dict[str, Field] = {
        "item_bytes": x.dtype.item_bytes,
        "dims": merged,
        "input_start": source[0],
        "input_strides": from_strides,
        "output_start": to[0],
        "output_strides": to_strides,
    }
    return call("ek_copy", fields, x.name, y.name)


def reshape(view: OpView) -> tuple[KernelCall, ...]:
    """Lower what keeps all bytes, for the case that the output has a place of its own."""
    x, y = view.input(0), view.outputs[0]
    whole = (0, (1,))
    return (copy(view, x, y, (x.elements,), whole, whole),)


def transpose(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a permutation of the axes."""
    x, y = view.input(0), view.outputs[0]
    own = dense_strides(x.static_shape)
    turned = tuple(own[axis] for axis in view.ints_attr("perm"))
    target = dense_strides(y.static_shape)
    return (copy(view, x, y, y.static_shape, (0, turned), (0, target)),)


def slice_(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a slice; strides may be negative."""
    x, y = view.input(0), view.outputs[0]
    bounds = (view.ints_attr(name) for name in ("begin", "end", "strides"))
    start, strides = 0, []
    own = dense_strides(x.static_shape)
    for dim, stride, limits in zip(x.static_shape, own, zip(*bounds, strict=True), strict=True):
        begin, _, step = slice(*limits).indices(dim)
        start += begin * stride
        strides.append(step * stride)
    target = dense_strides(y.static_shape)
    return (copy(view, x, y, y.static_shape, (start, tuple(strides)), (0, target)),)


def expand(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a broadcast to a shape."""
    x, y = view.input(0), view.outputs[0]
    missing = len(y.static_shape) - len(x.static_shape)
    own = zip(x.static_shape, dense_strides(x.static_shape), strict=True)
    strides = (*(0 for _ in range(missing)), *(0 if dim == 1 else step for dim, step in own))
    target = dense_strides(y.static_shape)
    return (copy(view, x, y, y.static_shape, (0, strides), (0, target)),)


def tile(view: OpView) -> tuple[KernelCall, ...]:
    """Lower repetitions: each axis is two, the outer one without movement in the input."""
    x, y = view.input(0), view.outputs[0]
    own, target = dense_strides(x.static_shape), dense_strides(y.static_shape)
    dims: list[int] = []
    source: list[int] = []
    to: list[int] = []
    for axis, count in enumerate(view.ints_attr("repeats")):
        dim = x.static_shape[axis]
        dims += [count, dim]
        source += [0, own[axis]]
        to += [target[axis] * dim, target[axis]]
    return (copy(view, x, y, tuple(dims), (0, tuple(source)), (0, tuple(to))),)


def pad(view: OpView) -> tuple[KernelCall, ...]:
    """Lower padding: the input into its place, and around it a constant or what mirrors it."""
    x, y = view.input(0), view.outputs[0]
    target = dense_strides(y.static_shape)
    pairs = view.pairs_attr("padding")
    start = sum(pair[0] * stride for pair, stride in zip(pairs, target, strict=True))
    source = (0, dense_strides(x.static_shape))
    inside = copy(view, x, y, x.static_shape, source, (start, target))
    mode = view.str_attr("mode", "constant")
    if mode == "constant":
        return (_fill(view, y), inside)
    return (inside, *(call for axis in range(len(pairs)) for call in _borders(view, axis, mode)))


def _fill(view: OpView, y: Tensor) -> KernelCall:
    value = view.float_attr("value", 0.0)
    if y.dtype is DType.INT8:
        stored = _pad_value(view)
        return call("ek_fill", {"bytes": y.elements, "value": stored}, y.name)
    if value == 0.0 and y.quantization is None:
        return call("ek_fill", {"bytes": y.size_bytes, "value": 0}, y.name)
    if y.dtype is not DType.FLOAT32:
        raise no_kernel(view)
    bits = int(np.float32(value).view(np.int32))
    return call("ek_fill_words", {"words": y.elements, "value": bits}, y.name)


def _borders(view: OpView, axis: int, mode: str) -> Iterator[KernelCall]:
    """Yield copies within the output that fill both ends of an axis; axes before are whole."""
    y = view.outputs[0]
    pairs, strides = view.pairs_attr("padding"), dense_strides(y.static_shape)
    sizes = list(y.static_shape)
    start = 0
    for later in range(axis + 1, len(pairs)):
        sizes[later] -= sum(pairs[later])
        start += pairs[later][0] * strides[later]
    (before, after), step = pairs[axis], strides[axis]
    first, last = before, sizes[axis] - after - 1
    gap = {"reflect": 1, "symmetric": 0}.get(mode, 0)
    backwards = 0 if mode == "edge" else -1
    for count, to, source in (
        (before, 0, first if mode == "edge" else first + before - 1 + gap),
        (after, last + 1, last if mode == "edge" else last - gap),
    ):
        if count:
            dims = (*sizes[:axis], count, *sizes[axis + 1 :])
            along = (*strides[:axis], backwards * step, *strides[axis + 1 :])
            places = (start + source * step, along), (start + to * step, strides)
            yield copy(view, y, y, dims, *places)


def _pad_value(view: OpView) -> int:
    value = view.float_attr("value", 0.0)
    if view.input(0).quantization is None:
        return int(value)
    return int(int8.stored_from_real(np.array(value, np.float32), view.input(0)))


def concat(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a concatenation: one copy for each input, through a table where scales differ."""
    y = view.outputs[0]
    axis = view.int_attr("axis") % len(y.static_shape)
    low, high = -128, 127
    if y.dtype is DType.INT8:
        low, high = int8.activation_range(view.str_attr("activation", "none"), y)
    outer = math.prod(y.static_shape[:axis])
    row = math.prod(y.static_shape[axis:])
    start, calls = 0, []
    for index in range(len(view.inputs)):
        x = view.input(index)
        columns = x.elements // outer
        if _keeps_values(x, y) and (low, high) == (-128, 127):
            dims = outer, columns
            calls.append(copy(view, x, y, dims, (0, (columns, 1)), (start, (row, 1))))
        else:
            table = np.clip(requantize_table(x, y), np.int8(low), np.int8(high))
            calls.append(table_call(x, y, table, (outer, columns, row), start))
        start += columns
    return tuple(calls)


def _keeps_values(x: Tensor, y: Tensor) -> bool:
    known = x.dtype is DType.INT8 and x.quantization is not None and y.quantization is not None
    return not known or (x.quantization is not None and x.quantization.same_as(y.quantization))


def pack(view: OpView) -> tuple[KernelCall, ...]:
    """Lower the stacking of tensors along a new axis."""
    y = view.outputs[0]
    axis = view.int_attr("axis") % len(y.static_shape)
    outer = math.prod(y.static_shape[:axis])
    inner = math.prod(y.static_shape[axis + 1 :])
    calls = []
    for index in range(len(view.inputs)):
        to = index * inner, (len(view.inputs) * inner, 1)
        calls.append(copy(view, view.input(index), y, (outer, inner), (0, (inner, 1)), to))
    return tuple(calls)


def paste(view: OpView) -> tuple[KernelCall, ...]:
    """Lower an image in a larger one: the canvas, which may lie there already, then the image."""
    image, canvas, y = view.input(0), view.optional_input(1), view.outputs[0]
    target = dense_strides(y.static_shape)
    whole = (0, (1,))
    around = (
        zeros(view, y) if canvas is None else copy(view, canvas, y, (y.elements,), whole, whole)
    )
    top, left = view.ints_attr("at")
    start = top * target[1] + left * target[2]
    source = (0, dense_strides(image.static_shape))
    inside = copy(view, image, y, image.static_shape, source, (start, target))
    flag = view.optional_input(2)
    return (around, inside if flag is None else when(inside, flag, view.int_attr("when")))


def split(view: OpView) -> tuple[KernelCall, ...]:
    """Lower the cutting into pieces, which ``unpack`` is with pieces of one."""
    x = view.input(0)
    axis = view.int_attr("axis") % len(x.static_shape)
    outer = math.prod(x.static_shape[:axis])
    row = math.prod(x.static_shape[axis:])
    start, calls = 0, []
    for y in view.outputs:
        columns = y.elements // outer
        place = start, (row, 1)
        calls.append(copy(view, x, y, (outer, columns), place, (0, (columns, 1))))
        start += columns
    return tuple(calls)
