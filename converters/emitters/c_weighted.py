"""Layers with weights in generated C: convolutions and dense layers."""

from __future__ import annotations

import numpy as np

from edgekit.converters.emitters.c_call import CallSite, CCall, no_kernel
from edgekit.converters.emitters.c_windows import activation_fields, require_int8, window_fields
from edgekit.ops import int8
from edgekit.ops.fully_connected import single_multiplier
from edgekit.ops.spec import OpView


def conv2d(site: CallSite) -> CCall:
    """Return the call of a convolution."""
    view = site.view
    require_int8(view, 2)
    shape = view.input(1).static_shape
    fields = {
        "window": window_fields(view, (shape[1], shape[2])),
        "groups": str(view.int_attr("groups", 1)),
        **_offsets(view),
        **activation_fields(view),
        **_channel_factors(site, shape[0]),
    }
    return CCall("ek_conv2d_s8", "ek_conv2d_s8_params", fields, _arguments(site))


def depthwise_conv2d(site: CallSite) -> CCall:
    """Return the call of a depthwise convolution."""
    view = site.view
    require_int8(view, 2)
    shape = view.input(1).static_shape
    fields = {
        "window": window_fields(view, (shape[1], shape[2])),
        "depth_multiplier": str(view.int_attr("depth_multiplier", 1)),
        **_offsets(view),
        **activation_fields(view),
        **_channel_factors(site, shape[3]),
    }
    name = "ek_depthwise_conv2d_s8"
    return CCall(name, f"{name}_params", fields, _arguments(site))


def fully_connected(site: CallSite) -> CCall:
    """Return the call of a dense layer."""
    view = site.view
    require_int8(view, 2)
    channels, depth = view.input(1).static_shape
    per_channel = int8.quantization_of(view.input(1)).axis is not None
    factors = (
        int8.channel_multipliers(view.input(0), view.input(1), view.outputs[0])
        if per_channel
        else single_multiplier(view)
    )
    fields = {
        "rows": str(view.outputs[0].elements // channels),
        "input_channels": str(depth),
        "output_channels": str(channels),
        **_offsets(view),
        "weights_offset": "0" if per_channel else str(-int8.zero_point_of(view.input(1))),
        **activation_fields(view),
        **_factor_arrays(site, factors),
        "per_channel": str(int(per_channel)),
    }
    name = "ek_fully_connected_s8"
    return CCall(name, f"{name}_params", fields, _arguments(site))


def _offsets(view: OpView) -> dict[str, str]:
    return {
        "input_offset": str(-int8.zero_point_of(view.input(0))),
        "output_offset": str(int8.zero_point_of(view.outputs[0])),
    }


def _channel_factors(site: CallSite, channels: int) -> dict[str, str]:
    view = site.view
    factors = int8.channel_multipliers(view.input(0), view.input(1), view.outputs[0])
    multiplier = np.broadcast_to(factors.multiplier, (channels,))
    shift = np.broadcast_to(factors.shift, (channels,))
    return _factor_arrays(site, int8.Multipliers(multiplier, shift))


def _factor_arrays(site: CallSite, factors: int8.Multipliers) -> dict[str, str]:
    where = site.view.node.name
    multiplier = np.atleast_1d(factors.multiplier).astype(np.int32)
    shift = np.atleast_1d(factors.shift).astype(np.int32)
    return {
        "multipliers": site.pool.array(multiplier, "int32_t", f"multipliers of {where}"),
        "shifts": site.pool.array(shift, "int32_t", f"shifts of {where}"),
    }


def _arguments(site: CallSite) -> tuple[str, ...]:
    view = site.view
    if not view.input(1).is_constant:
        raise no_kernel(view)
    bias = view.optional_input(2)
    return (
        site.place(view.input(0).name),
        site.place(view.input(1).name),
        "0" if bias is None else site.place(bias.name),
        site.place(view.outputs[0].name),
    )
