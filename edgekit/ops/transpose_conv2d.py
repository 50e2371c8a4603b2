"""``transpose_conv2d``: each pixel adds its weighted kernel to the output (deconvolution).

Inputs: x, weights, optional bias (C_out,). Attributes: ``strides``, ``dilations``, ``padding``
(what is cut off the full result), ``output_padding`` (rows and columns appended at bottom and
right), ``groups``, ``layout``, ``activation``. NHWC: weights (C_out, KH, KW, C_in), one group, as
TensorFlow Lite. NCHW: weights (C_in, C_out / groups, KH, KW), as ONNX.

Int8: as ``conv2d``, weights per channel of C_out (NHWC only).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array
from edgekit.errors import ModelError
from edgekit.graph import Attr, Dim
from edgekit.ops import cases, int8
from edgekit.ops.broadcast import clamp
from edgekit.ops.checks import require_quantized_pair
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType
from edgekit.ops.windows import (
    Window,
    from_nhwc,
    image_dims,
    image_shape,
    is_nchw,
    pair_attr,
    to_nhwc,
    window_of,
)

Pair = tuple[int, int]


def _window(view: OpView) -> Window:
    shape = view.input(1).static_shape
    if len(shape) != 4:
        raise ModelError(f"layer {view.node.where}: weights need 4 axes, not {len(shape)}")
    return window_of(view, (shape[2], shape[3]) if is_nchw(view) else (shape[1], shape[2]))


def _channels(view: OpView) -> tuple[int, int]:
    """Return input and output channels of the whole operator, by its weights."""
    shape, groups = view.input(1).static_shape, view.int_attr("groups", 1)
    if groups < 1 or (groups > 1 and not is_nchw(view)):
        raise ModelError(f"layer {view.node.where}: {groups} groups")
    return (shape[0], shape[1] * groups) if is_nchw(view) else (shape[3], shape[0])


def _output_size(view: OpView, size: tuple[Dim, Dim]) -> Pair:
    window, extra = _window(view), pair_attr(view, "output_padding", (0, 0))
    lengths = []
    for axis, dim in enumerate(size):
        if isinstance(dim, str):
            raise ModelError(f"layer {view.node.where}: image size '{dim}' must be a number")
        span = (window.kernel[axis] - 1) * window.dilations[axis] + 1
        full = (dim - 1) * window.strides[axis] + span + extra[axis]
        lengths.append(full - sum(window.padding[axis]))
    if min(lengths) < 1 or min(extra) < 0:
        raise ModelError(f"layer {view.node.where}: nothing is left of the output")
    return lengths[0], lengths[1]


def _infer(view: OpView) -> list[TensorType]:
    dtype = require_quantized_pair(view)
    batch, height, width, channels = image_dims(view, view.input(0).shape)
    size = _output_size(view, (height, width))
    in_channels, out_channels = _channels(view)
    if channels != in_channels or in_channels % view.int_attr("groups", 1):
        raise ModelError(f"layer {view.node.where}: {channels} channels for {in_channels}")
    bias = view.optional_input(2)
    if bias is not None and bias.static_shape != (out_channels,):
        raise ModelError(f"layer {view.node.where}: bias {list(bias.shape)} for {out_channels}")
    return [TensorType(image_shape(view, batch, size, out_channels), dtype)]


def _tap_matrices(weights: Array, view: OpView) -> Array:
    """Return weights as (groups, KH, KW, C_in / groups, C_out / groups)."""
    groups = view.int_attr("groups", 1)
    if not is_nchw(view):
        return weights.transpose(1, 2, 3, 0)[np.newaxis]
    parts = weights.reshape(groups, -1, *weights.shape[1:])
    return parts.transpose(0, 3, 4, 1, 2)


def _scattered(x: Array, matrices: Array, view: OpView) -> npt.NDArray[np.float64]:
    """Return the full sum (N, H, W, C_out) in float64, which is exact for int8 operands."""
    window = _window(view)
    extra = pair_attr(view, "output_padding", (0, 0))
    sizes = [
        (x.shape[1 + axis] - 1) * window.strides[axis]
        + (window.kernel[axis] - 1) * window.dilations[axis]
        + 1
        + extra[axis]
        for axis in range(2)
    ]
    groups, out_channels = matrices.shape[0], matrices.shape[4]
    full = np.zeros((x.shape[0], *sizes, groups * out_channels), np.float64)
    (sh, sw), (dh, dw) = window.strides, window.dilations
    parts = np.split(x.astype(np.float64), groups, axis=3)
    wide = matrices.astype(np.float64)
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            rows = slice(row * dh, row * dh + (x.shape[1] - 1) * sh + 1, sh)
            columns = slice(column * dw, column * dw + (x.shape[2] - 1) * sw + 1, sw)
            products = [part @ wide[group, row, column] for group, part in enumerate(parts)]
            full[:, rows, columns, :] += np.concatenate(products, axis=3)
    return full


def _reference(call: OpCall) -> list[Array]:
    view, stored = call.view, call.array(0)
    x = to_nhwc(stored, view)
    is_int8 = stored.dtype == np.int8
    if is_int8:
        x = int8.centred(x, view.input(0))
    full = _scattered(x, _tap_matrices(call.array(1), view), view)
    size = _output_size(view, (x.shape[1], x.shape[2]))
    (top, _), (left, _) = _window(view).padding
    acc = full[:, top : top + size[0], left : left + size[1], :]
    bias = call.optional_array(2)
    if bias is not None:
        acc = acc + bias.astype(np.float64)
    activation = view.str_attr("activation", "none")
    if is_int8:
        factors = int8.channel_multipliers(view.input(0), view.input(1), view.outputs[0])
        return [int8.store(acc.astype(np.int32), factors, view.outputs[0], activation)]
    return [from_nhwc(clamp(acc.astype(np.float32), activation).astype(stored.dtype), view)]


def _macs(view: OpView) -> int:
    in_channels, _ = _channels(view)
    return view.input(0).elements * math.prod(view.input(1).static_shape) // in_channels


def _cases() -> Iterable[OpCase]:
    for name, x_shape, w_shape, extra in _GEOMETRIES:
        attrs: dict[str, Attr] = {"padding": ((0, 0), (0, 0)), "layout": "NHWC", **extra}
        x = cases.float_input("x", x_shape)
        weights = cases.float_input("weights", w_shape, -1, 1, const=True)
        bias = cases.float_input("bias", w_shape[:1], const=True)
        yield cases.case(f"float_{name}", _infer, (x, weights, bias), attrs, tolerance=1e-4)
        operands = (
            cases.int8_input("x", x_shape, 0.05, -7),
            cases.int8_weights("weights", w_shape, 0),
            cases.int32_bias("bias", w_shape[0]),
        )
        yield cases.case(f"int8_{name}", _infer, operands, attrs, scale=0.2, zero_point=11)
    grouped: dict[str, Attr] = {
        "padding": ((1, 0), (0, 1)),
        "strides": (2, 1),
        "dilations": (1, 2),
        "groups": 2,
        "layout": "NCHW",
    }
    x = cases.float_input("x", (2, 6, 4, 5))
    weights = cases.float_input("weights", (6, 2, 3, 2), const=True)
    yield cases.case("float_nchw_grouped", _infer, (x, weights, None), grouped, tolerance=1e-4)


_GEOMETRIES: tuple[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Attr]], ...] = (
    ("stride1", (1, 4, 5, 3), (2, 3, 3, 3), {}),
    (
        "stride2_same",
        (2, 3, 4, 2),
        (4, 3, 3, 2),
        {"strides": (2, 2), "padding": ((0, 1), (0, 1)), "activation": "relu"},
    ),
    (
        "output_padding",
        (1, 3, 3, 2),
        (3, 2, 2, 2),
        {"strides": (3, 3), "output_padding": (1, 1)},
    ),
)
"""Name, x (N, H, W, C_in), weights (C_out, KH, KW, C_in), attributes."""

SPECS = (
    OpSpec(
        name="transpose_conv2d",
        infer=_infer,
        reference=_reference,
        macs=_macs,
        quantization=QuantRule.WEIGHTED,
        channel_axis=0,
        cases=_cases,
    ),
)
