"""Operators that move data: reshape, transpose, join, cut, pad, look up, repeat, convert."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgekit.converters.importers.onnx_ops.layer import Layer, Mapper, dtype_of
from edgekit.dtypes import DType


def _identity(layer: Layer) -> tuple[str, ...]:
    return (layer.input(0),)


def _reshape(layer: Layer) -> tuple[str, ...]:
    shape = layer.shape(0)
    wanted = list(layer.constant_ints(1))
    if not layer.int_attr("allowzero", 0):
        for axis, dim in enumerate(wanted):
            if dim == 0 and axis < len(shape):
                wanted[axis] = shape[axis]
    if wanted.count(-1) == 1:
        known = math.prod(dim for dim in wanted if dim != -1)
        if known <= 0 or math.prod(shape) % known:
            raise layer.fail(f"cannot give {list(shape)} the shape {wanted}")
        wanted[wanted.index(-1)] = math.prod(shape) // known
    if any(dim < 0 for dim in wanted) or math.prod(wanted) != math.prod(shape):
        raise layer.fail(f"cannot give {list(shape)} the shape {wanted}")
    return (layer.reshape(layer.input(0), wanted),)


def _flatten(layer: Layer) -> tuple[str, ...]:
    shape = layer.shape(0)
    axis = layer.int_attr("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise layer.fail(f"axis {axis} does not exist in {len(shape)} dimensions")
    axis = axis + len(shape) if axis < 0 else axis
    return (layer.reshape(layer.input(0), (math.prod(shape[:axis]), math.prod(shape[axis:]))),)


def _given_axes(layer: Layer) -> tuple[int, ...]:
    if layer.opset < 13:
        return layer.ints_attr("axes", ())
    return layer.constant_ints(1) if layer.has(1) else ()


def _squeeze(layer: Layer) -> tuple[str, ...]:
    shape = layer.shape(0)
    axes = layer.axes(_given_axes(layer), len(shape))
    if not axes:
        axes = tuple(axis for axis, dim in enumerate(shape) if dim == 1)
    if any(shape[axis] != 1 for axis in axes):
        raise layer.fail(f"axes {list(axes)} of {list(shape)} are not all 1")
    kept = [dim for axis, dim in enumerate(shape) if axis not in axes]
    return (layer.reshape(layer.input(0), kept),)


def _unsqueeze(layer: Layer) -> tuple[str, ...]:
    shape, given = layer.shape(0), _given_axes(layer)
    axes = layer.axes(given, len(shape) + len(given))
    result = list(shape)
    for axis in axes:
        result.insert(axis, 1)
    return (layer.reshape(layer.input(0), result),)


def _transpose(layer: Layer) -> tuple[str, ...]:
    rank = len(layer.shape(0))
    perm = layer.ints_attr("perm", tuple(reversed(range(rank))))
    if sorted(perm) != list(range(rank)):
        raise layer.fail(f"perm {list(perm)} is no order of {rank} axes")
    if perm == tuple(range(rank)):
        return (layer.input(0),)
    return (layer.emit("transpose", [layer.input(0)], perm=perm),)


def _concat(layer: Layer) -> tuple[str, ...]:
    axis = layer.axis(layer.int_attr("axis", 1), len(layer.shape(0)))
    # Computations about shapes join lists that may be empty.
    filled = [index for index in range(len(layer.inputs)) if math.prod(layer.shape(index))]
    names = [layer.input(index) for index in filled] or [layer.input(0)]
    if len(names) == 1:
        return (names[0],)
    return (layer.emit("concat", names, axis=axis, activation="none"),)


def _split(layer: Layer) -> tuple[str, ...]:
    shape, count = layer.shape(0), len(layer.outputs)
    axis = layer.axis(layer.int_attr("axis", 0), len(shape))
    if layer.opset < 13:
        sizes = layer.ints_attr("split", ())
    else:
        sizes = layer.constant_ints(1) if layer.has(1) else ()
    if not sizes:
        size = math.ceil(shape[axis] / count)
        sizes = (*[size] * (count - 1), shape[axis] - size * (count - 1))
    if len(sizes) != count or min(sizes) < 1 or sum(sizes) != shape[axis]:
        raise layer.fail(f"cannot split {shape[axis]} entries into {list(sizes)}")
    if count == 1:
        return (layer.input(0),)
    return layer.emit_many("split", [layer.input(0)], count, axis=axis, sizes=sizes)


def _slice(layer: Layer) -> tuple[str, ...]:
    shape = layer.shape(0)
    if layer.opset < 10:
        starts, ends = layer.ints_attr("starts"), layer.ints_attr("ends")
        axes = layer.ints_attr("axes", tuple(range(len(starts))))
        steps: tuple[int, ...] = (1,) * len(starts)
    else:
        starts, ends = layer.constant_ints(1), layer.constant_ints(2)
        axes = layer.constant_ints(3) if layer.has(3) else tuple(range(len(starts)))
        steps = layer.constant_ints(4) if layer.has(4) else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise layer.fail("starts, ends, axes and steps do not belong together")
    ranges = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        ranges[layer.axis(axis, len(shape))] = slice(start, end, step)
    if layer.tensor(0).is_constant:
        # Only here may nothing be left: a list of dimensions can be empty.
        return (layer.add_constant(layer.constant(0)[tuple(ranges)]),)
    return (sliced(layer, layer.input(0), ranges),)


def sliced(layer: Layer, name: str, ranges: Sequence[slice]) -> str:
    """Add a slice by Python's rules for each axis; nothing where all is kept."""
    shape = layer.builder.tensors[name].static_shape
    bounds = [part.indices(dim) for part, dim in zip(ranges, shape, strict=True)]
    if all(bound == (0, dim, 1) for bound, dim in zip(bounds, shape, strict=True)):
        return name
    # indices() says -1 for "past the first element" of a descending range; written as an end
    # before the front, it survives being counted from the back.
    ends = tuple(
        stop if stop >= 0 else -dim - 1 for (_, stop, _), dim in zip(bounds, shape, strict=True)
    )
    return layer.emit(
        "slice",
        [name],
        begin=tuple(start for start, _, _ in bounds),
        end=ends,
        strides=tuple(step for _, _, step in bounds),
    )


def _pad(layer: Layer) -> tuple[str, ...]:
    shape = layer.shape(0)
    if layer.opset < 11:
        pads, value = layer.ints_attr("pads"), layer.float_attr("value", 0.0)
    else:
        pads, value = layer.constant_ints(1), layer.constant_scalar(2, 0.0)
    axes = layer.constant_ints(3) if layer.has(3) else tuple(range(len(shape)))
    if len(pads) != 2 * len(axes) or max(map(abs, pads), default=0) > 2**20:
        raise layer.fail(f"impossible padding {list(pads)}")
    pairs = [(0, 0)] * len(shape)
    for index, axis in enumerate(axes):
        pairs[layer.axis(axis, len(shape))] = (pads[index], pads[index + len(axes)])
    mode = layer.text_attr("mode", "constant")
    if mode not in {"constant", "reflect", "edge"}:
        raise layer.refuse(f"padding mode {mode!r} is not supported")
    name = sliced(
        layer,
        layer.input(0),
        [slice(max(0, -a), dim - max(0, -b)) for (a, b), dim in zip(pairs, shape, strict=True)],
    )
    padding = tuple((max(0, before), max(0, after)) for before, after in pairs)
    if not any(any(pair) for pair in padding):
        return (name,)
    return (layer.emit("pad", [name], padding=padding, mode=mode, value=value),)


def _gather(layer: Layer) -> tuple[str, ...]:
    shape, indices = layer.shape(0), layer.tensor(1)
    axis = layer.axis(layer.int_attr("axis", 0), len(shape))
    name = indices.name
    if indices.dtype not in {DType.INT32, DType.INT64}:
        raise layer.fail(f"indices are {indices.dtype.value}, not integers")
    if indices.is_constant and not indices.shape and not layer.tensor(0).is_constant:
        return (_entry(layer, axis, int(indices.data.astype(np.int64))),)
    if indices.is_constant:
        values = indices.data.astype(np.int64)
        if values.size and not -shape[axis] <= values.min() <= values.max() < shape[axis]:
            raise layer.fail(f"an index is outside the {shape[axis]} entries of axis {axis}")
        if values.size and values.min() < 0:
            name = layer.add_constant(np.where(values < 0, values + shape[axis], values))
    return (layer.emit("gather", [layer.input(0), name], axis=axis),)


def _entry(layer: Layer, axis: int, index: int) -> str:
    """Return one entry along an axis, which is cut out rather than looked up."""
    shape = layer.shape(0)
    if not -shape[axis] <= index < shape[axis]:
        raise layer.fail(f"index {index} is outside the {shape[axis]} entries of axis {axis}")
    ranges = [slice(None)] * len(shape)
    ranges[axis] = slice(index % shape[axis], index % shape[axis] + 1)
    part = sliced(layer, layer.input(0), ranges)
    return layer.reshape(part, (*shape[:axis], *shape[axis + 1 :]))


def _expand(layer: Layer) -> tuple[str, ...]:
    shape = layer.shape(0)
    wanted = layer.constant_ints(1)
    try:
        result = np.broadcast_shapes(shape, wanted)
    except ValueError as error:
        raise layer.fail(f"cannot expand {list(shape)} to {list(wanted)}") from error
    if result == shape:
        return (layer.input(0),)
    return (layer.emit("expand", [layer.input(0)], shape=tuple(result)),)


def _tile(layer: Layer) -> tuple[str, ...]:
    repeats = layer.constant_ints(1)
    if len(repeats) != len(layer.shape(0)) or min(repeats, default=1) < 1:
        raise layer.fail(f"impossible repeats {list(repeats)}")
    if all(count == 1 for count in repeats):
        return (layer.input(0),)
    return (layer.emit("tile", [layer.input(0)], repeats=repeats),)


def _cast(layer: Layer) -> tuple[str, ...]:
    return _cast_to(
        layer, dtype_of(layer.builder.source, layer.int_attr("to"), f"layer {layer.origin}")
    )


def _cast_like(layer: Layer) -> tuple[str, ...]:
    return _cast_to(layer, layer.tensor(1).dtype)


def _cast_to(layer: Layer, dtype: DType) -> tuple[str, ...]:
    if layer.tensor(0).dtype is dtype:
        return (layer.input(0),)
    return (layer.emit("cast", [layer.input(0)], dtype=dtype.value),)


MAPPERS: dict[str, Mapper] = {
    "Cast": _cast,
    "CastLike": _cast_like,
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _identity,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
