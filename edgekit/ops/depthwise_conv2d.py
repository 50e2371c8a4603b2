"""``depthwise_conv2d``: every input channel is convolved on its own.

Inputs: x (N, H, W, C), weights (1, KH, KW, C * depth_multiplier), optional bias. Attributes:
``strides``, ``dilations``, ``padding``, ``depth_multiplier``, ``activation``; always NHWC. Output
channel ``c * depth_multiplier + m`` comes from input channel ``c``.

Int8, int4 and int2: as ``conv2d``, weights per channel of axis 3.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Attr
from edgekit.ops import cases, int8
from edgekit.ops.broadcast import clamp
from edgekit.ops.checks import SMALL, declared_dtype, require_quantized_pair
from edgekit.ops.conv2d import is_packed, packed_bytes, patches_bytes, pixels_bytes
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType
from edgekit.ops.windows import Window, image_dims, image_shape, pad_image, tap, window_of


def _window(view: OpView) -> Window:
    shape = view.input(1).static_shape
    if len(shape) != 4 or shape[0] != 1:
        raise ModelError(f"layer {view.node.where}: weights {list(shape)} are not (1, KH, KW, C)")
    return window_of(view, (shape[1], shape[2]))


def _infer(view: OpView) -> list[TensorType]:
    dtype = declared_dtype(view, require_quantized_pair(view, SMALL))
    batch, height, width, channels = image_dims(view, view.input(0).shape)
    size = _window(view).output_size(height, width, where=view.node.where)
    multiplier = view.int_attr("depth_multiplier", 1)
    out_channels = view.input(1).static_shape[3]
    if isinstance(channels, str) or channels * multiplier != out_channels:
        raise ModelError(
            f"layer {view.node.where}: {channels} channels times {multiplier} are not the "
            f"{out_channels} of the weights"
        )
    bias = view.optional_input(2)
    if bias is not None and bias.static_shape != (out_channels,):
        raise ModelError(f"layer {view.node.where}: bias {list(bias.shape)} for {out_channels}")
    return [TensorType(image_shape(view, batch, size, out_channels), dtype)]


def _macs(view: OpView) -> int:
    window = _window(view)
    return view.outputs[0].elements * window.kernel[0] * window.kernel[1]


def _scratch_bytes(view: OpView, kernels: KernelSet) -> int:
    """Return what ``ek_depthwise_conv2d_s8`` needs: one plane with its padding.

    DSP kernels hold in 16 bits the rows of four planes that a window is high, as wide as windows of
    whole fours of outputs. MVE kernels hold such rows of 16 channels. A layer of one input
    channel is computed as a plain convolution.
    """
    if view.input(0).dtype not in SMALL:
        return 0
    window, shape = _window(view), view.input(0).static_shape
    out_shape = view.outputs[0].static_shape
    if is_packed(view, kernels):
        return _packed_bytes(view, kernels)
    if shape[3] == 1:
        unmoved = window.kernel == window.strides == (1, 1) and shape[:3] == out_shape[:3]
        if kernels is KernelSet.CORTEX_M_MVE and unmoved:
            return pixels_bytes(view)
        return patches_bytes(window.kernel[0] * window.kernel[1], 1, kernels)
    size = window.output_size(shape[1], shape[2], where=view.node.where)
    return _planes_bytes(window, size, kernels)


def _planes_bytes(window: Window, size: tuple[int, int], kernels: KernelSet) -> int:
    """Return the bytes of the planes that are convolved at once to an output of a size."""
    height, width = (
        (size[axis] - 1) * window.strides[axis]
        + (window.kernel[axis] - 1) * window.dilations[axis]
        + 1
        for axis in range(2)
    )
    if kernels is KernelSet.CORTEX_M_DSP:
        kept_rows = (window.kernel[0] - 1) * window.dilations[0] + 1
        pitch = width + -size[1] % 4 * window.strides[1]
        return 4 * 2 * kept_rows * (pitch + pitch % 2)
    if kernels is KernelSet.CORTEX_M_MVE:
        return 16 * ((window.kernel[0] - 1) * window.dilations[0] + 1) * width
    return height * width


def _packed_bytes(view: OpView, kernels: KernelSet) -> int:
    """Return what ``ek_depthwise_conv2d_packed`` needs.

    Weights and results of four channels: of a row, with the rows that DSP kernels keep of the
    image; else of a band of rows, which is unpacked and convolved by the kernel of int8.
    """
    window, (_, rows, columns, channels) = _window(view), view.input(0).static_shape
    if channels == 1:
        return packed_bytes(view, window, 1, kernels)
    _, out_rows, out_columns, out_channels = view.outputs[0].static_shape
    multiplier, taps = out_channels // channels, window.kernel[0] * window.kernel[1]
    if kernels is KernelSet.CORTEX_M_DSP:
        kept = _planes_bytes(window, (out_rows, out_columns), kernels)
        return kept + _CHANNELS * multiplier * (-(-out_columns // 4) * 4 + taps)
    band = min(_BAND_ROWS, out_rows)
    reach = (window.kernel[0] - 1) * window.dilations[0] + 1
    taken = min(_CHANNELS, channels)
    made = taken * multiplier
    kernel_bytes = -(-_planes_bytes(window, (band, out_columns), kernels) // 4) * 4
    unpacked = min(rows, (band - 1) * window.strides[0] + reach) * columns * taken
    return kernel_bytes + taps * made + unpacked + band * out_columns * made


_CHANNELS, _BAND_ROWS = 4, 8
"""Of packed images, what is convolved at a time."""


def _works_in_place(view: OpView) -> bool:
    """Whether quantized planes come out where they were.

    They are copied to scratch memory one by one, or row by row ahead of the output's rows.
    """
    x, y = view.input(0), view.outputs[0]
    unmoved = (x.shape, x.dtype) == (y.shape, y.dtype) and _window(view).strides == (1, 1)
    return x.dtype in SMALL and unmoved and x.shape[3] != 1


def _reference(call: OpCall) -> list[Array]:
    compute = _int8 if call.array(0).dtype == np.int8 else _float
    return [compute(call)]


def _accumulate(padded: Array, weights: Array, view: OpView) -> Array:
    """Return the sum over the taps: shape (N, OH, OW, C_out), in the type of the weights.

    Parameters
    ----------
    padded : array of float32 or int32, shape (N, H, W, C)
    weights : array of the same type, shape (1, KH, KW, C_out)
    """
    window, shape = _window(view), view.input(0).static_shape
    size = window.output_size(shape[1], shape[2], where=view.node.where)
    wide = np.repeat(padded, view.int_attr("depth_multiplier", 1), axis=3)
    acc: Array = np.zeros((padded.shape[0], *size, weights.shape[3]), weights.dtype)
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            product = np.multiply(tap(wide, window, size, row, column), weights[0, row, column])
            acc = np.add(acc, product, out=acc)
    return acc


def _float(call: OpCall) -> Array:
    window = _window(call.view)
    padded = pad_image(call.array(0), window.padding, 0).astype(np.float32)
    acc = _accumulate(padded, call.array(1).astype(np.float32), call.view).astype(np.float32)
    bias = call.optional_array(2)
    if bias is not None:
        acc += bias.astype(np.float32)
    return clamp(acc, call.view.str_attr("activation", "none")).astype(call.array(0).dtype)


def _int8(call: OpCall) -> Array:
    view, window = call.view, _window(call.view)
    x = int8.centred(call.array(0), view.input(0))
    padded = pad_image(x, window.padding, 0).astype(np.int32)
    acc = _accumulate(padded, call.array(1).astype(np.int32), view).astype(np.int32)
    bias = call.optional_array(2)
    if bias is not None:
        acc += bias.astype(np.int32)
    factors = int8.channel_multipliers(view.input(0), view.input(1), view.outputs[0])
    return int8.store(acc, factors, view.outputs[0], view.str_attr("activation", "none"))


_GEOMETRIES: tuple[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Attr]], ...] = (
    ("same3x3", (2, 7, 5, 3), (1, 3, 3, 3), {"padding": ((1, 1), (1, 1))}),
    (
        "stride2_odd",
        (1, 11, 9, 4),
        (1, 5, 3, 4),
        {"strides": (2, 2), "padding": ((2, 2), (0, 1)), "activation": "relu6"},
    ),
    ("multiplier", (1, 6, 6, 3), (1, 3, 3, 6), {"depth_multiplier": 2, "activation": "relu"}),
    ("one_channel", (1, 9, 8, 1), (1, 4, 2, 8), {"depth_multiplier": 8, "strides": (2, 3)}),
    ("dilated", (1, 9, 9, 2), (1, 3, 3, 2), {"dilations": (2, 3)}),
    ("whole_image", (1, 4, 5, 3), (1, 4, 5, 3), {}),
    ("fours3x3", (2, 4, 11, 8), (1, 3, 3, 8), {"padding": ((1, 1), (1, 1))}),
    ("fours3x3_stride2", (1, 7, 14, 4), (1, 3, 3, 4), {"strides": (2, 2), "activation": "relu"}),
)
"""Name, x (N, H, W, C), weights (1, KH, KW, C_out), attributes."""


def _cases() -> Iterable[OpCase]:
    for name, x_shape, w_shape, extra in _GEOMETRIES:
        attrs: dict[str, Attr] = {"padding": ((0, 0), (0, 0)), **extra}
        bias = None if name == "dilated" else cases.float_input("bias", w_shape[3:], const=True)
        x = cases.float_input("x", x_shape)
        weights = cases.float_input("weights", w_shape, -1, 1, const=True)
        yield cases.case(f"float_{name}", _infer, (x, weights, bias), attrs, tolerance=1e-4)
        yield cases.case(
            f"int8_{name}",
            _infer,
            (
                cases.int8_input("x", x_shape, 0.05, -7),
                cases.int8_weights("weights", w_shape, 3),
                cases.int32_bias("bias", w_shape[3]),
            ),
            attrs,
            scale=0.1,
            zero_point=-9,
        )
        yield from cases.packed_convolutions(
            name, _infer, (x_shape, w_shape), attrs, _WIDTHS, channel_axis=3, scale=2
        )


_WIDTHS = (
    (DType.INT4, DType.INT8, DType.INT4),
    (DType.INT8, DType.INT8, DType.INT2),
    (DType.INT2, DType.INT8, DType.INT8),
    (DType.INT4, DType.INT4, DType.INT4),
    (DType.INT8, DType.INT2, DType.INT4),
)
"""Types of x, weights and output."""


SPECS = (
    OpSpec(
        name="depthwise_conv2d",
        infer=_infer,
        reference=_reference,
        macs=_macs,
        scratch_bytes=_scratch_bytes,
        quantization=QuantRule.WEIGHTED,
        channel_axis=3,
        in_place=((0, 0),),
        in_place_when=_works_in_place,
        cases=_cases,
    ),
)
