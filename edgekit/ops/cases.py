"""Tensors and data for the test cases of operators: seeded, small, named by their role."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.graph import Attr, Node, Quantization, Tensor, TensorKind
from edgekit.ops import int8
from edgekit.ops.spec import OpCase, OpView, TensorType

Input = tuple[Tensor, Array]
"""A declared tensor and its data."""

Infer = Callable[[OpView], Sequence[TensorType]]
"""Shape inference of an operator."""


def _generator(name: str, shape: tuple[int, ...]) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{name}{shape}".encode()))


def float_input(
    name: str, shape: tuple[int, ...], low: float = -3.0, high: float = 3.0, *, const: bool = False
) -> Input:
    """Return a float32 input with values uniform between ``low`` and ``high``."""
    data = _generator(name, shape).uniform(low, high, shape).astype(np.float32)
    return _declared(name, data, None, const=const)


def int8_input(
    name: str,
    shape: tuple[int, ...],
    scale: float = 0.05,
    zero_point: int = 0,
    *,
    const: bool = False,
) -> Input:
    """Return an int8 input with values over the whole range."""
    data = _generator(name, shape).integers(-128, 128, shape).astype(np.int8)
    return _declared(name, data, Quantization.per_tensor(scale, zero_point), const=const)


def stored_input(
    name: str, shape: tuple[int, ...], dtype: DType, scale: float, zero_point: int = 0
) -> Input:
    """Return a quantized input of a type, with values over its whole range."""
    low, high = int8.integer_range(dtype)
    data = _generator(name, shape).integers(low, high + 1, shape).astype(dtype.numpy)
    quantization = Quantization.per_tensor(scale, zero_point)
    return Tensor(name, shape, dtype, TensorKind.INPUT, quantization), data


def int8_weights(
    name: str,
    shape: tuple[int, ...],
    axis: int,
    scale: float = 0.02,
    dtype: DType = DType.INT8,
) -> Input:
    """Return constant weights, int8 or packed, symmetric, with another scale for each channel."""
    _, high = int8.integer_range(dtype)
    data = _generator(name, shape).integers(-high, high + 1, shape).astype(np.int8)
    channels = shape[axis]
    scales = np.linspace(0.5 * scale, 1.5 * scale, channels, dtype=np.float32)
    quantization = Quantization(scales, np.zeros(channels, np.int32), axis)
    return replace(Tensor.constant(name, data, quantization), dtype=dtype), data


def int32_bias(name: str, channels: int, magnitude: int = 4000) -> Input:
    """Return a constant int32 bias."""
    data = _generator(name, (channels,)).integers(-magnitude, magnitude, channels, np.int32)
    return Tensor.constant(name, data), data


def integer_input(name: str, shape: tuple[int, ...], dtype: DType, low: int, high: int) -> Input:
    """Return an input of integers that are not quantized, from ``low`` up to ``high - 1``."""
    data = _generator(name, shape).integers(low, high, shape).astype(dtype.numpy)
    return _declared(name, data, None, const=False)


def channels_first(given: Input) -> Input:
    """Return an input of four axes with axis 3 moved to the place of axis 1."""
    tensor, data = given
    turned = np.ascontiguousarray(data.transpose(0, 3, 1, 2))
    return _declared(tensor.name, turned, tensor.quantization, const=tensor.is_constant)


def case(
    id: str,
    infer: Infer,
    inputs: Sequence[Input | None],
    attrs: Mapping[str, Attr] | None = None,
    *,
    scale: float | None = None,
    zero_point: int = 0,
    tolerance: float = 0.0,
    dtype: DType | None = None,
) -> OpCase:
    """Return a case whose outputs have the inferred shapes.

    Parameters
    ----------
    scale, zero_point
        Quantization of all outputs; none without ``scale``.
    dtype
        Element type of all outputs, where it is not the inferred one.
    """
    tensors = tuple(None if given is None else given[0] for given in inputs)
    names = tuple("" if tensor is None else tensor.name for tensor in tensors)
    types = infer(OpView(Node(id, id, names, (), attrs or {}), tensors, ()))
    quantization = None if scale is None else Quantization.per_tensor(scale, zero_point)
    outputs = tuple(
        Tensor(f"y{index}", kind.shape, dtype or kind.dtype, TensorKind.ACTIVATION, quantization)
        for index, kind in enumerate(types)
    )
    return OpCase(id, tuple(inputs), outputs, attrs or {}, tolerance)


def packed_convolutions(
    name: str,
    infer: Infer,
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    attrs: Mapping[str, Attr],
    widths: Iterable[tuple[DType, DType, DType]],
    *,
    channel_axis: int,
    scale: float,
) -> Iterator[OpCase]:
    """Yield one case of a convolution for each triple of types of x, weights and output.

    Parameters
    ----------
    shapes : (tuple of int, tuple of int)
        Of x and of the weights.
    channel_axis : int
        Of the weights' output channels.
    scale : float
        Of the output, against that which its type has as an input.
    """
    x_shape, w_shape = shapes
    channels = w_shape[channel_axis]
    for kinds in widths:
        x, weights, y = kinds
        operands = (
            stored_input("x", x_shape, x, _SCALES[x], -1),
            int8_weights("weights", w_shape, channel_axis, 0.4 * _SCALES[weights], weights),
            int32_bias("bias", channels, 40),
        )
        yield case(
            f"{'_'.join(kind.value for kind in kinds)}_{name}",
            infer,
            operands,
            attrs,
            scale=scale * _SCALES[y],
            zero_point=-1,
            dtype=y,
        )


_SCALES = {DType.INT8: 0.05, DType.INT4: 0.8, DType.INT2: 3.0}
"""Of values of about 6 at most."""


def _declared(name: str, data: Array, quantization: Quantization | None, *, const: bool) -> Input:
    if const:
        return Tensor.constant(name, data, quantization), data
    dtype = DType.from_numpy(data.dtype)
    return Tensor(name, tuple(data.shape), dtype, TensorKind.INPUT, quantization), data
