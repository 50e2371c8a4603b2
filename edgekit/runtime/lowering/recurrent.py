"""Layers with a state: low rank over time, and long short-term memory."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import DType
from edgekit.ops import int8
from edgekit.ops.int16_tables import SIGMOID
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.call import (
    SCRATCH,
    Field,
    KernelCall,
    call,
    no_kernel,
    require_types,
)

_GATES = 4
_OUTPUT_STATE, _CELL_STATE = 18, 19
_GATE_SCALE = 2.0**-12
_ACTIVATED_SCALE = 2.0**-15
"""As in :mod:`edgekit.ops.unidirectional_lstm`."""


def svdf(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a dense layer of low rank over a window of time."""
    require_types(view, 2)
    x, state, y = view.input(0), view.input(4), view.outputs[0]
    functions = {DType.INT8: "ek_svdf_s8", DType.INT16: "ek_svdf_s8_s16"}
    if state.dtype not in functions:
        raise no_kernel(view)
    feature, time = view.input(1).data, view.input(2).data
    bias = view.optional_input(3)
    scales = [int8.scale_of(view.input(index)) for index in (0, 1, 2)]
    first = int8.quantize_multiplier(float(scales[0] * scales[1] / int8.scale_of(state)))
    product = int8.scale_of(state) * scales[2]
    second = int8.quantize_multiplier(float(product / int8.scale_of(y)))
    rank = view.int_attr("rank")
    units = feature.shape[0] // rank
    fields: dict[str, Field] = {
        "batches": x.static_shape[0],
        "depth": feature.shape[1],
        "units": units,
        "rank": rank,
        "memory": time.shape[1],
        "state_zero_point": int8.zero_point_of(state),
        "feature_multiplier": first[0],
        "feature_shift": first[1],
        "output_multiplier": second[0],
        "output_shift": second[1],
        "output_zero_point": int8.zero_point_of(y),
        "feature_weights": feature,
        "time_weights": time,
        "feature_bias": folded(feature, int8.zero_point_of(x)),
        "bias": np.zeros(units, np.int32) if bias is None else bias.data,
    }
    names = x.name, state.name, y.name
    return (KernelCall(functions[state.dtype], "ek_svdf_s8_params", fields, names),)


def folded(weights: npt.NDArray[np.generic], zero_point: int) -> npt.NDArray[np.int32]:
    """Return minus the zero point times the sum over each row of weights."""
    total: npt.NDArray[np.int64] = weights.astype(np.int64).sum(axis=-1)
    return (-zero_point * total).astype(np.int32)


def unidirectional_lstm(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a long short-term memory layer."""
    require_types(view, 1)
    x, state, cell = view.input(0), view.input(_OUTPUT_STATE), view.input(_CELL_STATE)
    if any(int8.zero_point_of(view.input(index)) for index in range(1, 9)):
        raise no_kernel(view, "weights must be symmetric")
    time_major = view.bool_attr("time_major", False)
    first, second, depth = x.static_shape
    steps, batches = (first, second) if time_major else (second, first)
    given = np.stack([view.input(1 + gate).data for gate in range(_GATES)])
    recurrent = np.stack([view.input(5 + gate).data for gate in range(_GATES)])
    bias = np.stack([view.input(12 + gate).data for gate in range(_GATES)])
    fields: dict[str, Field] = {
        "batches": batches,
        "steps": steps,
        "depth": depth,
        "units": recurrent.shape[1],
        "step_stride": batches if time_major else 1,
        "batch_stride": 1 if time_major else steps,
        **_gate_factors(view),
        **_cell_factors(view),
        "hidden_zero_point": int8.zero_point_of(state),
        "cell_scale_power": round(math.log2(float(int8.scale_of(cell)))),
        "cell_clip": _clip(view),
        "input_weights": given,
        "recurrent_weights": recurrent,
        "input_bias": bias.astype(np.int32) + folded(given, int8.zero_point_of(x)),
        "recurrent_bias": folded(recurrent, int8.zero_point_of(state)),
        "sigmoid": SIGMOID.astype(np.uint16),
    }
    names = x.name, state.name, cell.name, SCRATCH, view.outputs[0].name
    return (call("ek_unidirectional_lstm_s8", fields, *names),)


def _gate_factors(view: OpView) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    for name, x, weights in (("input", 0, 1), ("recurrent", _OUTPUT_STATE, 5)):
        scale = int8.scale_of(view.input(x))
        products = [scale * int8.scale_of(view.input(weights + gate)) for gate in range(_GATES)]
        pairs = [int8.quantize_multiplier(float(product) / _GATE_SCALE) for product in products]
        fields[f"{name}_multipliers"] = tuple(pair[0] for pair in pairs)
        fields[f"{name}_shifts"] = tuple(pair[1] for pair in pairs)
    return fields


def _cell_factors(view: OpView) -> dict[str, Field]:
    cell = float(int8.scale_of(view.input(_CELL_STATE)))
    hidden = float(int8.scale_of(view.input(_OUTPUT_STATE)))
    product = _ACTIVATED_SCALE * _ACTIVATED_SCALE
    fields: dict[str, Field] = {}
    for name, factor in (
        ("forget", _ACTIVATED_SCALE * cell / cell),
        ("cell", product / cell),
        ("hidden", product / hidden),
    ):
        fields[f"{name}_multiplier"], fields[f"{name}_shift"] = int8.quantize_multiplier(factor)
    return fields


def _clip(view: OpView) -> int:
    scale = float(int8.scale_of(view.input(_CELL_STATE)))
    return int(min(max(view.float_attr("cell_clip", 0.0) / scale, -32768.0), 32767.0))
