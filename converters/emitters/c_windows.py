"""Sliding windows and fused activations in generated C, and pooling."""

from __future__ import annotations

from edgekit.converters.emitters.c_call import CallSite, CCall, no_kernel
from edgekit.dtypes import DType
from edgekit.ops import int8
from edgekit.ops.spec import OpView
from edgekit.ops.windows import is_nchw, pair_attr, window_of


def window_fields(view: OpView, kernel: tuple[int, int]) -> dict[str, str]:
    """Return the fields that say how a window slides over an image.

    Raises
    ------
    UnsupportedOpError
        If the node does not have channels last.
    """
    if is_nchw(view):
        raise no_kernel(view)
    window = window_of(view, kernel)
    batches, height, width, _ = view.input(0).static_shape
    _, out_height, out_width, _ = view.outputs[0].static_shape
    values = {
        "batches": batches,
        "input_height": height,
        "input_width": width,
        "output_height": out_height,
        "output_width": out_width,
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_height": window.strides[0],
        "stride_width": window.strides[1],
        "dilation_height": window.dilations[0],
        "dilation_width": window.dilations[1],
        "pad_top": window.padding[0][0],
        "pad_left": window.padding[1][0],
    }
    return {name: str(value) for name, value in values.items()}


def activation_fields(view: OpView) -> dict[str, str]:
    """Return the clamp of a fused activation, on stored values of the output."""
    low, high = int8.activation_range(view.str_attr("activation", "none"), view.outputs[0])
    return {"activation_min": str(low), "activation_max": str(high)}


def require_types(view: OpView, *expected: DType) -> None:
    """Refuse a node whose first inputs and output have other types (UnsupportedOpError)."""
    tensors = [*(view.input(index) for index in range(len(expected) - 1)), view.outputs[0]]
    if tuple(tensor.dtype for tensor in tensors) != expected:
        raise no_kernel(view)


def require_int8(view: OpView, inputs: int = 1) -> None:
    """Refuse a node whose first inputs and output are not all int8 (UnsupportedOpError)."""
    require_types(view, *[DType.INT8] * (inputs + 1))


def average_pool2d(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of an average pooling."""
    if site.view.bool_attr("count_include_pad", False):
        raise no_kernel(site.view)
    return _pool(site, "ek_average_pool2d_s8")


def max_pool2d(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of a maximum pooling."""
    return _pool(site, "ek_max_pool2d_s8")


def _pool(site: CallSite, function: str) -> tuple[CCall, ...]:
    view = site.view
    require_int8(view)
    fields = {
        **window_fields(view, pair_attr(view, "kernel")),
        "channels": str(view.input(0).static_shape[3]),
        **activation_fields(view),
    }
    return (CCall(function, "ek_pool2d_s8_params", fields, (site.input(0), site.output())),)
