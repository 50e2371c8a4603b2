"""Sliding windows over images, shared by convolution and pooling.

All functions work on (N, H, W, C); :func:`to_nhwc` and :func:`from_nhwc` turn the other layout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array
from edgekit.errors import ModelError
from edgekit.graph import Dim, Shape
from edgekit.ops.spec import OpView

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Geometry of a sliding window; every pair is (vertical, horizontal).

    Parameters
    ----------
    kernel, strides, dilations : (int, int)
    padding : ((top, bottom), (left, right))
    """

    kernel: Pair
    strides: Pair
    dilations: Pair
    padding: tuple[Pair, Pair]

    def output_size(self, height: Dim, width: Dim, *, where: str) -> Pair:
        """Return height and width of the result.

        Raises
        ------
        ModelError
            If a size has no value, or the window does not fit into the padded image.
        """
        sizes = []
        for axis, size in enumerate((height, width)):
            if isinstance(size, str):
                raise ModelError(f"layer {where}: image size '{size}' must be a number")
            span = (self.kernel[axis] - 1) * self.dilations[axis] + 1
            room = size + sum(self.padding[axis]) - span
            if room < 0:
                raise ModelError(f"layer {where}: a window of {span} does not fit {size} pixels")
            sizes.append(room // self.strides[axis] + 1)
        return sizes[0], sizes[1]


def window_of(view: OpView, kernel: Pair) -> Window:
    """Return the window that the attributes of a node describe.

    Raises
    ------
    ModelError
        If an attribute is missing, has not two entries, or a stride is not positive.
    """
    strides = pair_attr(view, "strides", (1, 1))
    dilations = pair_attr(view, "dilations", (1, 1))
    padding = view.pairs_attr("padding")
    if len(padding) != 2:
        raise ModelError(f"layer {view.node.where}: padding needs two pairs, not {len(padding)}")
    if min(*strides, *dilations, *kernel) < 1 or min(min(pair) for pair in padding) < 0:
        raise ModelError(f"layer {view.node.where}: kernel, strides or padding out of range")
    return Window(kernel, strides, dilations, (padding[0], padding[1]))


def pair_attr(view: OpView, name: str, default: Pair | None = None) -> Pair:
    """Return an attribute of two integers (ModelError otherwise)."""
    values = view.ints_attr(name, default)
    if len(values) != 2:
        raise ModelError(f"layer {view.node.where}: {name} needs two numbers, not {len(values)}")
    return values[0], values[1]


def image_dims(view: OpView, shape: Shape) -> tuple[Dim, Dim, Dim, Dim]:
    """Return (N, H, W, C) of a four-dimensional shape in the node's layout."""
    if len(shape) != 4:
        raise ModelError(f"layer {view.node.where}: {view.node.op} needs 4 axes, not {len(shape)}")
    if is_nchw(view):
        return shape[0], shape[2], shape[3], shape[1]
    return shape[0], shape[1], shape[2], shape[3]


def image_shape(view: OpView, batch: Dim, size: Pair, channels: Dim) -> Shape:
    """Return the shape of an image in the node's layout."""
    return (batch, channels, *size) if is_nchw(view) else (batch, *size, channels)


def is_nchw(view: OpView) -> bool:
    """Whether the node works on (N, C, H, W) (ModelError for an unknown layout)."""
    layout = view.str_attr("layout", "NHWC")
    if layout not in ("NHWC", "NCHW"):
        raise ModelError(f"layer {view.node.where}: layout {layout} is neither NHWC nor NCHW")
    return layout == "NCHW"


def to_nhwc(array: Array, view: OpView) -> Array:
    """Return the image with channels last."""
    return array.transpose(0, 2, 3, 1) if is_nchw(view) else array


def from_nhwc(array: Array, view: OpView) -> Array:
    """Return an image computed with channels last in the node's layout."""
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if is_nchw(view) else array


def pad_image(array: Array, padding: tuple[Pair, Pair], value: float) -> Array:
    """Return (N, H, W, C) with ``value`` around it."""
    if not any(sum(pair) for pair in padding):
        return array
    return np.pad(array, ((0, 0), *padding, (0, 0)), constant_values=array.dtype.type(value))


def patches(padded: Array, window: Window, size: Pair) -> Array:
    """Return a view of every window: shape (N, OH, OW, KH, KW, C).

    Parameters
    ----------
    padded : array, shape (N, H, W, C)
    size : (int, int)
        Output height and width.
    """
    batch, channels = padded.shape[0], padded.shape[3]
    n, h, w, c = padded.strides
    (sh, sw), (dh, dw) = window.strides, window.dilations
    view: Array = np.lib.stride_tricks.as_strided(
        padded,
        (batch, *size, *window.kernel, channels),
        (n, h * sh, w * sw, h * dh, w * dw, c),
        writeable=False,
    )
    return view


def tap(padded: Array, window: Window, size: Pair, row: int, column: int) -> Array:
    """Return the pixels under one tap of the window: shape (N, OH, OW, C), a view."""
    (sh, sw), (dh, dw) = window.strides, window.dilations
    top, left = row * dh, column * dw
    rows = slice(top, top + (size[0] - 1) * sh + 1, sh)
    columns = slice(left, left + (size[1] - 1) * sw + 1, sw)
    return padded[:, rows, columns, :]


def tap_counts(window: Window, height: int, width: int, size: Pair) -> npt.NDArray[np.int64]:
    """Return how many taps of each window lie inside the image: shape (1, OH, OW, 1)."""
    inside = pad_image(np.ones((1, height, width, 1), np.int64), window.padding, 0)
    counts: npt.NDArray[np.int64] = patches(inside, window, size).sum(axis=(3, 4), dtype=np.int64)
    return counts
