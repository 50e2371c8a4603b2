"""``max_pool2d`` and ``average_pool2d``.

Input: x. Attributes: ``kernel``, ``strides``, ``padding``, ``layout``, ``activation``; average also
``count_include_pad``: whether padding counts as zeros, as ONNX may ask, or not at all (default, as
TensorFlow Lite).

Int8, int4 and int2: the output has the input's scale; the average is rounded to nearest, halves
away from zero.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array
from edgekit.graph import Attr
from edgekit.ops import cases, int8
from edgekit.ops.broadcast import clamp
from edgekit.ops.checks import FLOATS, PACKED, SMALL, require_dtype
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType
from edgekit.ops.windows import (
    Window,
    from_nhwc,
    image_dims,
    image_shape,
    pad_image,
    pair_attr,
    tap,
    tap_counts,
    to_nhwc,
    window_of,
)


def _window(view: OpView) -> Window:
    return window_of(view, pair_attr(view, "kernel"))


def _infer(view: OpView) -> list[TensorType]:
    batch, height, width, channels = image_dims(view, view.input(0).shape)
    size = _window(view).output_size(height, width, where=view.node.where)
    dtype = require_dtype(view, 0, (*FLOATS, *SMALL))
    return [TensorType(image_shape(view, batch, size, channels), dtype)]


def _activated(call: OpCall, pooled: Array) -> Array:
    """Apply the fused activation and return the result in the node's layout and type."""
    view = call.view
    activation = view.str_attr("activation", "none")
    if pooled.dtype == np.int8 and activation != "none":
        low, high = int8.activation_range(activation, view.outputs[0])
        pooled = np.clip(pooled, np.int8(low), np.int8(high))
    elif pooled.dtype != np.int8:
        pooled = clamp(pooled, activation)
    return from_nhwc(pooled, view)


def _max(call: OpCall) -> list[Array]:
    x, window = to_nhwc(call.array(0), call.view), _window(call.view)
    size = window.output_size(x.shape[1], x.shape[2], where=call.view.node.where)
    dtype = call.view.input(0).dtype
    lowest = int8.integer_range(dtype)[0] if dtype in SMALL else -np.inf
    padded = pad_image(x, window.padding, lowest)
    pooled = np.full((x.shape[0], *size, x.shape[3]), lowest, x.dtype)
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            np.maximum(pooled, tap(padded, window, size, row, column), out=pooled)
    return [_activated(call, pooled)]


def _average(call: OpCall) -> list[Array]:
    x, window = to_nhwc(call.array(0), call.view), _window(call.view)
    size = window.output_size(x.shape[1], x.shape[2], where=call.view.node.where)
    integer = x.dtype == np.int8
    padded = pad_image(x.astype(np.int64 if integer else np.float32), window.padding, 0)
    total: Array = np.zeros((x.shape[0], *size, x.shape[3]), padded.dtype)
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            total = np.add(total, tap(padded, window, size, row, column))
    counts = tap_counts(window, x.shape[1], x.shape[2], size)
    if call.view.bool_attr("count_include_pad", False):
        counts = np.full_like(counts, window.kernel[0] * window.kernel[1])
    pooled: Array = (
        _rounded_quotient(total.astype(np.int64), np.maximum(counts, 1)).astype(np.int8)
        if integer
        else (total / np.maximum(counts, 1)).astype(x.dtype)
    )
    return [_activated(call, pooled)]


def _rounded_quotient(total: int8.IntArray, counts: int8.IntArray) -> npt.NDArray[np.int64]:
    """Divide, rounding to nearest with halves away from zero."""
    magnitude = (np.abs(total) + counts // 2) // counts
    signed: npt.NDArray[np.int64] = np.sign(total) * magnitude
    return signed


def _macs(view: OpView) -> int:
    kernel = pair_attr(view, "kernel")
    return view.outputs[0].elements * kernel[0] * kernel[1]


def _cases() -> Iterable[OpCase]:
    geometries: tuple[tuple[str, tuple[int, ...], dict[str, Attr]], ...] = (
        ("2x2", (1, 6, 4, 3), {"kernel": (2, 2), "strides": (2, 2)}),
        ("same_odd", (2, 7, 5, 2), {"kernel": (3, 3), "padding": ((1, 1), (1, 1))}),
        ("whole", (1, 5, 7, 4), {"kernel": (5, 7), "activation": "relu"}),
        (
            "one_sided",
            (1, 6, 5, 1),
            {"kernel": (3, 2), "strides": (2, 2), "padding": ((0, 1),) * 2},
        ),
    )
    for name, shape, extra in geometries:
        attrs: dict[str, Attr] = {"padding": ((0, 0), (0, 0)), "strides": (1, 1), **extra}
        x = cases.float_input("x", shape)
        yield cases.case(f"float_{name}", _infer, (x,), attrs, tolerance=1e-5)
        nchw: dict[str, Attr] = {**attrs, "layout": "NCHW"}
        turned = (cases.channels_first(x),)
        yield cases.case(f"float_nchw_{name}", _infer, turned, nchw, tolerance=1e-5)
        x = cases.int8_input("x", shape, 0.05, -4)
        yield cases.case(f"int8_{name}", _infer, (x,), attrs, scale=0.05, zero_point=-4)
        for dtype in PACKED:
            x = cases.stored_input("x", shape, dtype, 0.5, -1)
            case_id = f"{dtype.value}_{name}"
            yield cases.case(case_id, _infer, (x,), attrs, scale=0.5, zero_point=-1)


def _average_cases() -> Iterable[OpCase]:
    yield from _cases()
    attrs: dict[str, Attr] = {
        "kernel": (3, 3),
        "strides": (2, 2),
        "padding": ((1, 1), (1, 1)),
        "count_include_pad": True,
    }
    x = cases.float_input("x", (1, 5, 6, 2))
    yield cases.case("float_padding_counts", _infer, (x,), attrs, tolerance=1e-5)


SPECS = (
    OpSpec(
        name="max_pool2d",
        infer=_infer,
        reference=_max,
        quantization=QuantRule.SAME_SCALE,
        cases=_cases,
    ),
    OpSpec(
        name="average_pool2d",
        infer=_infer,
        reference=_average,
        macs=_macs,
        quantization=QuantRule.SAME_SCALE,
        cases=_average_cases,
    ),
)
