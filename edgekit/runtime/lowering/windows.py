"""Pooling."""

from __future__ import annotations

from edgekit.ops import int8
from edgekit.ops.checks import SMALL
from edgekit.ops.spec import OpView
from edgekit.ops.windows import is_nchw, pair_attr, window_of
from edgekit.runtime.lowering.call import Field, KernelCall, no_kernel, require_types


def window_fields(view: OpView, kernel: tuple[int, int], groups: int) -> dict[str, int]:
    """Return sizes and window of a layer on images, as the structures of convolutions begin."""
    if is_nchw(view):
        raise no_kernel(view, "images must have their channels last")
    window = window_of(view, kernel)
    batches, height, width, channels = view.input(0).static_shape
    _, out_height, out_width, out_channels = view.outputs[0].static_shape
    return {
        "batches": batches,
        "input_height": height,
        "input_width": width,
        "input_channels": channels,
        "output_height": out_height,
        "output_width": out_width,
        "output_channels": out_channels,
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_height": window.strides[0],
        "stride_width": window.strides[1],
        "dilation_height": window.dilations[0],
        "dilation_width": window.dilations[1],
        "pad_top": window.padding[0][0],
        "pad_left": window.padding[1][0],
        "groups": groups,
    }


def pool_fields(view: OpView) -> dict[str, int]:
    """Return sizes and window of a pooling layer, as its structures begin."""
    window = window_fields(view, pair_attr(view, "kernel"), 1)
    renamed = {"channels" if name == "input_channels" else name: window[name] for name in window}
    return {name: value for name, value in renamed.items() if name not in _NOT_OF_POOLING}


_NOT_OF_POOLING = ("output_channels", "groups")


def pool2d(view: OpView) -> tuple[KernelCall, ...]:
    """Lower an average or maximum over windows."""
    require_types(view, 1, SMALL)
    if view.bool_attr("count_include_pad", False):
        raise no_kernel(view, "padding counts")
    low, high = int8.activation_range(view.str_attr("activation", "none"), view.outputs[0])
    fields: dict[str, Field] = {
        **pool_fields(view),
        "activation_min": low,
        "activation_max": high,
    }
    x, names = view.input(0), (view.input(0).name, view.outputs[0].name)
    function = f"ek_{view.node.op}_{'packed' if x.dtype.is_packed else 's8'}"
    if not x.dtype.is_packed:
        return (KernelCall(function, "ek_pool2d_s8_params", fields, names),)
    own: dict[str, Field] = {f"base.{name}": field for name, field in fields.items()}
    own["value_bits"] = x.dtype.bits
    return (KernelCall(function, "ek_pool2d_packed_params", own, names),)
