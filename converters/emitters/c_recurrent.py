"""Layers with state in generated C: SVDF and LSTM. Their states are updated in place."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgekit.converters.emitters.c_call import CallSite, CCall, no_kernel
from edgekit.converters.emitters.c_elementwise import c_numbers
from edgekit.converters.emitters.c_windows import require_int8
from edgekit.dtypes import DType
from edgekit.ops import int8
from edgekit.ops.int16_tables import SIGMOID
from edgekit.ops.spec import OpView

GATES = range(4)
OUTPUT_STATE, CELL_STATE = 18, 19
GATE_SCALE = np.float32(2.0**-12)
ACTIVATED_SCALE = 2.0**-15
"""As in the reference of the LSTM."""


def svdf(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of a dense layer of low rank over time."""
    view = site.view
    require_int8(view, 2)
    feature, time, state = view.input(1), view.input(2), view.input(4)
    filters, depth = feature.static_shape
    rank = view.int_attr("rank")
    scales = [int8.scale_of(tensor) for tensor in (view.input(0), feature, state, time)]
    first = int8.quantize_multiplier(float(scales[0] * scales[1] / scales[2]))
    second = int8.quantize_multiplier(float(scales[2] * scales[3] / int8.scale_of(view.outputs[0])))
    weights = feature.data.astype(np.int64)
    folded = -int8.zero_point_of(view.input(0)) * weights.sum(axis=1)
    given = view.optional_input(3)
    bias = np.zeros(filters // rank, np.int32) if given is None else given.data
    name = view.node.name
    fields = {
        "batches": str(view.input(0).static_shape[0]),
        "depth": str(depth),
        "units": str(filters // rank),
        "rank": str(rank),
        "memory": str(time.static_shape[1]),
        "state_zero_point": str(int8.zero_point_of(state)),
        "feature_multiplier": str(first[0]),
        "feature_shift": str(first[1]),
        "output_multiplier": str(second[0]),
        "output_shift": str(second[1]),
        "output_zero_point": str(int8.zero_point_of(view.outputs[0])),
        "feature_weights": site.input(1),
        "time_weights": site.input(2),
        "feature_bias": site.pool.array(folded.astype(np.int32), "int32_t", f"sums of {name}"),
        "bias": site.pool.array(bias, "int32_t", f"bias of {name}"),
    }
    function = "ek_svdf_s8_s16" if state.dtype is DType.INT16 else "ek_svdf_s8"
    arguments = (site.input(0), site.input(4), site.output())
    return (CCall(function, "ek_svdf_s8_params", fields, arguments),)


def unidirectional_lstm(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of a long short-term memory layer."""
    view = site.view
    require_int8(view, 2)
    if any(int8.zero_point_of(view.input(index)) != 0 for index in range(1, 9)):
        raise no_kernel(view)
    fields = {**_shape_fields(view), **_factor_fields(view)}
    name = view.node.name
    for field, first in (("input_weights", 1), ("recurrent_weights", 5)):
        stacked = np.stack([view.input(first + gate).data for gate in GATES])
        fields[field] = site.pool.array(stacked, "int8_t", f"{field} of {name}")
    for field, source, first in (("input_bias", 0, 1), ("recurrent_bias", OUTPUT_STATE, 5)):
        folded = np.stack([_folded_bias(view, source, first + gate, gate) for gate in GATES])
        fields[field] = site.pool.array(folded, "int32_t", f"{field} of {name}")
    fields["sigmoid"] = site.pool.array(SIGMOID.astype(np.uint16), "uint16_t", "sigmoid table")
    states = (site.input(OUTPUT_STATE), site.input(CELL_STATE))
    arguments = (site.input(0), *states, site.scratch[0], site.output())
    function = "ek_unidirectional_lstm_s8"
    return (CCall(function, f"{function}_params", fields, arguments),)


def _shape_fields(view: OpView) -> dict[str, str]:
    time_major = view.bool_attr("time_major", False)
    first, second, depth = view.input(0).static_shape
    batches, steps = (second, first) if time_major else (first, second)
    return {
        "batches": str(batches),
        "steps": str(steps),
        "depth": str(depth),
        "units": str(view.input(5).static_shape[0]),
        "step_stride": str(batches if time_major else 1),
        "batch_stride": str(1 if time_major else steps),
    }


def _factor_fields(view: OpView) -> dict[str, str]:
    cell_scale = float(int8.scale_of(view.input(CELL_STATE)))
    hidden = view.input(OUTPUT_STATE)
    product = ACTIVATED_SCALE * ACTIVATED_SCALE
    clip = view.float_attr("cell_clip", 0.0) / cell_scale
    single = {
        "forget": ACTIVATED_SCALE * cell_scale / cell_scale,
        "cell": product / cell_scale,
        "hidden": product / float(int8.scale_of(hidden)),
    }
    fields: dict[str, str] = {}
    for name, source, first in (("input", 0, 1), ("recurrent", OUTPUT_STATE, 5)):
        factors = [_gate_factor(view, source, first + gate) for gate in GATES]
        fields[f"{name}_multipliers"] = c_numbers(tuple(factor[0] for factor in factors))
        fields[f"{name}_shifts"] = c_numbers(tuple(factor[1] for factor in factors))
    for name, real in single.items():
        multiplier, shift = int8.quantize_multiplier(real)
        fields |= {f"{name}_multiplier": str(multiplier), f"{name}_shift": str(shift)}
    return {
        **fields,
        "hidden_zero_point": str(int8.zero_point_of(hidden)),
        "cell_scale_power": str(round(math.log2(cell_scale))),
        "cell_clip": str(int(min(max(clip, -32768.0), 32767.0))),
    }


def _gate_factor(view: OpView, source: int, weights: int) -> tuple[int, int]:
    product = int8.scale_of(view.input(source)) * int8.scale_of(view.input(weights))
    return int8.quantize_multiplier(float(product) / float(GATE_SCALE))


def _folded_bias(view: OpView, source: int, weights: int, gate: int) -> npt.NDArray[np.int32]:
    """Return the bias of a gate less the weights' sums times the zero point of what they meet."""
    sums = view.input(weights).data.astype(np.int64).sum(axis=1)
    folded: npt.NDArray[np.int64] = -int8.zero_point_of(view.input(source)) * sums
    if source == 0:
        folded = folded + view.input(12 + gate).data.astype(np.int64)
    return folded.astype(np.int32)
