"""Geometry of sliding windows in generated C, and pooling."""

from __future__ import annotations

from edgekit.converters.emitters.c_call import CallSite, CCall, no_kernel
from edgekit.dtypes import DType
from edgekit.errors import UnsupportedOpError
from edgekit.ops import int8
from edgekit.ops.spec import OpView
from edgekit.ops.windows import is_nchw, pair_attr, window_of


def window_fields(view: OpView, kernel: tuple[int, int]) -> str:
    """Return the initializer of an ``ek_window``.

    Raises
    ------
    UnsupportedOpError
        If the node does not have channels last.
    """
    if is_nchw(view):
        raise no_kernel(view)
    window = window_of(view, kernel)
    batch, height, width, channels = view.input(0).static_shape
    _, out_height, out_width, out_channels = view.outputs[0].static_shape
    values = {
        "batch": batch,
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
    }
    return "{" + ", ".join(f".{name} = {value}" for name, value in values.items()) + "}"


def activation_fields(view: OpView) -> dict[str, str]:
    """Return the clamp of a fused activation, on stored values of the output."""
    low, high = int8.activation_range(view.str_attr("activation", "none"), view.outputs[0])
    return {"activation_min": str(low), "activation_max": str(high)}


def require_int8(view: OpView, inputs: int = 1) -> None:
    """Refuse a node whose first inputs and output are not all int8 (UnsupportedOpError)."""
    tensors = [*(view.input(index) for index in range(inputs)), view.outputs[0]]
    if any(tensor.dtype is not DType.INT8 for tensor in tensors):
        raise no_kernel(view)


def average_pool2d(site: CallSite) -> CCall:
    """Return the call of an average pooling."""
    if site.view.bool_attr("count_include_pad", False):
        raise UnsupportedOpError(
            "average_pool2d that counts padding",
            node=site.view.node.where,
            where="generated C: no kernel",
        )
    return _pool(site, "ek_average_pool2d_s8")


def max_pool2d(site: CallSite) -> CCall:
    """Return the call of a maximum pooling."""
    return _pool(site, "ek_max_pool2d_s8")


def _pool(site: CallSite, function: str) -> CCall:
    view = site.view
    require_int8(view)
    fields = {"window": window_fields(view, pair_attr(view, "kernel")), **activation_fields(view)}
    arguments = (site.place(view.input(0).name), site.place(view.outputs[0].name))
    return CCall(function, "ek_pool2d_s8_params", fields, arguments)
