"""Normalisation layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgekit.converters.importers.onnx_ops.layer import Layer, Mapper


def _batch_normalization(layer: Layer) -> tuple[str, ...]:
    if layer.int_attr("training_mode", 0) or layer.int_attr("spatial", 1) != 1:
        raise layer.refuse("only the inference form is supported: export the model in eval mode")
    names = [layer.input(index) for index in range(5)]
    return (layer.emit("batch_norm", names, epsilon=layer.float_attr("epsilon", 1e-5), axis=1),)


def _layer_normalization(layer: Layer) -> tuple[str, ...]:
    rank = len(layer.shape(0))
    axis = layer.axis(layer.int_attr("axis", -1), rank)
    beta = layer.input(2) if layer.has(2) else ""
    inputs = [layer.input(0), layer.input(1), beta]
    return (layer.emit("layer_norm", inputs, epsilon=layer.float_attr("epsilon", 1e-5), axis=axis),)


def _instance_normalization(layer: Layer) -> tuple[str, ...]:
    shape = layer.shape(0)
    normalised = _standardised(
        layer, layer.input(0), tuple(range(2, len(shape))), layer.float_attr("epsilon", 1e-5)
    )
    per_channel = (shape[1], *[1] * (len(shape) - 2))
    return (_scaled(layer, normalised, per_channel),)


def _group_normalization(layer: Layer) -> tuple[str, ...]:
    """Before opset 21 scale and bias have one number a group, since then one a channel."""
    shape, groups = layer.shape(0), layer.int_attr("num_groups")
    if len(shape) < 2 or groups < 1 or shape[1] % groups:
        raise layer.fail(f"{groups} groups do not divide the channels of {list(shape)}")
    grouped = layer.reshape(layer.input(0), (shape[0], groups, math.prod(shape[1:]) // groups))
    normalised = _standardised(layer, grouped, (2,), layer.float_attr("epsilon", 1e-5))
    if layer.opset < 21:
        return (layer.reshape(_scaled(layer, normalised, (groups, 1)), shape),)
    restored = layer.reshape(normalised, shape)
    return (_scaled(layer, restored, (shape[1], *[1] * (len(shape) - 2))),)


def _standardised(layer: Layer, x: str, axes: Sequence[int], epsilon: float) -> str:
    """Return x with mean 0 and variance 1 along ``axes``."""
    mean = layer.emit("reduce_mean", [x], axes=tuple(axes), keep_dims=True)
    centred = layer.emit("sub", [x, mean])
    square = layer.emit("square", [centred])
    variance = layer.emit("reduce_mean", [square], axes=tuple(axes), keep_dims=True)
    inverse = layer.emit("rsqrt", [layer.emit("add", [variance, layer.scalar(epsilon)])])
    return layer.emit("mul", [centred, inverse])


def _scaled(layer: Layer, x: str, shape: Sequence[int]) -> str:
    """Multiply by input 1 and add input 2, both reshaped."""
    product = layer.emit("mul", [x, layer.reshape(layer.input(1), shape)])
    return layer.emit("add", [product, layer.reshape(layer.input(2), shape)])


def _rms_normalization(layer: Layer) -> tuple[str, ...]:
    x, rank = layer.input(0), len(layer.shape(0))
    axes = tuple(range(layer.axis(layer.int_attr("axis", -1), rank), rank))
    power = layer.emit("reduce_mean", [layer.emit("square", [x])], axes=axes, keep_dims=True)
    epsilon = layer.scalar(layer.float_attr("epsilon", 1e-5))
    inverse = layer.emit("rsqrt", [layer.emit("add", [power, epsilon])])
    return (layer.emit("mul", [layer.emit("mul", [x, inverse]), layer.input(1)]),)


def _lp_normalization(layer: Layer) -> tuple[str, ...]:
    order, rank = layer.int_attr("p", 2), len(layer.shape(0))
    axis = layer.axis(layer.int_attr("axis", -1), rank)
    if order not in {1, 2}:
        raise layer.fail(f"p = {order} is neither 1 nor 2")
    x = layer.input(0)
    if order == 2:
        norm = layer.emit("reduce_l2", [x], axes=(axis,), keep_dims=True)
    else:
        norm = layer.emit("reduce_sum", [layer.emit("abs", [x])], axes=(axis,), keep_dims=True)
    return (layer.emit("div", [x, norm]),)


def _dropout(layer: Layer) -> tuple[str, ...]:
    """Identity at inference; the mask is not available."""
    if layer.has(2) and bool(np.any(layer.constant(2))):
        raise layer.refuse("training mode is not supported: export the model in eval mode")
    return (layer.input(0),)


MAPPERS: dict[str, Mapper] = {
    "BatchNormalization": _batch_normalization,
    "Dropout": _dropout,
    "GroupNormalization": _group_normalization,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "LpNormalization": _lp_normalization,
    "RMSNormalization": _rms_normalization,
    "SimplifiedLayerNormalization": _rms_normalization,
}
