"""Normalisation with known or computed statistics, in floating point.

``batch_norm``: x, gamma, beta, mean, variance (all but x of shape (C,)); attributes ``epsilon`` and
``axis`` (of the channels). ``y = (x - mean) / sqrt(variance + epsilon) * gamma + beta``.

``layer_norm``: x, gamma, beta (optional); attributes ``epsilon`` and ``axis``, the first of the
axes over which mean and variance are taken; gamma and beta broadcast to the shape of these axes.
Source: ONNX operator reference, BatchNormalization-15 and LayerNormalization-17.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Tensor, TensorKind
from edgekit.ops.broadcast import broadcast_shapes, normalized_axis
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, TensorType


def _axis(view: OpView) -> int:
    return normalized_axis(view.int_attr("axis"), len(view.input(0).shape), where=view.node.where)


def _infer_batch_norm(view: OpView) -> list[TensorType]:
    x = view.input(0)
    channels = x.shape[_axis(view)]
    for index in range(1, 5):
        if view.input(index).shape != (channels,):
            raise ModelError(
                f"layer {view.node.where}: input {index} of batch_norm must have {channels} numbers"
            )
    return [TensorType(x.shape, x.dtype)]


def _batch_norm(call: OpCall) -> list[Array]:
    x = call.array(0).astype(np.float32)
    shape = [1] * x.ndim
    shape[_axis(call.view)] = -1
    gamma, beta, mean, variance = (
        call.array(index).astype(np.float32).reshape(shape) for index in range(1, 5)
    )
    epsilon = np.float32(call.view.float_attr("epsilon", 1e-5))
    return [(x - mean) / np.sqrt(variance + epsilon) * gamma + beta]


def _infer_layer_norm(view: OpView) -> list[TensorType]:
    x = view.input(0)
    normalised = x.shape[_axis(view) :]
    for tensor in (view.input(1), view.optional_input(2)):
        if tensor is None:
            continue
        if broadcast_shapes(normalised, tensor.shape, where=view.node.where) != normalised:
            raise ModelError(
                f"layer {view.node.where}: {tensor.name} does not fit the axes {list(normalised)}"
            )
    return [TensorType(x.shape, x.dtype)]


def _layer_norm(call: OpCall) -> list[Array]:
    x = call.array(0).astype(np.float32)
    axes = tuple(range(_axis(call.view), x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = np.square(centred).mean(axis=axes, keepdims=True)
    epsilon = np.float32(call.view.float_attr("epsilon", 1e-5))
    y = centred / np.sqrt(variance + epsilon) * call.array(1).astype(np.float32)
    beta = call.optional_array(2)
    return [y if beta is None else y + beta.astype(np.float32)]


def _macs(view: OpView) -> int:
    return view.input(0).elements


def _float_case(
    name: str, x: Array, parameters: list[Array], attrs: dict[str, float | int]
) -> OpCase:
    given = Tensor("x", x.shape, DType.FLOAT32, TensorKind.INPUT)
    constants = [(Tensor.constant(f"p{i}", array), array) for i, array in enumerate(parameters)]
    output = Tensor("y", x.shape, DType.FLOAT32)
    return OpCase(name, ((given, x), *constants), (output,), attrs, tolerance=1e-5)


def _numbers(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _batch_norm_cases() -> Iterable[OpCase]:
    for name, shape, axis in (("nchw", (2, 3, 4, 5), 1), ("nhwc", (1, 4, 5, 3), 3)):
        parameters = [_numbers(seed, 3) for seed in range(1, 4)]
        parameters.append(np.abs(_numbers(4, 3)) + np.float32(0.1))
        attrs: dict[str, float | int] = {"axis": axis, "epsilon": 1e-3}
        yield _float_case(name, _numbers(0, *shape), parameters, attrs)


def _layer_norm_cases() -> Iterable[OpCase]:
    attrs: dict[str, float | int] = {"axis": -1, "epsilon": 1e-12}
    x, last = _numbers(0, 2, 5, 8), [_numbers(1, 8), _numbers(2, 8)]
    yield _float_case("last_axis", x, last, attrs)
    yield _float_case("no_beta", x, last[:1], attrs)
    both = [_numbers(1, 5, 8), _numbers(2, 5, 8)]
    yield _float_case("two_axes", x, both, {"axis": 1, "epsilon": 1e-5})


SPECS = (
    OpSpec(
        "batch_norm",
        _infer_batch_norm,
        _batch_norm,
        macs=_macs,
        in_place=((0, 0),),
        cases=_batch_norm_cases,
    ),
    OpSpec(
        "layer_norm",
        _infer_layer_norm,
        _layer_norm,
        macs=_macs,
        in_place=((0, 0),),
        cases=_layer_norm_cases,
    ),
)
