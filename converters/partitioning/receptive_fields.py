"""Which part of its inputs a layer needs for a part of its output, and with which padding.

A :class:`Region` is a half-open range of rows and columns of an image (N, H, W, C). Windows that
reach over the border of the *whole* image read padding, as they do when the image is computed at
once; windows that reach over the border of a region read real pixels of its neighbours. That is
why a layer computed part by part gives the very bytes of the layer computed at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.errors import UnsupportedOpError
from edgekit.graph import Attr, Graph, Tensor
from edgekit.ops.spec import OpView
from edgekit.ops.windows import Pair, Window, is_nchw, pair_attr, window_of


@dataclass(frozen=True, slots=True, order=True)
class Region:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right`` of an image, half open."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def whole(cls, tensor: Tensor) -> Region:
        """Return all of an image (N, H, W, C)."""
        _, height, width, _ = tensor.static_shape
        return cls(0, height, 0, width)

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    def joined(self, other: Region) -> Region:
        """Return the smallest region that holds both."""
        return Region(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )


@dataclass(frozen=True, slots=True)
class Need:
    """What a part of a layer's output is computed from.

    Parameters
    ----------
    inputs : tuple of (int, Region)
        Position and region of every input that is an image.
    attrs : mapping items
        Attributes that differ from those of the whole layer.
    """

    inputs: tuple[tuple[int, Region], ...]
    attrs: tuple[tuple[str, Attr], ...] = ()


TO_CHANNELS_LAST = (0, 2, 3, 1)
"""Permutation by which models with channels first begin."""

POINTWISE = frozenset(
    {
        *("add", "sub", "mul", "div", "maximum", "minimum", "squared_difference", "prelu", "pow"),
        *("relu", "relu6", "relu_n1_1", "sigmoid", "tanh", "leaky_relu", "elu", "hard_swish"),
        *("clip", "hard_sigmoid", "exp", "gelu", "abs", "neg", "square", "sqrt", "erf"),
        *("quantize", "dequantize", "cast", "identity", "batch_norm"),
    }
)
"""Operators whose every pixel depends on the same pixel of their inputs alone."""


def needed(view: OpView, region: Region) -> Need:
    """Return what a region of a layer's output is computed from.

    Parameters
    ----------
    view : OpView
        Of the whole layer, with static shapes, channels last.
    region : Region
        Of its first output; not empty.

    Raises
    ------
    UnsupportedOpError
        If the layer cannot be computed part by part.
    """
    op = view.node.op
    if len(view.outputs) != 1 or len(view.outputs[0].shape) != 4:
        raise _refused(view, "its output is not one image")
    if op in _WINDOWS:
        if is_nchw(view):
            raise _refused(view, "its channels are not last")
        return _under_window(view, _WINDOWS[op](view), region)
    if op in POINTWISE:
        return Need(tuple((index, region) for index in _images(view)))
    if op == "concat" and view.int_attr("axis") in (3, -1):
        return Need(tuple((index, region) for index in _images(view)))
    if op == "transpose" and view.ints_attr("perm") == TO_CHANNELS_LAST:
        return Need(((0, region),))
    if op == "pad":
        return _under_padding(view, region)
    raise _refused(view, "every pixel may depend on every other")


def _under_window(view: OpView, window: Window, region: Region) -> Need:
    _, height, width, _ = view.input(0).static_shape
    rows, top_bottom = _along(view, window, 0, (region.top, region.bottom), height)
    columns, left_right = _along(view, window, 1, (region.left, region.right), width)
    return Need(((0, Region(*rows, *columns)),), (("padding", (top_bottom, left_right)),))


def _along(view: OpView, window: Window, axis: int, part: Pair, size: int) -> tuple[Pair, Pair]:
    """Return the range of the input, and its padding, for a range of the output along one axis."""
    stride, padding = window.strides[axis], window.padding[axis][0]
    span = (window.kernel[axis] - 1) * window.dilations[axis] + 1
    begin, end = part[0] * stride - padding, (part[1] - 1) * stride - padding + span
    if min(end, size) <= max(begin, 0):
        raise _refused(view, "some of its windows hold nothing but padding")
    return (max(begin, 0), min(end, size)), (max(-begin, 0), max(end - size, 0))


def _under_padding(view: OpView, region: Region) -> Need:
    pairs = view.pairs_attr("padding")
    if view.str_attr("mode", "constant") != "constant" or len(pairs) != 4 or any(pairs[0]):
        raise _refused(view, "it pads by what is elsewhere")
    whole = Region.whole(view.input(0))
    (top, _), (left, _) = pairs[1], pairs[2]
    moved = Region(region.top - top, region.bottom - top, region.left - left, region.right - left)
    inside = Region(
        max(moved.top, 0),
        min(moved.bottom, whole.bottom),
        max(moved.left, 0),
        min(moved.right, whole.right),
    )
    if inside.height < 1 or inside.width < 1:
        raise _refused(view, "a part of its output is nothing but padding")
    rows = inside.top - moved.top, moved.bottom - inside.bottom
    columns = inside.left - moved.left, moved.right - inside.right
    return Need(((0, inside),), (("padding", (pairs[0], rows, columns, pairs[3])),))


def _images(view: OpView) -> list[int]:
    """Return the inputs that are images of the output's size; others are the same everywhere."""
    found = []
    size = view.outputs[0].static_shape[1:3]
    for index, tensor in enumerate(view.inputs):
        if tensor is None:
            continue
        shape = tensor.static_shape
        if not tensor.is_constant and len(shape) == 4 and shape[1:3] == size:
            found.append(index)
        elif any(dim != 1 for dim in shape[-3:-1]):
            raise _refused(view, f"input {tensor.name} is no image of the output's size")
        elif not tensor.is_constant:
            raise _refused(view, f"input {tensor.name} is not computed part by part")
    return found


def _refused(view: OpView, why: str) -> UnsupportedOpError:
    return UnsupportedOpError(view.node.op, node=view.node.where, where="patches", hint=why)


def _weights_window(view: OpView) -> Window:
    _, height, width, _ = view.input(1).static_shape
    return window_of(view, (height, width))


_WINDOWS: dict[str, Callable[[OpView], Window]] = {
    "conv2d": _weights_window,
    "depthwise_conv2d": _weights_window,
    "average_pool2d": lambda view: window_of(view, pair_attr(view, "kernel")),
    "max_pool2d": lambda view: window_of(view, pair_attr(view, "kernel")),
}


def channels_first(graph: Graph) -> frozenset[str]:
    """Return the tensors that have channels first: those from the input to a transposition.

    Nothing but a conversion of the elements (``quantize``) may lie between.
    """
    found = list(graph.inputs[:1])
    while True:
        readers = [node for node in graph.nodes if found[-1] in node.inputs]
        if readers and all(node.op == "transpose" for node in readers):
            return frozenset(found)
        if len(readers) != 1 or readers[0].op != "quantize":
            return frozenset()
        found.append(readers[0].outputs[0])
