"""Reductions along axes, softmax and the positions of extremes."""

from __future__ import annotations

import math
from collections.abc import Callable

from edgekit.converters.importers.onnx_ops.layer import Layer, Mapper

_AXES_BECAME_INPUT = {"ReduceSum": 13}
"""Operator set in which the axes became an input; 18 for the operators not named."""


SoftmaxFunction = Callable[[Layer, str, int], str]


def _axes(layer: Layer) -> tuple[int, ...] | None:
    """Return the axes, sorted; None where the operator does nothing."""
    rank = len(layer.shape(0))
    if layer.opset >= _AXES_BECAME_INPUT.get(layer.op, 18):
        given = layer.constant_ints(1) if layer.has(1) else ()
    else:
        given = layer.ints_attr("axes", ())
    if not given and layer.int_attr("noop_with_empty_axes", 0):
        return None
    return layer.axes(given, rank) if given else tuple(range(rank))


def _reduce(op: str, before: str = "", after: str = "") -> Mapper:
    def mapper(layer: Layer) -> tuple[str, ...]:
        axes = _axes(layer)
        keep_dims = layer.int_attr("keepdims", 1) != 0
        name = layer.emit(before, [layer.input(0)]) if before else layer.input(0)
        if axes:
            name = layer.emit(op, [name], axes=axes, keep_dims=keep_dims)
        return (layer.emit(after, [name]) if after else name,)

    return mapper


def _arg(op: str) -> Mapper:
    def mapper(layer: Layer) -> tuple[str, ...]:
        if layer.int_attr("select_last_index", 0):
            raise layer.refuse("select_last_index=1 is not supported")
        axis = layer.axis(layer.int_attr("axis", 0), len(layer.shape(0)))
        keep_dims = layer.int_attr("keepdims", 1) != 0
        return (
            layer.emit(op, [layer.input(0)], axis=axis, keep_dims=keep_dims, output_dtype="int64"),
        )

    return mapper


def _softmax(layer: Layer) -> tuple[str, ...]:
    return (_over_last_axes(layer, _plain_softmax),)


def _log_softmax(layer: Layer) -> tuple[str, ...]:
    return (_over_last_axes(layer, _plain_log_softmax),)


def _plain_softmax(layer: Layer, name: str, axis: int) -> str:
    return layer.emit("softmax", [name], axis=axis, beta=1.0)


def _plain_log_softmax(layer: Layer, name: str, axis: int) -> str:
    """``x - max - log(sum(exp(x - max)))``, which does not overflow."""
    peak = layer.emit("reduce_max", [name], axes=(axis,), keep_dims=True)
    shifted = layer.emit("sub", [name, peak])
    total = layer.emit("reduce_sum", [layer.emit("exp", [shifted])], axes=(axis,), keep_dims=True)
    return layer.emit("sub", [shifted, layer.emit("log", [total])])


def _over_last_axes(layer: Layer, function: SoftmaxFunction) -> str:
    """Apply along one axis; before opset 13 along all axes from ``axis`` on, taken as one."""
    shape = layer.shape(0)
    axis = layer.axis(layer.int_attr("axis", -1 if layer.opset >= 13 else 1), len(shape))
    if layer.opset >= 13 or axis == len(shape) - 1:
        return function(layer, layer.input(0), axis)
    flat = layer.reshape(layer.input(0), (math.prod(shape[:axis]), math.prod(shape[axis:])))
    return layer.reshape(function(layer, flat, 1), shape)


MAPPERS: dict[str, Mapper] = {
    "ArgMax": _arg("arg_max"),
    "ArgMin": _arg("arg_min"),
    "LogSoftmax": _log_softmax,
    "ReduceL1": _reduce("reduce_sum", before="abs"),
    "ReduceL2": _reduce("reduce_l2"),
    "ReduceLogSum": _reduce("reduce_sum", after="log"),
    "ReduceMax": _reduce("reduce_max"),
    "ReduceMean": _reduce("reduce_mean"),
    "ReduceMin": _reduce("reduce_min"),
    "ReduceSum": _reduce("reduce_sum"),
    "ReduceSumSquare": _reduce("reduce_sum", before="square"),
    "Softmax": _softmax,
}
