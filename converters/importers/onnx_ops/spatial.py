"""Convolution, pooling and resampling of images; (N, C, H, W) as in ONNX.

Convolution and pooling of (N, C, W) signals become those of images of height 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.converters.importers.onnx_ops.layer import Layer, Mapper
from edgekit.graph import Attr

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Geometry:
    """Sliding window of a layer, always two-dimensional."""

    kernel: Pair
    strides: Pair
    dilations: Pair
    padding: tuple[Pair, Pair]


def _pair(layer: Layer, values: Sequence[int], lift: int) -> Pair:
    """Return (vertical, horizontal); a signal's only value is horizontal, ``lift`` vertical."""
    if len(values) == 1:
        return lift, values[0]
    if len(values) != 2:
        raise layer.fail(f"{len(values)} values where one is needed for each image axis")
    return values[0], values[1]


def _image_axes(layer: Layer) -> int:
    """Return the number of image axes, 1 or 2."""
    axes = len(layer.shape(0)) - 2
    if axes not in {1, 2}:
        raise layer.refuse(
            f"{axes}-dimensional data is not supported (signals and images are)"
            if axes > 0
            else "the input has no image axes"
        )
    return axes


def _geometry(layer: Layer, kernel: Sequence[int]) -> _Geometry:
    axes = _image_axes(layer)
    strides = layer.ints_attr("strides", (1,) * axes)
    dilations = layer.ints_attr("dilations", (1,) * axes)
    if not len(kernel) == len(strides) == len(dilations) == axes:
        raise layer.fail(f"kernel, strides and dilations need {axes} values each")
    if min(*kernel, *strides, *dilations) < 1 or max(*kernel, *strides, *dilations) > 2**20:
        raise layer.fail(
            f"impossible kernel {list(kernel)}, strides {list(strides)} or dilations "
            f"{list(dilations)}"
        )
    sizes = layer.shape(0)[2:]
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = _pads(layer, sizes, spans, strides)
    pairs = tuple((pads[axis], pads[axis + axes]) for axis in range(axes))
    return _Geometry(
        _pair(layer, kernel, 1),
        _pair(layer, strides, 1),
        _pair(layer, dilations, 1),
        ((0, 0), pairs[0]) if axes == 1 else (pairs[0], pairs[1]),
    )


def _pads(
    layer: Layer, sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]
) -> tuple[int, ...]:
    """Return the padding before each axis, then after each."""
    mode = layer.text_attr("auto_pad", "NOTSET")
    if mode == "VALID":
        return (0,) * (2 * len(sizes))
    if mode == "NOTSET":
        pads = layer.ints_attr("pads", (0,) * (2 * len(sizes)))
        if len(pads) != 2 * len(sizes) or min(pads) < 0 or max(pads) > 2**20:
            raise layer.fail(f"impossible padding {list(pads)}")
        return pads
    if mode not in {"SAME_UPPER", "SAME_LOWER"}:
        raise layer.fail(f"auto_pad cannot be {mode!r}")
    totals = [
        max(0, (math.ceil(size / stride) - 1) * stride + span - size)
        for size, span, stride in zip(sizes, spans, strides, strict=True)
    ]
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (*less, *more) if mode == "SAME_UPPER" else (*more, *less)


def _as_image(layer: Layer, name: str) -> str:
    """Return the tensor with a height of 1 where it is a signal or its weights."""
    shape = layer.builder.tensors[name].static_shape
    return layer.reshape(name, (*shape[:2], 1, shape[2])) if len(shape) == 3 else name


def _restored(layer: Layer, name: str) -> str:
    """Undo :func:`_as_image` on a result."""
    if len(layer.shape(0)) == 4:
        return name
    batch, channels, _, width = layer.builder.tensors[name].static_shape
    return layer.reshape(name, (batch, channels, width))


def _conv(layer: Layer) -> tuple[str, ...]:
    bias = layer.input(2) if layer.has(2) else ""
    return (conv2d(layer, layer.input(0), layer.input(1), bias),)


def conv2d(layer: Layer, x: str, weights: str, bias: str) -> str:
    """Add the convolution that the attributes of ``layer`` describe, on given tensors."""
    weights_shape = layer.builder.tensors[weights].static_shape
    kernel = weights_shape[2:]
    if layer.ints_attr("kernel_shape", kernel) != kernel:
        raise layer.fail(f"kernel_shape contradicts weights {list(weights_shape)}")
    geometry = _geometry(layer, kernel)
    result = layer.emit(
        "conv2d",
        [_as_image(layer, x), _as_image(layer, weights), bias],
        strides=geometry.strides,
        dilations=geometry.dilations,
        padding=geometry.padding,
        groups=layer.int_attr("group", 1),
        layout="NCHW",
        activation="none",
    )
    return _restored(layer, result)


def _conv_transpose(layer: Layer) -> tuple[str, ...]:
    weights = layer.shape(1)
    extra = layer.ints_attr("output_padding", (0,) * _image_axes(layer))
    geometry = _geometry(layer, weights[2:])
    geometry, extra = _transposed_padding(layer, geometry, layer.shape(0)[2:], extra)
    result = layer.emit(
        "transpose_conv2d",
        [
            _as_image(layer, layer.input(0)),
            _as_image(layer, layer.input(1)),
            layer.input(2) if layer.has(2) else "",
        ],
        strides=geometry.strides,
        dilations=geometry.dilations,
        padding=geometry.padding,
        output_padding=_pair(layer, extra, 0),
        groups=layer.int_attr("group", 1),
        layout="NCHW",
        activation="none",
    )
    return (_restored(layer, result),)


def _transposed_padding(
    layer: Layer, geometry: _Geometry, sizes: Sequence[int], extra: Sequence[int]
) -> tuple[_Geometry, tuple[int, ...]]:
    """Return padding and output padding; ``output_shape`` and ``auto_pad`` decide where given."""
    if "output_shape" not in layer.attributes:
        if layer.text_attr("auto_pad", "NOTSET") in {"NOTSET", "VALID"}:
            return geometry, tuple(extra)
        wanted = tuple(
            size * stride
            for size, stride in zip(sizes, geometry.strides[-len(sizes) :], strict=True)
        )
    else:
        wanted = layer.ints_attr("output_shape")[-len(sizes) :]
    if len(wanted) != len(sizes) or len(extra) != len(sizes):
        raise layer.fail("output_shape or output_padding has the wrong length")
    pads: list[Pair] = []
    for axis, (size, output) in enumerate(zip(sizes, wanted, strict=True), start=2 - len(sizes)):
        span = (geometry.kernel[axis] - 1) * geometry.dilations[axis] + 1
        total = (size - 1) * geometry.strides[axis] + extra[axis - 2] + span - output
        if total < 0:
            raise layer.refuse(f"output_shape {list(wanted)} is larger than the windows reach")
        less, more = total // 2, total - total // 2
        upper = layer.text_attr("auto_pad", "NOTSET") == "SAME_UPPER"
        pads.append((less, more) if upper else (more, less))
    padding = ((0, 0), pads[0]) if len(pads) == 1 else (pads[0], pads[1])
    turned = _Geometry(geometry.kernel, geometry.strides, geometry.dilations, padding)
    return turned, tuple(extra)


def _pool(op: str) -> Mapper:
    def mapper(layer: Layer) -> tuple[str, ...]:
        geometry = _geometry(layer, layer.ints_attr("kernel_shape"))
        image = _as_image(layer, layer.input(0))
        padding = geometry.padding
        if layer.int_attr("ceil_mode", 0):
            padding = _ceil_padding(geometry, layer.builder.tensors[image].static_shape[2:])
        include = op == "average_pool2d" and layer.int_attr("count_include_pad", 0) != 0
        if include and padding != geometry.padding:
            raise layer.refuse("ceil_mode together with count_include_pad is not supported")
        extra: dict[str, Attr] = {"count_include_pad": include} if op == "average_pool2d" else {}
        result = layer.emit(
            op,
            [image],
            kernel=geometry.kernel,
            strides=geometry.strides,
            dilations=geometry.dilations,
            padding=padding,
            layout="NCHW",
            activation="none",
            **extra,
        )
        return (_restored(layer, result),)

    return mapper


def _ceil_padding(geometry: _Geometry, sizes: Sequence[int]) -> tuple[Pair, Pair]:
    """Return padding with which rounding down gives the size that rounding up would give.

    A last window that begins in the padding at the end does not count (ONNX, MaxPool-22).
    """
    pads = []
    for axis, size in enumerate(sizes):
        (before, after), stride = geometry.padding[axis], geometry.strides[axis]
        span = (geometry.kernel[axis] - 1) * geometry.dilations[axis] + 1
        count = math.ceil((size + before + after - span) / stride) + 1
        if (count - 1) * stride >= size + before:
            count -= 1
        pads.append((before, max(after, (count - 1) * stride + span - size - before)))
    return pads[0], pads[1]


def _global_pool(op: str) -> Mapper:
    def mapper(layer: Layer) -> tuple[str, ...]:
        axes = tuple(range(2, len(layer.shape(0))))
        if not axes:
            raise layer.fail("the input has no image axes")
        return (layer.emit(op, [layer.input(0)], axes=axes, keep_dims=True),)

    return mapper


def _resize(layer: Layer) -> tuple[str, ...]:
    scales, sizes = (1, -1) if layer.opset < 11 else (2, 3)
    if layer.opset < 11:
        return (_resized(layer, layer.constant(scales), None, "asymmetric", "floor"),)
    coordinates = layer.text_attr("coordinate_transformation_mode", "half_pixel")
    rounding = layer.text_attr("nearest_mode", "round_prefer_floor")
    for name in ("antialias", "exclude_outside"):
        if layer.int_attr(name, 0):
            raise layer.refuse(f"{name} is not supported")
    if layer.has(sizes):
        wanted = layer.constant_ints(sizes)
        return (_resized(layer, None, _all_axes(layer, wanted), coordinates, rounding),)
    return (_resized(layer, layer.constant(scales), None, coordinates, rounding),)


def _all_axes(layer: Layer, values: Sequence[int]) -> tuple[int, ...]:
    """Return a size for every axis, where the attribute ``axes`` may name only some."""
    shape = list(layer.shape(0))
    axes = layer.ints_attr("axes", tuple(range(len(shape))))
    if len(axes) != len(values):
        raise layer.fail(f"{len(values)} sizes for {len(axes)} axes")
    if layer.text_attr("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise layer.refuse("keep_aspect_ratio_policy is not supported")
    for axis, value in zip(axes, values, strict=True):
        shape[layer.axis(axis, len(shape))] = value
    return tuple(shape)


def _upsample(layer: Layer) -> tuple[str, ...]:
    if layer.opset >= 9:
        scales = layer.constant(1)
    else:
        found = layer.attributes.get("scales")
        if not isinstance(found, tuple):
            raise layer.fail("attribute scales is missing")
        scales = np.array(found, np.float32)
    return (_resized(layer, scales, None, "asymmetric", "floor"),)


def _resized(
    layer: Layer,
    scales: np.ndarray | None,
    sizes: tuple[int, ...] | None,
    coordinates: str,
    rounding: str,
) -> str:
    """Add a ``resize`` that reads the pixels that ONNX's formulas say."""
    shape = layer.shape(0)
    mode = layer.text_attr("mode", "nearest")
    if len(shape) != 4 or mode not in {"nearest", "linear", "bilinear"}:
        raise layer.refuse(f"only images, by nearest or linear interpolation; not mode {mode!r}")
    if sizes is None:
        factors = _factors(layer, scales)
        sizes = tuple(math.floor(dim * factor) for dim, factor in zip(shape, factors, strict=True))
    else:
        factors = tuple(size / dim for size, dim in zip(sizes, shape, strict=True))
    if tuple(sizes[:2]) != shape[:2] or max(sizes) > 2**20:
        raise layer.refuse(f"from {list(shape)} to {list(sizes)}: only height and width may change")
    if sizes == shape and all(factor == 1 for factor in factors):
        return layer.input(0)
    align, half = (
        _nearest_convention(layer, shape, sizes, factors, coordinates, rounding)
        if mode == "nearest"
        else _linear_convention(layer, shape, sizes, factors, coordinates)
    )
    return layer.emit(
        "resize",
        [layer.input(0)],
        size=(sizes[2], sizes[3]),
        mode="nearest" if mode == "nearest" else "bilinear",
        align_corners=align,
        half_pixel_centers=half,
        layout="NCHW",
    )


def _factors(layer: Layer, scales: np.ndarray | None) -> tuple[float, ...]:
    rank = len(layer.shape(0))
    if scales is None or scales.dtype.kind != "f" or scales.size not in {rank, 2}:
        raise layer.fail("scales must hold one number for each axis")
    factors = tuple(float(value) for value in scales.reshape(-1))
    if len(factors) != rank:
        if layer.ints_attr("axes", ()) != (2, 3):
            raise layer.refuse("only height and width may change")
        factors = (1.0, 1.0, *factors)
    if not all(0 < factor < 2**20 for factor in factors):
        raise layer.fail(f"impossible scales {list(factors)}")
    return factors


_CONVENTIONS = ((False, False), (False, True), (True, False))
"""(align_corners, half_pixel_centers) that ``resize`` knows."""


def _nearest_convention(
    layer: Layer,
    shape: Sequence[int],
    sizes: Sequence[int],
    factors: Sequence[float],
    coordinates: str,
    rounding: str,
) -> tuple[bool, bool]:
    """Return the convention that picks the same pixels; the formulas differ, the result seldom."""
    wanted = [
        _onnx_nearest(layer, shape[axis], sizes[axis], factors[axis], coordinates, rounding)
        for axis in (2, 3)
    ]
    for align, half in _CONVENTIONS:
        found = [_nearest(shape[axis], sizes[axis], align, half) for axis in (2, 3)]
        if all(np.array_equal(a, b) for a, b in zip(wanted, found, strict=True)):
            return align, half
    raise layer.refuse(f"{coordinates} coordinates with {rounding} pick pixels in an unusual way")


def _onnx_nearest(
    layer: Layer, size: int, output: int, factor: float, coordinates: str, rounding: str
) -> np.ndarray:
    at = np.arange(output, dtype=np.float64)
    if coordinates in {"half_pixel", "half_pixel_symmetric"} or (
        coordinates == "pytorch_half_pixel" and output > 1
    ):
        position = (at + 0.5) / factor - 0.5
    elif coordinates == "asymmetric":
        position = at / factor
    elif coordinates == "align_corners":
        position = at * (size - 1) / max(output - 1, 1)
    else:
        raise layer.refuse(f"coordinate_transformation_mode {coordinates!r} is not supported")
    rounded = {
        "round_prefer_floor": np.ceil(position - 0.5),
        "round_prefer_ceil": np.floor(position + 0.5),
        "floor": np.floor(position),
        "ceil": np.ceil(position),
    }.get(rounding)
    if rounded is None:
        raise layer.fail(f"nearest_mode cannot be {rounding!r}")
    return np.clip(rounded, 0, size - 1).astype(np.int64)


def _nearest(size: int, output: int, align: bool, half: bool) -> np.ndarray:
    """Return the pixels that ``resize`` picks."""
    at = np.arange(output, dtype=np.float64)
    scale = (size - 1) / (output - 1) if align and output > 1 else size / output
    position = (at + (0.5 if half else 0.0)) * scale
    rounded = np.floor(position + 0.5) if align else np.floor(position)
    return np.clip(rounded, 0, size - 1).astype(np.int64)


def _linear_convention(
    layer: Layer,
    shape: Sequence[int],
    sizes: Sequence[int],
    factors: Sequence[float],
    coordinates: str,
) -> tuple[bool, bool]:
    exact = all(abs(sizes[axis] / shape[axis] - factors[axis]) < 1e-6 for axis in (2, 3))
    one_pixel = 1 in sizes[2:]
    if coordinates == "align_corners":
        return True, False
    if exact and coordinates == "asymmetric":
        return False, False
    if exact and (
        coordinates in {"half_pixel", "half_pixel_symmetric"}
        or (coordinates == "pytorch_half_pixel" and not one_pixel)
    ):
        return False, True
    raise layer.refuse(
        f"linear interpolation from {list(shape[2:])} to {list(sizes[2:])} with {coordinates} "
        f"coordinates and scales {list(factors[2:])}: give sizes instead of scales"
    )


def _depth_to_space(layer: Layer) -> tuple[str, ...]:
    block, mode = layer.int_attr("blocksize"), layer.text_attr("mode", "DCR")
    shape, x = layer.shape(0), layer.input(0)
    if len(shape) != 4 or block < 1 or shape[1] % (block * block):
        raise layer.fail(f"blocks of {block} do not fit {list(shape)}")
    if mode == "CRD":
        layer.builder.spend(8 * shape[1], layer.origin)
        # The column-row-depth order is the depth-column-row order after a shuffle of the channels.
        order = np.arange(shape[1]).reshape(-1, block, block).transpose(1, 2, 0).reshape(-1)
        x = layer.emit("gather", [x, layer.add_constant(order.astype(np.int64))], axis=1)
    elif mode != "DCR":
        raise layer.fail(f"mode cannot be {mode!r}")
    return (layer.emit("depth_to_space", [x], block=block, layout="NCHW"),)


def _space_to_depth(layer: Layer) -> tuple[str, ...]:
    block, shape = layer.int_attr("blocksize"), layer.shape(0)
    if len(shape) != 4 or block < 1 or shape[2] % block or shape[3] % block:
        raise layer.fail(f"blocks of {block} do not fit {list(shape)}")
    return (layer.emit("space_to_depth", [layer.input(0)], block=block, layout="NCHW"),)


MAPPERS: dict[str, Mapper] = {
    "AveragePool": _pool("average_pool2d"),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "GlobalAveragePool": _global_pool("reduce_mean"),
    "GlobalMaxPool": _global_pool("reduce_max"),
    "MaxPool": _pool("max_pool2d"),
    "Resize": _resize,
    "SpaceToDepth": _space_to_depth,
    "Upsample": _upsample,
}
