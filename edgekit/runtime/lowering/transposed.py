"""Transposed convolution of int8."""

from __future__ import annotations

import numpy as np

from edgekit.ops import int8
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.call import Field, KernelCall, no_kernel, require_types
from edgekit.runtime.lowering.weighted import output_stage
from edgekit.runtime.lowering.windows import window_fields


def transpose_conv2d(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a transposed convolution; weights stay as they are, biases hold no zero points."""
    require_types(view, 2)
    weights, bias = view.input(1), view.optional_input(2)
    if not weights.is_constant or (bias is not None and not bias.is_constant):
        raise no_kernel(view, "weights must be constants")
    shape = weights.static_shape
    factors = int8.channel_multipliers(view.input(0), weights, view.outputs[0])
    rows = np.zeros((shape[0], 3), np.int32)
    rows[:, 0] = 0 if bias is None else bias.data
    rows[:, 1] = factors.multiplier
    rows[:, 2] = factors.shift
    fields: dict[str, Field] = {
        **window_fields(view, (shape[1], shape[2]), 1),
        "input_zero_point": int8.zero_point_of(view.input(0)),
        **output_stage(view),
        "simple_rescale": 0,
        "weights": weights.data,
        "channels": rows,
    }
    names = view.input(0).name, view.outputs[0].name
    return (KernelCall("ek_transpose_conv2d_s8", "ek_conv2d_s8_params", fields, names),)
