"""Mapping of operators on images: convolution, pooling, resizing, moving pixels to channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgekit.converters.importers.tflite_ops.layer import Layer, Part
from edgekit.graph import Attr

_SAME, _VALID = 0, 1
Pair = tuple[int, int]


def _strides(layer: Layer) -> Pair:
    strides = layer.option("stride_h"), layer.option("stride_w")
    if min(strides) < 1:
        raise layer.damaged(f"has strides {strides}")
    return strides


def _padding(layer: Layer, size: Pair, kernel: Pair, strides: Pair, dilations: Pair) -> Attr:
    """Return padding as numbers; the odd pixel goes to the bottom and the right."""
    kind = layer.option("padding")
    if kind not in (_SAME, _VALID):
        raise layer.damaged(f"has padding {kind}")
    pairs: list[Pair] = []
    for axis in range(2):
        span = (kernel[axis] - 1) * dilations[axis] + 1
        positions = -(-size[axis] // strides[axis])
        total = max((positions - 1) * strides[axis] + span - size[axis], 0)
        pairs.append((total // 2, total - total // 2) if kind == _SAME else (0, 0))
    return tuple(pairs)


def _convolution_attrs(layer: Layer) -> dict[str, Attr]:
    strides = _strides(layer)
    dilations = layer.option("dilation_h", 1), layer.option("dilation_w", 1)
    size, kernel = layer.image_size(0), layer.image_size(1)
    return {
        "strides": strides,
        "dilations": dilations,
        "padding": _padding(layer, size, kernel, strides, dilations),
        "activation": layer.activation(),
        "layout": "NHWC",
    }


def _operands(layer: Layer) -> tuple[int, ...]:
    required = (layer.number(0), layer.number(1))
    return (*required, layer.number(2)) if layer.has(2) else required


def _conv(layer: Layer) -> list[Part]:
    attrs = _convolution_attrs(layer)
    channels, expected = layer.tensor(0).shape[3], layer.tensor(1).shape[3]
    if expected < 1 or channels % expected:
        raise layer.damaged(f"has {channels} channels for weights of {expected}")
    return [Part("conv2d", _operands(layer), {**attrs, "groups": channels // expected})]


def _depthwise(layer: Layer) -> list[Part]:
    attrs = _convolution_attrs(layer)
    channels, out_channels = layer.tensor(0).shape[3], layer.tensor(1).shape[3]
    # The option is redundant, and some writers leave it at 0.
    multiplier = out_channels // channels if channels else 0
    return [Part("depthwise_conv2d", _operands(layer), {**attrs, "depth_multiplier": multiplier})]


def _transpose_conv(layer: Layer) -> list[Part]:
    strides = _strides(layer)
    size, kernel = layer.image_size_of(layer.output), layer.image_size(1)
    given = layer.image_size(2)
    padding: list[Pair] = []
    extra: list[int] = []
    for axis in range(2):
        covered = (given[axis] - 1) * strides[axis] + kernel[axis]
        total = max(covered - size[axis], 0) if layer.option("padding") == _SAME else 0
        padding.append((total // 2, total - total // 2))
        extra.append(size[axis] - covered + total)
    if min(extra) < 0:
        raise layer.damaged(f"cannot give {list(layer.output.shape)}")
    attrs: dict[str, Attr] = {
        "strides": strides,
        "dilations": (1, 1),
        "padding": tuple(padding),
        "output_padding": tuple(extra),
        "activation": layer.activation(),
        "layout": "NHWC",
    }
    operands = (layer.number(2), layer.number(1))
    bias = (layer.number(3),) if layer.has(3) else ()
    return [Part("transpose_conv2d", (*operands, *bias), attrs)]


def _pool(op: str) -> Callable[[Layer], list[Part]]:
    def mapped(layer: Layer) -> list[Part]:
        kernel = layer.option("filter_h"), layer.option("filter_w")
        strides = _strides(layer)
        attrs: dict[str, Attr] = {
            "kernel": kernel,
            "strides": strides,
            "padding": _padding(layer, layer.image_size(0), kernel, strides, (1, 1)),
            "activation": layer.activation(),
            "layout": "NHWC",
        }
        return [Part(op, (layer.number(0),), attrs)]

    return mapped


def _resize(mode: str) -> Callable[[Layer], list[Part]]:
    def mapped(layer: Layer) -> list[Part]:
        attrs: dict[str, Attr] = {
            "size": layer.ints(1),
            "mode": mode,
            "align_corners": bool(layer.option("align_corners")),
            "half_pixel_centers": bool(layer.option("half_pixel_centers")),
            "layout": "NHWC",
        }
        return [Part("resize", (layer.number(0),), attrs)]

    return mapped


def _block(op: str) -> Callable[[Layer], list[Part]]:
    def mapped(layer: Layer) -> list[Part]:
        attrs: dict[str, Attr] = {"block": layer.option("block"), "layout": "NHWC"}
        return [Part(op, (layer.number(0),), attrs)]

    return mapped


IMAGE_MAPPINGS: Mapping[str, Callable[[Layer], list[Part]]] = {
    "AVERAGE_POOL_2D": _pool("average_pool2d"),
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEPTH_TO_SPACE": _block("depth_to_space"),
    "MAX_POOL_2D": _pool("max_pool2d"),
    "RESIZE_BILINEAR": _resize("bilinear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest"),
    "SPACE_TO_DEPTH": _block("space_to_depth"),
    "TRANSPOSE_CONV": _transpose_conv,
}
