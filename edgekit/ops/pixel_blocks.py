"""``space_to_depth`` and ``depth_to_space``: blocks of pixels become channels, and back.

Input: x. Attributes: ``block``, ``layout``. Channel ``(row * block + column) * C + c`` of the deep
image is channel ``c`` of the pixel at ``(row, column)`` of the block. The output has the input's
scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import ModelError
from edgekit.graph import Attr, Dim
from edgekit.ops import cases
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType
from edgekit.ops.windows import from_nhwc, image_dims, image_shape, to_nhwc


def _numbers(view: OpView) -> tuple[Dim, int, int, int, int]:
    """Return batch, height, width, channels and block."""
    batch, height, width, channels = image_dims(view, view.input(0).shape)
    block = view.int_attr("block")
    if isinstance(height, str) or isinstance(width, str) or isinstance(channels, str):
        raise ModelError(f"layer {view.node.where}: the image's size must be numbers")
    if block < 1:
        raise ModelError(f"layer {view.node.where}: blocks of {block}")
    return batch, height, width, channels, block


def _deepen_infer(view: OpView) -> list[TensorType]:
    batch, height, width, channels, block = _numbers(view)
    if height % block or width % block:
        raise ModelError(f"layer {view.node.where}: ({height}, {width}) in blocks of {block}")
    size = height // block, width // block
    return [TensorType(image_shape(view, batch, size, channels * block**2), view.input(0).dtype)]


def _deepen(call: OpCall) -> list[Array]:
    x, block = to_nhwc(call.array(0), call.view), call.view.int_attr("block")
    n, h, w, c = x.shape
    split = x.reshape(n, h // block, block, w // block, block, c).transpose(0, 1, 3, 2, 4, 5)
    deep = split.reshape(n, h // block, w // block, block * block * c)
    return [np.ascontiguousarray(from_nhwc(deep, call.view))]


def _flatten_infer(view: OpView) -> list[TensorType]:
    batch, height, width, channels, block = _numbers(view)
    if channels % block**2:
        raise ModelError(f"layer {view.node.where}: {channels} channels to blocks of {block}")
    size = height * block, width * block
    return [TensorType(image_shape(view, batch, size, channels // block**2), view.input(0).dtype)]


def _flatten(call: OpCall) -> list[Array]:
    x, block = to_nhwc(call.array(0), call.view), call.view.int_attr("block")
    n, h, w, c = x.shape
    split = x.reshape(n, h, w, block, block, c // block**2).transpose(0, 1, 3, 2, 4, 5)
    flat = split.reshape(n, h * block, w * block, c // block**2)
    return [np.ascontiguousarray(from_nhwc(flat, call.view))]


def _cases(infer: Callable[[OpView], list[TensorType]], shape: tuple[int, ...]) -> Iterable[OpCase]:
    attrs: dict[str, Attr] = {"block": 2, "layout": "NHWC"}
    yield cases.case("float", infer, (cases.float_input("x", shape),), attrs)
    turned: dict[str, Attr] = {"block": 2, "layout": "NCHW"}
    x = cases.channels_first(cases.float_input("x", shape))
    yield cases.case("float_nchw", infer, (x,), turned)
    x = cases.int8_input("x", shape, 0.1, 3)
    yield cases.case("int8", infer, (x,), attrs, scale=0.1, zero_point=3)


SPECS = (
    OpSpec(
        name="space_to_depth",
        infer=_deepen_infer,
        reference=_deepen,
        quantization=QuantRule.SAME_SCALE,
        cases=partial(_cases, _deepen_infer, (1, 4, 6, 3)),
    ),
    OpSpec(
        name="depth_to_space",
        infer=_flatten_infer,
        reference=_flatten,
        quantization=QuantRule.SAME_SCALE,
        cases=partial(_cases, _flatten_infer, (2, 3, 2, 8)),
    ),
)
