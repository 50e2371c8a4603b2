"""Operators that pick, compare or resize: places that are known at conversion become tables."""

from __future__ import annotations

import math

import numpy as np

from edgekit.dtypes import DType
from edgekit.ops import resize as resizing
from edgekit.ops.spec import OpView
from edgekit.ops.windows import image_dims, is_nchw
from edgekit.runtime.lowering.call import (
    Field,
    KernelCall,
    call,
    dense_strides,
    merged_axes,
    no_kernel,
)
from edgekit.runtime.lowering.elementwise import broadcast_strides
from edgekit.runtime.lowering.movement import copy

_INDEX_TYPES = (DType.INT32, DType.INT64)


def arg_extreme(view: OpView) -> tuple[KernelCall, ...]:
    """Lower the place of the largest or smallest element."""
    x, y = view.input(0), view.outputs[0]
    suffixes = {DType.INT8: "s8", DType.FLOAT32: "f32"}
    shape = x.static_shape
    axis = view.int_attr("axis") % len(shape)
    if x.dtype not in suffixes or y.dtype not in _INDEX_TYPES or shape[axis] == 0:
        raise no_kernel(view)
    fields: dict[str, Field] = {
        "outer": math.prod(shape[:axis]),
        "depth": shape[axis],
        "inner": math.prod(shape[axis + 1 :]),
        "output_bytes": y.dtype.item_bytes,
    }
    function = f"ek_{view.node.op}_{suffixes[x.dtype]}"
    return (KernelCall(function, "ek_arg_params", fields, (x.name, y.name)),)


def gather(view: OpView) -> tuple[KernelCall, ...]:
    """Lower entries of a table, picked by indices."""
    table, indices, y = view.input(0), view.input(1), view.outputs[0]
    axis = view.int_attr("axis", 0) % len(table.static_shape)
    fields: dict[str, Field] = {
        "outer": math.prod(table.static_shape[:axis]),
        "entries": table.static_shape[axis],
        "row_bytes": math.prod(table.static_shape[axis + 1 :]) * table.dtype.item_bytes,
        "indices": indices.elements,
        "index_bytes": indices.dtype.item_bytes,
    }
    return (call("ek_gather", fields, table.name, indices.name, y.name),)


def take_prefix(view: OpView) -> tuple[KernelCall, ...]:
    """Lower the first entries of a table, as many as another tensor is long."""
    table, y = view.input(0), view.outputs[0]
    source = (0, dense_strides(table.static_shape))
    return (copy(view, table, y, y.static_shape, source, (0, dense_strides(y.static_shape))),)


def resize(view: OpView) -> tuple[KernelCall, ...]:
    """Lower an image at another size."""
    if is_nchw(view):
        raise no_kernel(view, "images must have their channels last")
    x, y = view.input(0), view.outputs[0]
    batches, height, width, channels = x.static_shape
    rows, columns = resizing.axes_of(view, (height, width))
    fields: dict[str, Field] = {
        "batches": batches,
        "input_height": height,
        "input_width": width,
        "channels": channels,
        "output_height": rows.target,
        "output_width": columns.target,
    }
    if view.str_attr("mode") == "nearest":
        del fields["channels"]
        fields |= {
            "pixel_bytes": channels * x.dtype.item_bytes,
            "rows": resizing.nearest(rows).astype(np.int32),
            "columns": resizing.nearest(columns).astype(np.int32),
        }
        return (call("ek_resize_nearest", fields, x.name, y.name),)
    if x.dtype is DType.INT8:
        for name, axis in (("rows", rows), ("columns", columns)):
            fields[name] = np.stack(resizing.neighbours_int(axis), axis=1).astype(np.int32)
        return (call("ek_resize_bilinear_s8", fields, x.name, y.name),)
    if x.dtype is not DType.FLOAT32:
        raise no_kernel(view)
    places = {"row": resizing.neighbours(rows), "column": resizing.neighbours(columns)}
    fields |= {f"{n}s": np.stack(p[:2], axis=1).astype(np.int32) for n, p in places.items()}
    fields |= {f"{n}_distances": place[2] for n, place in places.items()}
    return (call("ek_resize_bilinear_f32", fields, x.name, y.name),)


def pixel_blocks(view: OpView) -> tuple[KernelCall, ...]:
    """Lower blocks of pixels that become channels, and back: a copy between six axes."""
    x, y = view.input(0), view.outputs[0]
    deep, flat = (y, x) if view.node.op == "space_to_depth" else (x, y)
    block = view.int_attr("block")
    n, height, width, channels = (int(dim) for dim in image_dims(view, flat.shape))
    # Axes: image, row of blocks, row in the block, column of blocks, column in it, channel.
    dims = (n, height // block, block, width // block, block, channels)
    row, column, channel, image = _image_strides(view, flat.static_shape)
    flat_strides = (image, row * block, row, column * block, column, channel)
    row, column, channel, image = _image_strides(view, deep.static_shape)
    inner = channels * channel
    deep_strides = (image, row, block * inner, column, inner, channel)
    places = {flat.name: (0, flat_strides), deep.name: (0, deep_strides)}
    return (copy(view, x, y, dims, places[x.name], places[y.name]),)


def _image_strides(view: OpView, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the strides of rows, columns, channels and images."""
    image, second, third, last = dense_strides(shape)
    return (third, last, second, image) if is_nchw(view) else (second, third, last, image)


def compare(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a comparison of floats, or logic on truth values."""
    is_logic = view.node.op.startswith("logical")
    expected = DType.BOOL if is_logic else DType.FLOAT32
    operands = [view.input(index) for index in range(1 if view.node.op == "logical_not" else 2)]
    if any(tensor.dtype is not expected for tensor in operands):
        raise no_kernel(view)
    shape = view.outputs[0].static_shape
    strides = [broadcast_strides(tensor.static_shape, shape) for tensor in operands]
    dims, first, second = merged_axes(view, shape, strides[0], strides[-1])
    fields: dict[str, Field] = {"dims": dims, "first_strides": first, "second_strides": second}
    function = f"ek_{view.node.op}" if is_logic else f"ek_{view.node.op}_f32"
    names = (*(tensor.name for tensor in operands), view.outputs[0].name)
    return (KernelCall(function, "ek_compare_params", fields, names),)


def where(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a choice between two operands: the second everywhere, then the first where true."""
    condition, chosen, other, y = view.input(0), view.input(1), view.input(2), view.outputs[0]
    shape = y.static_shape
    fallback = (0, broadcast_strides(other.static_shape, shape))
    fill = copy(view, other, y, shape, fallback, (0, dense_strides(shape)))
    strides = [broadcast_strides(tensor.static_shape, shape) for tensor in (condition, chosen)]
    dims, at, source = merged_axes(view, shape, *strides)
    fields: dict[str, Field] = {
        "item_bytes": y.dtype.item_bytes,
        "dims": dims,
        "condition_strides": at,
        "input_strides": source,
    }
    return (fill, call("ek_where", fields, condition.name, chosen.name, y.name))
