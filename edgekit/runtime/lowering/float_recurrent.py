"""Layers on float32 with a state."""

from __future__ import annotations

import numpy as np

from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.call import Field, KernelCall, call
from edgekit.runtime.lowering.float_layers import (
    activation_bounds,
    constant_or,
    require_floats,
)

_GATES = 4
_OUTPUT_STATE, _CELL_STATE = 18, 19


def svdf(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a dense layer of low rank over a window of time."""
    require_floats(view)
    x, state = view.input(0), view.input(4)
    feature, time = view.input(1).data, view.input(2).data
    rank = view.int_attr("rank")
    units = feature.shape[0] // rank
    fields: dict[str, Field] = {
        "batches": x.static_shape[0],
        "depth": feature.shape[1],
        "units": units,
        "rank": rank,
        "memory": time.shape[1],
        **activation_bounds(view),
        "feature_weights": feature,
        "time_weights": time,
        "bias": constant_or(view.optional_input(3), view, units, 0.0),
    }
    return (call("ek_svdf_f32", fields, x.name, state.name, view.outputs[0].name),)


def unidirectional_lstm(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a long short-term memory layer."""
    require_floats(view)
    x, state, cell = view.input(0), view.input(_OUTPUT_STATE), view.input(_CELL_STATE)
    time_major = view.bool_attr("time_major", False)
    first, second, depth = x.static_shape
    steps, batches = (first, second) if time_major else (second, first)
    given, recurrent, bias = (
        np.stack([view.input(start + gate).data for gate in range(_GATES)]) for start in (1, 5, 12)
    )
    fields: dict[str, Field] = {
        "batches": batches,
        "steps": steps,
        "depth": depth,
        "units": recurrent.shape[1],
        "step_stride": batches if time_major else 1,
        "batch_stride": 1 if time_major else steps,
        "cell_clip": view.float_attr("cell_clip", 0.0),
        "input_weights": given,
        "recurrent_weights": recurrent,
        "bias": bias,
    }
    names = x.name, state.name, cell.name, view.outputs[0].name
    return (call("ek_unidirectional_lstm_f32", fields, *names),)
