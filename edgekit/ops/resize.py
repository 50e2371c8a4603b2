"""``resize``: an image at another size, by the nearest pixel or between four.

Input: x. Attributes: ``size (h, w)``, ``mode`` (``nearest``, ``bilinear``), ``align_corners``,
``half_pixel_centers``, ``layout``. Source positions are computed in float32 as TensorFlow Lite's;
int8 bilinear uses positions of 10 fractional bits. The output has the input's scale.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Attr
from edgekit.ops import cases
from edgekit.ops.checks import FLOATS, require_dtype
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType
from edgekit.ops.windows import from_nhwc, image_dims, image_shape, pair_attr, to_nhwc

_FRACTION_BITS = 10

Indices = npt.NDArray[np.int64]


class Axis(NamedTuple):
    """How positions along one axis of the output lie in the input."""

    size: int
    target: int
    align_corners: bool
    half_pixel_centers: bool

    @property
    def scale(self) -> np.float32:
        """Input pixels for each output pixel."""
        if self.align_corners and self.target > 1:
            return np.float32(self.size - 1) / np.float32(self.target - 1)
        return np.float32(self.size) / np.float32(self.target)


def _infer(view: OpView) -> list[TensorType]:
    batch, height, width, channels = image_dims(view, view.input(0).shape)
    dtype = require_dtype(view, 0, (*FLOATS, DType.INT8))
    size = pair_attr(view, "size")
    if isinstance(height, str) or isinstance(width, str) or min(size) < 1:
        raise ModelError(f"layer {view.node.where}: resizes ({height}, {width}) to {size}")
    if view.str_attr("mode") not in ("nearest", "bilinear"):
        raise ModelError(f"layer {view.node.where}: there is no mode {view.str_attr('mode')}")
    if view.bool_attr("align_corners", False) and view.bool_attr("half_pixel_centers", False):
        raise ModelError(f"layer {view.node.where}: aligns corners and centres")
    return [TensorType(image_shape(view, batch, size, channels), dtype)]


def _reference(call: OpCall) -> list[Array]:
    view, x = call.view, to_nhwc(call.array(0), call.view)
    axes = axes_of(view, (x.shape[1], x.shape[2]))
    if view.str_attr("mode") == "nearest":
        rows, columns = (nearest(axis) for axis in axes)
        result = x[:, rows][:, :, columns]
    elif x.dtype == np.int8:
        result = _bilinear_int8(x, *axes)
    else:
        result = _bilinear(x.astype(np.float32), *axes).astype(x.dtype)
    return [np.ascontiguousarray(from_nhwc(result, view))]


def axes_of(view: OpView, size: tuple[int, int]) -> tuple[Axis, Axis]:
    """Return the vertical and the horizontal axis of a node, for an image of (height, width)."""
    flags = view.bool_attr("align_corners", False), view.bool_attr("half_pixel_centers", False)
    target = pair_attr(view, "size")
    return Axis(size[0], target[0], *flags), Axis(size[1], target[1], *flags)


def nearest(axis: Axis) -> Indices:
    """Return the pixel of the input that each place of the output takes."""
    offset = np.float32(0.5 if axis.half_pixel_centers else 0.0)
    position = (np.arange(axis.target, dtype=np.float32) + offset) * axis.scale
    whole = np.floor(position + np.float32(0.5)) if axis.align_corners else np.floor(position)
    return np.asarray(np.clip(whole.astype(np.int64), 0, axis.size - 1), np.int64)


def _bilinear(x: npt.NDArray[np.float32], vertical: Axis, horizontal: Axis) -> Array:
    y0, y1, dy = neighbours(vertical)
    x0, x1, dx = neighbours(horizontal)
    dy, dx = dy[:, np.newaxis, np.newaxis], dx[:, np.newaxis]
    top, bottom = x[:, y0], x[:, y1]
    one = np.float32(1)
    return np.asarray(
        top[:, :, x0] * (one - dy) * (one - dx)
        + bottom[:, :, x0] * dy * (one - dx)
        + top[:, :, x1] * (one - dy) * dx
        + bottom[:, :, x1] * dy * dx
    )


def neighbours(axis: Axis) -> tuple[Indices, Indices, npt.NDArray[np.float32]]:
    """Return the pixels before and after each position, and the distance to the one before."""
    place = np.arange(axis.target, dtype=np.float32)
    half = np.float32(0.5)
    position = (place + half) * axis.scale - half if axis.half_pixel_centers else place * axis.scale
    before = np.maximum(np.floor(position).astype(np.int64), 0)
    after = np.minimum(np.ceil(position).astype(np.int64), axis.size - 1)
    return before, after, (position - before.astype(np.float32)).astype(np.float32)


def _bilinear_int8(x: Array, vertical: Axis, horizontal: Axis) -> Array:
    y0, y1, dy = neighbours_int(vertical)
    x0, x1, dx = neighbours_int(horizontal)
    dy, dx = dy[:, np.newaxis, np.newaxis], dx[:, np.newaxis]
    wide = x.astype(np.int64)
    top, bottom = wide[:, y0], wide[:, y1]
    one = 1 << _FRACTION_BITS
    total = (
        top[:, :, x0] * (one - dy) * (one - dx)
        + bottom[:, :, x0] * dy * (one - dx)
        + top[:, :, x1] * (one - dy) * dx
        + bottom[:, :, x1] * dy * dx
    )
    # Rounded to nearest, halves away from zero, then truncated as C's division does.
    magnitude = (np.abs(total) + (1 << (2 * _FRACTION_BITS - 1))) >> (2 * _FRACTION_BITS)
    return np.asarray((np.sign(total) * magnitude).astype(np.int8))


def neighbours_int(axis: Axis) -> tuple[Indices, Indices, Indices]:
    """Return the pixels before and after, and the distance with 10 fractional bits."""
    one = 1 << _FRACTION_BITS
    scale = (one * axis.size + axis.target // 2) // axis.target
    if axis.align_corners and axis.target > 1:
        steps = axis.target - 1
        scale = (one * (axis.size - 1) + steps // 2) // steps
    position = np.arange(axis.target, dtype=np.int64) * scale
    if axis.half_pixel_centers:
        position += scale // 2 - one // 2
    # C's division truncates; below zero that differs from a shift only where the clamp acts.
    before = np.maximum(position >> _FRACTION_BITS, 0)
    after = np.minimum(np.maximum(position + one - 1, 0) >> _FRACTION_BITS, axis.size - 1)
    return before, after, position - before * one


def _cases() -> Iterable[OpCase]:
    for mode in ("nearest", "bilinear"):
        for flags in ((False, False), (True, False), (False, True)):
            for shape, size in (((1, 3, 5, 2), (6, 7)), ((2, 6, 4, 1), (3, 9))):
                attrs: dict[str, Attr] = {
                    "mode": mode,
                    "size": size,
                    "align_corners": flags[0],
                    "half_pixel_centers": flags[1],
                    "layout": "NHWC",
                }
                name = f"{mode}_{'corners' if flags[0] else 'centres' if flags[1] else 'plain'}"
                case_id = f"{name}_{size[0]}x{size[1]}"
                x = cases.float_input("x", shape)
                yield cases.case(f"float_{case_id}", _infer, (x,), attrs, tolerance=1e-5)
                x = cases.int8_input("x", shape, 0.1, 3)
                yield cases.case(f"int8_{case_id}", _infer, (x,), attrs, scale=0.1, zero_point=3)


def _macs(view: OpView) -> int:
    return view.outputs[0].elements * (4 if view.str_attr("mode") == "bilinear" else 0)


SPECS = (
    OpSpec(
        name="resize",
        infer=_infer,
        reference=_reference,
        macs=_macs,
        quantization=QuantRule.SAME_SCALE,
        cases=_cases,
    ),
)
