"""Constants, and computations about shapes: all of it is known at conversion."""

from __future__ import annotations

import math

import numpy as np

from edgekit.converters.importers.onnx_ops.layer import Layer, Mapper
from edgekit.dtypes import Array


def _constant(layer: Layer) -> tuple[str, ...]:
    for name, value in layer.attributes.items():
        if name == "value" and isinstance(value, np.ndarray):
            return (layer.add_constant(value),)
        if name in {"value_float", "value_floats"}:
            return (layer.add_constant(np.array(value, np.float32)),)
        if name in {"value_int", "value_ints"}:
            return (layer.add_constant(np.array(value, np.int64)),)
    raise layer.refuse("only constants of numbers are supported")


def _known(layer: Layer, data: Array) -> tuple[str, ...]:
    layer.builder.spend(data.nbytes, layer.origin)
    return (layer.add_constant(data),)


def _shape(layer: Layer) -> tuple[str, ...]:
    shape = layer.shape(0)
    part = slice(layer.int_attr("start", 0), layer.int_attr("end", len(shape)))
    return _known(layer, np.array(shape[part], np.int64))


def _size(layer: Layer) -> tuple[str, ...]:
    return _known(layer, np.array(math.prod(layer.shape(0)), np.int64))


def _constant_of_shape(layer: Layer) -> tuple[str, ...]:
    shape = layer.constant_ints(0)
    value: Array = np.zeros(1, np.float32)
    if "value" in layer.attributes:
        value = layer.array_attr("value").reshape(-1)
    if value.size != 1 or any(dim < 0 for dim in shape):
        raise layer.fail(f"cannot fill the shape {list(shape)}")
    layer.builder.spend(math.prod(shape) * value.itemsize, layer.origin)
    return (layer.add_constant(np.full(shape, value[0], value.dtype)),)


def _range(layer: Layer) -> tuple[str, ...]:
    start, limit, delta = (layer.constant(index).reshape(()) for index in range(3))
    if float(delta) == 0:
        raise layer.fail("a range needs a step other than 0")
    count = max(0, math.ceil((float(limit) - float(start)) / float(delta)))
    layer.builder.spend(count * start.itemsize, layer.origin)
    values = float(start) + np.arange(count, dtype=np.float64) * float(delta)
    return (layer.add_constant(values.astype(start.dtype)),)


def _cumulative_sum(layer: Layer) -> tuple[str, ...]:
    if layer.int_attr("exclusive", 0) or layer.int_attr("reverse", 0):
        raise layer.refuse("exclusive and reverse are not supported")
    data, axes = layer.constant(0), layer.constant_ints(1)
    axis = layer.axis(axes[0], data.ndim)
    return _known(layer, np.cumsum(data, axis=axis, dtype=data.dtype))


def _triangle(layer: Layer) -> tuple[str, ...]:
    data = layer.constant(0)
    diagonal = int(layer.constant_scalar(1, 0))
    part = np.triu if layer.int_attr("upper", 1) else np.tril
    return _known(layer, np.asarray(part(data, diagonal)))


MAPPERS: dict[str, Mapper] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "CumSum": _cumulative_sum,
    "Range": _range,
    "Shape": _shape,
    "Size": _size,
    "Trilu": _triangle,
}
