"""``svdf``: a dense layer of low rank over a window of time, with a state.

Inputs: x (N, C_in), weights_feature (rank * units, C_in), weights_time (rank * units, memory), bias
(units,) or absent, state (N, rank * units * memory). Attributes: ``rank``, ``activation``. The
state is shifted by one step and updated in place; output (N, units).

Int8: weights_time and state both int8 or both int16, bias int32, all with one scale; the output is
clamped to int8 only, whatever the activation, as TensorFlow Lite Micro does.

References
----------
Nakkiran et al., "Compressing Deep Neural Networks using a Rank-Constrained Topology", Interspeech
2015. TensorFlow Lite Micro, ``kernels/svdf_common.cc``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Attr, Quantization, Tensor, TensorKind
from edgekit.ops import cases, int8
from edgekit.ops.broadcast import clamp
from edgekit.ops.checks import require_dtype
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, TensorType


def _infer(view: OpView) -> list[TensorType]:
    dtype = require_dtype(view, 0, (DType.FLOAT32, DType.INT8))
    require_dtype(view, 1, (dtype,))
    state = require_dtype(view, 4, (dtype,) if dtype.is_float else (DType.INT8, DType.INT16))
    require_dtype(view, 2, (state,))
    x, feature, time = (view.input(index).static_shape for index in range(3))
    rank = view.int_attr("rank")
    fits = len(x) == len(feature) == len(time) == 2 and feature[1] == x[1]
    if not fits or time[0] != feature[0] or rank < 1 or feature[0] % rank:
        raise ModelError(
            f"layer {view.node.where}: weights {list(feature)} and {list(time)} of rank {rank} "
            f"for x {list(x)}"
        )
    if view.input(4).static_shape != (x[0], feature[0] * time[1]):
        raise ModelError(f"layer {view.node.where}: state {list(view.input(4).shape)}")
    units = feature[0] // rank
    bias = view.optional_input(3)
    if bias is not None and bias.static_shape != (units,):
        raise ModelError(f"layer {view.node.where}: bias {list(bias.shape)} for {units} units")
    return [TensorType((x[0], units), dtype)]


def _reference(call: OpCall) -> list[Array]:
    return [_int8(call) if call.array(0).dtype == np.int8 else _float(call)]


def _shifted_state(call: OpCall, newest: Array) -> Array:
    """Drop the oldest step of the state, append ``newest`` (N, filters); return (N, filters, T)."""
    state = call.array(4)
    window = state.reshape(*newest.shape, -1)
    window[:, :, :-1] = window[:, :, 1:].copy()
    window[:, :, -1] = newest
    state[...] = window.reshape(state.shape)
    return window


def _float(call: OpCall) -> Array:
    x, feature, time = (call.array(index).astype(np.float32) for index in range(3))
    window = _shifted_state(call, x @ feature.T).astype(np.float32)
    filtered = (window * time).sum(axis=2)
    total = filtered.reshape(x.shape[0], -1, call.view.int_attr("rank")).sum(axis=2)
    bias = call.optional_array(3)
    if bias is not None:
        total = total + bias.astype(np.float32)
    return clamp(total, call.view.str_attr("activation", "none"))


def _int8(call: OpCall) -> Array:
    view = call.view
    x, state, output = view.input(0), view.input(4), view.outputs[0]
    first, second = _factors(view)
    dot = int8.exact_matmul(int8.centred(call.array(0), x), call.array(1).astype(np.int32).T)
    newest = int8.saturate(int8.multiply(dot, first) + int8.zero_point_of(state), state.dtype)
    window = _shifted_state(call, newest)
    filtered = int8.centred(window, state).astype(np.int64) * call.array(2).astype(np.int64)
    ranks = filtered.sum(axis=2).reshape(call.array(0).shape[0], -1, view.int_attr("rank"))
    # Accumulators are int32 in C; where they overflow, they wrap.
    total = ranks.sum(axis=2).astype(np.int32)
    bias = call.optional_array(3)
    if bias is not None:
        total = total + bias.astype(np.int32)
    return int8.store(total, second, output, "none")


def _factors(view: OpView) -> tuple[int8.Multipliers, int8.Multipliers]:
    """Return the factors to the state's and to the output's scale, formed in float32."""
    x, feature, time = (int8.scale_of(view.input(index)) for index in range(3))
    state, output = int8.scale_of(view.input(4)), int8.scale_of(view.outputs[0])
    first = int8.quantize_multipliers(float(x * feature / state))
    return first, int8.quantize_multipliers(float(state * time / output))


def _macs(view: OpView) -> int:
    batch = view.input(0).static_shape[0]
    return batch * (view.input(1).elements + view.input(2).elements)


def _cases() -> Iterable[OpCase]:
    for batch, inputs, units, rank, memory in ((1, 6, 4, 1, 5), (2, 5, 3, 2, 4)):
        filters = units * rank
        attrs: dict[str, Attr] = {"rank": rank, "activation": "relu"}
        name = f"rank{rank}_batch{batch}"
        yield cases.case(
            f"float_{name}",
            _infer,
            (
                cases.float_input("x", (batch, inputs)),
                cases.float_input("feature", (filters, inputs), -1, 1, const=True),
                cases.float_input("time", (filters, memory), -1, 1, const=True),
                cases.float_input("bias", (units,), const=True),
                _state(cases.float_input("state", (batch, filters * memory))),
            ),
            attrs,
            tolerance=1e-4,
        )
        for stored in (DType.INT8, DType.INT16):
            yield _int8_case(f"{stored.value}_{name}", batch, inputs, units, rank, memory, stored)


def _int8_case(
    name: str, batch: int, inputs: int, units: int, rank: int, memory: int, stored: DType
) -> OpCase:
    filters = units * rank
    is_short = stored is DType.INT8
    magnitude = 128 if is_short else 20000
    time_scale, state_scale = (0.01, 0.8) if is_short else (0.0001, 0.004)
    time = cases.integer_input("time", (filters, memory), stored, 1 - magnitude, magnitude)
    state = cases.integer_input("state", (batch, filters * memory), stored, -magnitude, magnitude)
    return cases.case(
        f"int8_state_{name}",
        _infer,
        (
            cases.int8_input("x", (batch, inputs), 0.05, 9),
            cases.int8_input("feature", (filters, inputs), 0.02, const=True),
            (_scaled(time, time_scale, TensorKind.CONSTANT), time[1]),
            cases.int32_bias("bias", units),
            (_scaled(state, state_scale, TensorKind.STATE), state[1]),
        ),
        {"rank": rank, "activation": "none"},
        scale=2.0,
        zero_point=-4,
    )


def _scaled(given: cases.Input, scale: float, kind: TensorKind) -> Tensor:
    tensor, data = given
    load = (lambda: data) if kind is TensorKind.CONSTANT else None
    quantization = Quantization.per_tensor(scale, 0)
    return Tensor(tensor.name, tensor.shape, tensor.dtype, kind, quantization, load)


def _state(given: cases.Input) -> cases.Input:
    tensor, data = given
    return Tensor(tensor.name, tensor.shape, tensor.dtype, TensorKind.STATE), data


SPECS = (OpSpec("svdf", _infer, _reference, _macs, cases=_cases),)
