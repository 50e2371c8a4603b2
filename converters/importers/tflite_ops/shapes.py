"""Mapping of operators that move data about, and of reductions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgekit.converters.importers.tflite_ops.layer import Layer, Part
from edgekit.graph import Attr

_REFLECT = 0


def _reshape(layer: Layer) -> list[Part]:
    """Take the shape that the file declares for the output; sizes in these files are fixed."""
    return [Part("reshape", (layer.number(0),), {"shape": layer.output.shape})]


def _transpose(layer: Layer) -> list[Part]:
    return [Part("transpose", (layer.number(0),), {"perm": layer.ints(1)})]


def _concat(layer: Layer) -> list[Part]:
    inputs = tuple(layer.number(index) for index in range(len(layer.inputs)))
    attrs: dict[str, Attr] = {"axis": layer.option("axis"), "activation": layer.activation()}
    return [Part("concat", inputs, attrs)]


def _pack(layer: Layer) -> list[Part]:
    inputs = tuple(layer.number(index) for index in range(len(layer.inputs)))
    return [Part("pack", inputs, {"axis": layer.option("axis")})]


def _unpack(layer: Layer) -> list[Part]:
    return [Part("unpack", (layer.number(0),), {"axis": layer.option("axis")})]


def _split(layer: Layer) -> list[Part]:
    axis, x = layer.one_int(0), layer.tensor(1)
    pieces = len(layer.operator.outputs)
    if not -len(x.shape) <= axis < len(x.shape) or not pieces or x.shape[axis] % pieces:
        raise layer.damaged(f"cannot split {list(x.shape)} into {pieces} along axis {axis}")
    sizes = (x.shape[axis] // pieces,) * pieces
    return [Part("split", (layer.number(1),), {"axis": axis, "sizes": sizes})]


def _split_v(layer: Layer) -> list[Part]:
    axis, x = layer.one_int(2), layer.tensor(0)
    if not -len(x.shape) <= axis < len(x.shape):
        raise layer.damaged(f"cannot split {list(x.shape)} along axis {axis}")
    sizes = list(layer.ints(1))
    if -1 in sizes:
        sizes[sizes.index(-1)] = x.shape[axis] - sum(size for size in sizes if size >= 0)
    return [Part("split", (layer.number(0),), {"axis": axis, "sizes": tuple(sizes)})]


def _slice(layer: Layer) -> list[Part]:
    shape, begin, size = layer.tensor(0).shape, layer.ints(1), layer.ints(2)
    if not len(shape) == len(begin) == len(size):
        raise layer.damaged(f"slices {list(shape)} from {list(begin)} by {list(size)}")
    end = tuple(
        dim if count == -1 else start + count
        for dim, start, count in zip(shape, begin, size, strict=True)
    )
    attrs: dict[str, Attr] = {"begin": begin, "end": end, "strides": (1,) * len(shape)}
    return [Part("slice", (layer.number(0),), attrs)]


def _strided_slice(layer: Layer) -> list[Part]:
    if layer.option("ellipsis_mask") or layer.option("new_axis_mask") or layer.option("offset"):
        raise layer.unsupported("slices with an ellipsis, new axes or relative ends are not read")
    shape = layer.tensor(0).shape
    begin, end, strides = list(layer.ints(1)), list(layer.ints(2)), list(layer.ints(3))
    if not len(begin) == len(end) == len(strides) <= len(shape):
        raise layer.damaged(f"slices {list(shape)} from {begin} to {end} by {strides}")
    for axis in range(len(begin), len(shape)):
        begin.append(0)
        end.append(shape[axis])
        strides.append(1)
    shrunk = layer.option("shrink_axis_mask")
    for axis, dim in enumerate(shape):
        backwards = strides[axis] < 0
        if layer.option("begin_mask") >> axis & 1:
            begin[axis] = dim - 1 if backwards else 0
        if layer.option("end_mask") >> axis & 1:
            end[axis] = -dim - 1 if backwards else dim
        if shrunk >> axis & 1:
            begin[axis] += dim if begin[axis] < 0 else 0
            end[axis], strides[axis] = begin[axis] + 1, 1
    attrs: dict[str, Attr] = {"begin": tuple(begin), "end": tuple(end), "strides": tuple(strides)}
    sliced = Part("slice", (layer.number(0),), attrs)
    if not shrunk:
        return [sliced]
    return [sliced, Part("reshape", (), {"shape": layer.output.shape})]


def _pad_pairs(layer: Layer) -> Attr:
    values = layer.ints(1)
    if len(values) != 2 * len(layer.tensor(0).shape):
        raise layer.damaged(f"has {len(values)} paddings for {list(layer.tensor(0).shape)}")
    return tuple(zip(values[::2], values[1::2], strict=True))


def _pad(layer: Layer) -> list[Part]:
    attrs: dict[str, Attr] = {"padding": _pad_pairs(layer), "mode": "constant", "value": 0.0}
    return [Part("pad", (layer.number(0),), attrs)]


def _pad_v2(layer: Layer) -> list[Part]:
    attrs: dict[str, Attr] = {
        "padding": _pad_pairs(layer),
        "mode": "constant",
        "value": _real_scalar(layer, 2),
    }
    return [Part("pad", (layer.number(0),), attrs)]


def _real_scalar(layer: Layer, index: int) -> float:
    """Return a constant of one element as the real number it stands for."""
    tensor = layer.tensor(index)
    kind = layer.dtype_of(tensor).numpy
    if tensor.data is None:
        raise layer.unsupported(f"input {index} is computed; edgekit needs it constant")
    if tensor.data.size != kind.itemsize:
        raise layer.damaged(f"input {index} has {tensor.data.size} bytes, not one number")
    value = float(tensor.data.view(kind)[0])
    if tensor.quantization is None or kind.kind == "f":
        return value
    zero_point = tensor.quantization.zero_point
    offset = int(zero_point[0]) if zero_point.size else 0
    return float(np.float32(tensor.quantization.scale[0]) * np.float32(value - offset))


def _mirror_pad(layer: Layer) -> list[Part]:
    mode = "reflect" if layer.option("mode") == _REFLECT else "symmetric"
    attrs: dict[str, Attr] = {"padding": _pad_pairs(layer), "mode": mode, "value": 0.0}
    return [Part("pad", (layer.number(0),), attrs)]


def _gather(layer: Layer) -> list[Part]:
    if layer.option("batch_dims"):
        raise layer.unsupported("gathering batch by batch (batch_dims) is not read")
    inputs = (layer.number(0), layer.number(1))
    return [Part("gather", inputs, {"axis": layer.option("axis")})]


def _tile(layer: Layer) -> list[Part]:
    return [Part("tile", (layer.number(0),), {"repeats": layer.ints(1)})]


def _expand(layer: Layer) -> list[Part]:
    return [Part("expand", (layer.number(0),), {"shape": layer.output.shape})]


def _reduce(op: str) -> Callable[[Layer], list[Part]]:
    def mapped(layer: Layer) -> list[Part]:
        keep = bool(layer.option("keep_dims"))
        return [Part(op, (layer.number(0),), {"axes": layer.ints(1), "keep_dims": keep})]

    return mapped


def _arg(op: str) -> Callable[[Layer], list[Part]]:
    def mapped(layer: Layer) -> list[Part]:
        attrs: dict[str, Attr] = {
            "axis": layer.one_int(1),
            "keep_dims": False,
            "output_dtype": layer.dtype_of(layer.output).value,
        }
        return [Part(op, (layer.number(0),), attrs)]

    return mapped


SHAPE_MAPPINGS: Mapping[str, Callable[[Layer], list[Part]]] = {
    "ARG_MAX": _arg("arg_max"),
    "ARG_MIN": _arg("arg_min"),
    "BROADCAST_TO": _expand,
    "CONCATENATION": _concat,
    "EXPAND_DIMS": _reshape,
    "GATHER": _gather,
    "MEAN": _reduce("reduce_mean"),
    "MIRROR_PAD": _mirror_pad,
    "PACK": _pack,
    "PAD": _pad,
    "PADV2": _pad_v2,
    "REDUCE_MAX": _reduce("reduce_max"),
    "REDUCE_MIN": _reduce("reduce_min"),
    "RESHAPE": _reshape,
    "SLICE": _slice,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SQUEEZE": _reshape,
    "STRIDED_SLICE": _strided_slice,
    "SUM": _reduce("reduce_sum"),
    "TILE": _tile,
    "TRANSPOSE": _transpose,
    "UNPACK": _unpack,
}
