"""Scales and zero points, as TensorFlow Lite's int8 scheme wants them.

Activations: int8, asymmetric, one scale a tensor, -128 to 127. Weights: int8, symmetric, one scale
an output channel, -127 to 127. Biases: int32 at the scale ``input * weights``, zero point 0.

Source: TensorFlow Lite 8-bit quantization specification
(ai.google.dev/edge/litert/models/quantization_spec).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgekit.converters.calibration.observers import LEVELS, Range
from edgekit.dtypes import Array
from edgekit.errors import QuantizationError
from edgekit.graph import Quantization, Tensor

LOWEST, HIGHEST = -128, 127
"""Stored values of an activation; weights do not use the lowest."""
_SMALLEST_SCALE = 2.0**-60
"""Keeps a tensor that is always zero, or nearly, from a scale that float32 arithmetic loses."""
_LARGEST_BIAS = 2.0**30
"""Stored biases stay below this, so that adding the products cannot overflow int32."""


def activation_quantization(limits: Range) -> Quantization:
    """Return scale and zero point for an activation.

    Parameters
    ----------
    limits : Range
        Widened to hold zero, which is represented exactly.
    """
    wide = limits.including_zero()
    scale = max((wide.maximum - wide.minimum) / (LEVELS - 1), _SMALLEST_SCALE)
    zero_point = round(LOWEST - wide.minimum / scale)
    return Quantization.per_tensor(scale, min(max(zero_point, LOWEST), HIGHEST))


def quantized_constant(tensor: Tensor, name: str, quantization: Quantization) -> Tensor:
    """Return a float constant stored as int8 under ``quantization`` (per tensor or per channel).

    Raises
    ------
    QuantizationError
        If a value is not finite.
    """
    data = _finite(tensor)
    scale, zero_point = along_axis(quantization, data.ndim)
    stored = np.clip(np.rint(data / scale) + zero_point, LOWEST, HIGHEST).astype(np.int8)
    return Tensor.constant(name, stored, quantization)


def constant_range(tensor: Tensor) -> Range:
    """Return the extremes of a float constant (QuantizationError where one is not finite)."""
    data = _finite(tensor)
    return Range(float(data.min()), float(data.max())) if data.size else Range(0.0, 0.0)


def weight_quantization(
    weights: Tensor, axis: int, *, input_scale: float, bias: Array | None
) -> Quantization:
    """Return the scales of a layer's weights, one per output channel.

    Parameters
    ----------
    weights : Tensor
        float32 constant.
    axis : int
        Axis of the output channels.
    input_scale : float
        Scale of the layer's input.
    bias : array of float32, shape (C,), or None
        A channel with tiny weights and a large bias gets a larger scale, so that the bias fits
        int32.

    Raises
    ------
    QuantizationError
        If a weight or bias is not finite.
    """
    data = _finite(weights)
    others = tuple(index for index in range(data.ndim) if index != axis)
    scale = np.abs(data).max(axis=others, initial=0.0) / HIGHEST
    if bias is not None:
        if not np.isfinite(bias).all():
            raise QuantizationError("a bias is not finite", tensor=weights.name)
        needed = np.abs(bias.astype(np.float64)) / (_LARGEST_BIAS * input_scale)
        scale = np.maximum(scale, needed)
    scale = np.maximum(scale, _SMALLEST_SCALE).astype(np.float32)
    return Quantization(scale, np.zeros(scale.size, np.int32), axis)


def quantized_bias(
    name: str, bias: npt.NDArray[np.float64], *, input_scale: float, weights: Quantization
) -> Tensor:
    """Return a bias stored as int32.

    Parameters
    ----------
    name : str
    bias : array of float64, shape (C,)
    input_scale : float
        Scale of the layer's input.
    weights : Quantization
        Of the layer's weights.
    """
    scale = (np.float64(input_scale) * weights.scale.astype(np.float64)).astype(np.float32)
    limit = 2.0**31 - 1
    stored = np.clip(np.rint(bias / scale), -limit, limit).astype(np.int32)
    quantization = Quantization(scale, np.zeros(scale.size, np.int32), 0)
    return Tensor.constant(name, stored, quantization)


def along_axis(
    quantization: Quantization, axes: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """Return scale and zero point shaped to broadcast with an array of ``axes`` axes."""
    scale, zero_point = quantization.scale.astype(np.float64), quantization.zero_point
    if quantization.axis is None:
        return scale, zero_point
    shape = [1] * axes
    shape[quantization.axis] = scale.size
    return scale.reshape(shape), zero_point.reshape(shape)


def _finite(tensor: Tensor) -> npt.NDArray[np.float64]:
    data = tensor.data.astype(np.float64)
    if not np.isfinite(data).all():
        raise QuantizationError("a value is not finite (NaN or infinite)", tensor=tensor.name)
    return data
