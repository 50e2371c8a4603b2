"""``conv2d``: two-dimensional convolution with groups.

Inputs: x, weights, optional bias (C_out,). Attributes: ``strides``, ``dilations``, ``padding``,
``groups``, ``layout``, ``activation``. NHWC: x (N, H, W, C_in), weights (C_out, KH, KW,
C_in / groups). NCHW: x (N, C_in, H, W), weights (C_out, C_in / groups, KH, KW).

Int8: weights symmetric, per channel or per tensor; bias int32; padding is the zero point. Int4 and
int2 in any place of int8: the same arithmetic, clamped to the output's range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Attr
from edgekit.ops import cases, int8
from edgekit.ops.broadcast import clamp
from edgekit.ops.checks import SMALL, declared_dtype, require_quantized_pair
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType
from edgekit.ops.windows import (
    Window,
    from_nhwc,
    image_dims,
    image_shape,
    is_nchw,
    pad_image,
    patches,
    to_nhwc,
    window_of,
)


def _window(view: OpView) -> Window:
    shape = view.input(1).static_shape
    if len(shape) != 4:
        raise ModelError(f"layer {view.node.where}: weights need 4 axes, not {len(shape)}")
    return window_of(view, (shape[2], shape[3]) if is_nchw(view) else (shape[1], shape[2]))


def _infer(view: OpView) -> list[TensorType]:
    dtype = declared_dtype(view, require_quantized_pair(view, SMALL))
    batch, height, width, channels = image_dims(view, view.input(0).shape)
    weights = view.input(1).static_shape
    size = _window(view).output_size(height, width, where=view.node.where)
    groups = view.int_attr("groups", 1)
    expected = weights[1] if is_nchw(view) else weights[3]
    if groups < 1 or channels != expected * groups or weights[0] % groups:
        raise ModelError(
            f"layer {view.node.where}: {channels} channels in {groups} groups do not fit weights "
            f"{list(weights)}"
        )
    bias = view.optional_input(2)
    if bias is not None and bias.static_shape != (weights[0],):
        raise ModelError(f"layer {view.node.where}: bias {list(bias.shape)} for {weights[0]}")
    return [TensorType(image_shape(view, batch, size, weights[0]), dtype)]


def _macs(view: OpView) -> int:
    weights = view.input(1).static_shape
    return view.outputs[0].elements * math.prod(weights[1:])


def _scratch_bytes(view: OpView, kernels: KernelSet) -> int:
    """Return what ``ek_conv2d_s8`` needs, or where values are packed ``ek_conv2d_packed``."""
    if view.input(0).dtype not in SMALL:
        return 0
    _, height, width, channels = view.input(1).static_shape
    if is_packed(view, kernels):
        return packed_bytes(view, _window(view), view.int_attr("groups", 1), kernels)
    if kernels is KernelSet.CORTEX_M_MVE and _is_pointwise(view):
        return pixels_bytes(view)
    if kernels is KernelSet.CORTEX_M_DSP and _reads_words(view):
        return 8 * channels
    return patches_bytes(height * width, channels, kernels)


def patches_bytes(taps: int, channels: int, kernels: KernelSet) -> int:
    """Return the bytes of the patches that are multiplied at once.

    Those of two pixels. Portable kernels fill them up to words. DSP kernels: of four pixels in 16
    bits, and one in bytes, in which it is collected.

    Parameters
    ----------
    taps, channels : int
        Pixels under the window, and channels of a group.
    """
    depth = -(-taps * channels // 4) * 4
    if kernels is KernelSet.CORTEX_M_DSP:
        return 9 * depth
    return 2 * (taps * channels if kernels is KernelSet.CORTEX_M_MVE else depth)


def is_packed(view: OpView, kernels: KernelSet) -> bool:
    """Whether kernels of packed values compute a layer with weights.

    MVE kernels read weights by the byte, whatever their bits.
    """
    tensors = [view.input(0), view.outputs[0]]
    if kernels is not KernelSet.CORTEX_M_MVE:
        tensors.append(view.input(1))
    return any(tensor.dtype.is_packed for tensor in tensors)


def packed_bytes(view: OpView, window: Window, groups: int, kernels: KernelSet) -> int:
    """Return what ``ek_conv2d_packed`` needs.

    DSP kernels: patches as ``ek_conv2d_s8`` does; of whole fours of packed channels, none is
    collected in bytes.
    """
    if kernels is not KernelSet.CORTEX_M_DSP:
        return _blocks_bytes(view, window, groups)
    x = view.input(0)
    channels, taps = x.static_shape[3] // groups, window.kernel[0] * window.kernel[1]
    is_direct = channels % 4 == 0 and (x.dtype.is_packed or _reads_words(view))
    return 8 * taps * channels if is_direct else patches_bytes(taps, channels, kernels)


def _blocks_bytes(view: OpView, window: Window, groups: int) -> int:
    """Return the bytes in which some pixels are unpacked, multiplied and packed.

    Their patches, filled up to words for each group, unless the pixels of an int8 image are
    multiplied where they lie; what the kernel of int8 needs for them; their results, unless these
    are int8.
    """
    x, y = view.input(0), view.outputs[0]
    same_pixels = window.kernel == window.strides == (1, 1) and x.shape[1:3] == y.shape[1:3]
    starts_inside = window.padding[0][0] == window.padding[1][0] == 0
    is_direct = x.dtype is DType.INT8 and same_pixels and starts_inside
    channels = x.static_shape[3] // groups
    taps = window.kernel[0] * window.kernel[1]
    depth = channels if is_direct else -(-taps * channels // 4) * 4
    pixels = min(max(_PATCHES_BYTES // (groups * depth) // 4 * 4, 4), _MOST_PIXELS)
    multiplied = patches_bytes(1, depth, KernelSet.PORTABLE)
    unpacked = 0 if is_direct else groups * depth
    results = y.static_shape[3] if y.dtype.is_packed else 0
    return multiplied + pixels * (unpacked + results)


_PATCHES_BYTES, _MOST_PIXELS = 512, 16
"""Of what is unpacked at a time."""


def _reads_words(view: OpView) -> bool:
    """Whether patches are words that lie in one piece, pixels of the image."""
    window, x, y = _window(view), view.input(0).static_shape, view.outputs[0].static_shape
    is_pixel = window.kernel == (1, 1) and view.input(1).static_shape[3] % 4 == 0
    starts_inside = window.padding[0][0] == window.padding[1][0] == 0
    ends = ((y[axis] - 1) * window.strides[axis - 1] < x[axis] for axis in (1, 2))
    return is_pixel and starts_inside and all(ends)


def pixels_bytes(view: OpView) -> int:
    """Return what MVE kernels need where an output pixel is made of the input's same pixel alone.

    Two pixels, if channels stay as many: the output may then overwrite the input.
    """
    (batches, height, width, channels), out_shape = (
        t.static_shape for t in (view.input(0), view.outputs[0])
    )
    # Pixels of all images are computed as one row.
    return min(batches * height * width, 2) * channels if channels == out_shape[3] else 0


def _is_pointwise(view: OpView) -> bool:
    window, unmoved = _window(view), view.input(0).shape[1:3] == view.outputs[0].shape[1:3]
    return window.kernel == window.strides == (1, 1) and view.int_attr("groups", 1) == 1 and unmoved


def _works_in_place(view: OpView) -> bool:
    """Whether each quantized row of the output can overwrite the input's same row."""
    x, y = view.input(0), view.outputs[0]
    plain = view.int_attr("groups", 1) == 1 and not is_nchw(view)
    same = (x.shape, x.dtype) == (y.shape, y.dtype)
    return x.dtype in SMALL and plain and same and _window(view).strides == (1, 1)


def _in_place_bytes(view: OpView) -> int:
    """Return the bytes of the rows that are read after the output has overwritten them.

    Above and left of its pixel a window reads nothing but what the padding lets it.
    """
    x = view.input(0)
    _, height, width, channels = x.static_shape
    (top, _), (left, _) = _window(view).padding
    row_bytes = x.dtype.size_bytes((width, channels))
    return min(top + 1, height) * row_bytes if top or left else 0


def _weight_matrices(weights: Array, view: OpView) -> list[Array]:
    """Return one (KH * KW * C_in / groups, C_out / groups) matrix for each group."""
    last = weights.transpose(0, 2, 3, 1) if is_nchw(view) else weights
    groups = view.int_attr("groups", 1)
    return [part.reshape(part.shape[0], -1).T for part in np.split(last, groups)]


def _group_patches(
    padded: Array, window: Window, size: tuple[int, int], groups: int
) -> list[Array]:
    """Return one (N * OH * OW, KH * KW * C_in / groups) matrix for each group."""
    windows = patches(padded, window, size)
    rows = padded.shape[0] * size[0] * size[1]
    return [part.reshape(rows, -1) for part in np.split(windows, groups, axis=5)]


def _reference(call: OpCall) -> list[Array]:
    view, window = call.view, _window(call.view)
    x = to_nhwc(call.array(0), view)
    size = window.output_size(x.shape[1], x.shape[2], where=view.node.where)
    compute = _int8 if x.dtype == np.int8 else _float
    flat = compute(call, x, window, size)
    return [from_nhwc(flat.reshape(x.shape[0], *size, flat.shape[-1]), view)]


def _float(call: OpCall, x: Array, window: Window, size: tuple[int, int]) -> Array:
    groups = call.view.int_attr("groups", 1)
    padded = pad_image(x, window.padding, 0)
    columns = _group_patches(padded, window, size, groups)
    weights = _weight_matrices(call.array(1), call.view)
    acc = np.concatenate(
        [
            part.astype(np.float32) @ matrix.astype(np.float32)
            for part, matrix in zip(columns, weights, strict=True)
        ],
        axis=1,
    )
    bias = call.optional_array(2)
    if bias is not None:
        acc += bias.astype(np.float32)
    return clamp(acc, call.view.str_attr("activation", "none")).astype(call.array(0).dtype)


def _int8(call: OpCall, x: Array, window: Window, size: tuple[int, int]) -> Array:
    view, groups = call.view, call.view.int_attr("groups", 1)
    zero_point = int8.zero_point_of(view.input(0))
    # int16 holds the difference and is what the copies below are made of.
    shifted = x.astype(np.int16) - np.int16(zero_point)
    columns = _group_patches(pad_image(shifted, window.padding, 0), window, size, groups)
    weights = _weight_matrices(call.array(1), view)
    acc: npt.NDArray[np.int32] = np.concatenate(
        [int8.exact_matmul(part, matrix) for part, matrix in zip(columns, weights, strict=True)],
        axis=1,
    )
    bias = call.optional_array(2)
    if bias is not None:
        acc += bias.astype(np.int32)
    factors = int8.channel_multipliers(view.input(0), view.input(1), view.outputs[0])
    return int8.store(acc, factors, view.outputs[0], view.str_attr("activation", "none"))


_DILATED: dict[str, Attr] = {"dilations": (2, 2)}
_GEOMETRIES: tuple[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Attr]], ...] = (
    ("pointwise", (1, 5, 7, 8), (6, 1, 1, 8), {}),
    ("same3x3", (2, 7, 5, 3), (4, 3, 3, 3), {"padding": ((1, 1), (1, 1))}),
    ("stride2_odd", (1, 11, 9, 3), (5, 5, 3, 3), {"strides": (2, 2), "activation": "relu6"}),
    ("one_sided", (1, 6, 6, 2), (3, 3, 3, 2), {"strides": (2, 1), "padding": ((0, 1), (0, 2))}),
    ("dilated", (1, 9, 8, 2), (3, 3, 2, 2), {"dilations": (2, 3), "activation": "relu"}),
    ("grouped", (1, 6, 5, 6), (4, 3, 3, 3), {"groups": 2}),
    ("deep", (1, 3, 3, 64), (8, 3, 3, 64), {"padding": ((1, 1), (1, 1))}),
    ("square", (2, 7, 6, 8), (8, 5, 3, 8), {"padding": ((2, 2), (1, 1))}),
    ("square_dilated", (1, 8, 9, 3), (3, 3, 3, 3), {"padding": ((4, 0), (3, 1)), **_DILATED}),
    ("single_pixels", (2, 1, 1, 5), (5, 1, 1, 5), {}),
    ("square_low", (2, 2, 5, 4), (4, 4, 3, 4), {"padding": ((3, 0), (1, 1))}),
)
"""Name, x (N, H, W, C), weights (C_out, KH, KW, C_in / groups), attributes."""


def _cases() -> Iterable[OpCase]:
    for name, x_shape, w_shape, extra in _GEOMETRIES:
        attrs: dict[str, Attr] = {"padding": ((0, 0), (0, 0)), "layout": "NHWC", **extra}
        bias = None if name == "dilated" else cases.float_input("bias", w_shape[:1], const=True)
        x = cases.float_input("x", x_shape)
        weights = cases.float_input("weights", w_shape, -1, 1, const=True)
        yield cases.case(f"float_{name}", _infer, (x, weights, bias), attrs, tolerance=2e-3)
        turned = {**attrs, "layout": "NCHW"}
        x, weights = cases.channels_first(x), cases.channels_first(weights)
        yield cases.case(f"float_nchw_{name}", _infer, (x, weights, bias), turned, tolerance=2e-3)
        yield from _int8_cases(name, x_shape, w_shape, attrs)


def _int8_cases(
    name: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], attrs: dict[str, Attr]
) -> Iterable[OpCase]:
    x = cases.int8_input("x", x_shape, 0.05, -7)
    bias = cases.int32_bias("bias", w_shape[0])
    yield from cases.packed_convolutions(
        name, _infer, (x_shape, w_shape), attrs, _WIDTHS, channel_axis=0, scale=8
    )
    per_channel = cases.int8_weights("weights", w_shape, 0)
    per_tensor = cases.int8_input("weights", w_shape, 0.02, const=True)
    for kind, weights in (("channel", per_channel), ("tensor", per_tensor)):
        yield cases.case(
            f"int8_{kind}_{name}", _infer, (x, weights, bias), attrs, scale=0.4, zero_point=11
        )


_WIDTHS = (
    (DType.INT8, DType.INT8, DType.INT4),
    (DType.INT4, DType.INT8, DType.INT4),
    (DType.INT4, DType.INT8, DType.INT8),
    (DType.INT2, DType.INT8, DType.INT4),
    (DType.INT8, DType.INT8, DType.INT2),
    (DType.INT8, DType.INT4, DType.INT8),
    (DType.INT4, DType.INT4, DType.INT4),
    (DType.INT4, DType.INT2, DType.INT2),
)
"""Types of x, weights and output."""


SPECS = (
    OpSpec(
        name="conv2d",
        infer=_infer,
        reference=_reference,
        macs=_macs,
        scratch_bytes=_scratch_bytes,
        quantization=QuantRule.WEIGHTED,
        channel_axis=0,
        in_place=((0, 0),),
        in_place_when=_works_in_place,
        in_place_bytes=_in_place_bytes,
        cases=_cases,
    ),
)
