"""Fixed-point arithmetic of quantized operators, equal to TensorFlow Lite Micro's bit for bit.

A real factor is held as ``multiplier * 2**(shift - 31)`` with ``multiplier`` an int32 in
[2**30, 2**31) (zero for a factor of zero). Rescaling rounds twice, as gemmlowp does: once in the
doubling high multiplication, once in the right shift. That is what TensorFlow Lite Micro computes
unless it is built with ``TFLITE_SINGLE_ROUNDING``.

References
----------
Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018, section 2.2. gemmlowp, ``fixedpoint/fixedpoint.h``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Quantization, Tensor

IntArray = npt.NDArray[np.int64]
"""Integers held wide, so that intermediate products cannot overflow."""

_INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Multipliers:
    """Real factors in fixed point: ``multiplier * 2**(shift - 31)``.

    Parameters
    ----------
    multiplier : array of int64, shape () or (C,)
        Values of an int32.
    shift : array of int64, same shape
        Positive shifts left.
    """

    multiplier: IntArray
    shift: IntArray


def quantize_multipliers(reals: npt.ArrayLike) -> Multipliers:
    """Return the fixed-point form of real factors (float64, any shape).

    Factors below 2**-32 become zero.

    Raises
    ------
    ModelError
        If a factor is not finite.
    """
    factors = np.asarray(reals, np.float64)
    if not np.isfinite(factors).all():
        raise ModelError(f"a rescaling factor of {factors.max()} comes from the model's scales")
    fraction, exponent = np.frexp(factors)
    multiplier = np.trunc(fraction * 2.0**31 + np.copysign(0.5, fraction)).astype(np.int64)
    shift = exponent.astype(np.int64)
    rounded_up = multiplier == 2**31
    multiplier, shift = np.where(rounded_up, 2**30, multiplier), shift + rounded_up
    too_small = shift < -31
    return Multipliers(np.where(too_small, 0, multiplier), np.where(too_small, 0, shift))


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Return multiplier and shift of one real factor (:func:`quantize_multipliers`)."""
    pair = quantize_multipliers(real)
    return int(pair.multiplier), int(pair.shift)


def round_half_away(value: float) -> int:
    """Round to the nearest integer, halves away from zero, as C's ``round``."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def high_mul(a: IntArray, b: IntArray | int) -> IntArray:
    """Return ``round(a * b / 2**31)`` saturated to int32 (SaturatingRoundingDoublingHighMul).

    ``a`` and ``b`` hold int32 values.
    """
    product: IntArray = a * b
    product += 1 << 30
    product >>= 31
    return np.minimum(product, _INT32_MAX)


def rounding_shift_right(x: IntArray, exponent: IntArray | int) -> IntArray:
    """Return ``x / 2**exponent`` rounded to nearest, halves away from zero.

    gemmlowp calls it RoundingDivideByPOT. ``exponent`` is 0 to 31.
    """
    exponents = np.asarray(exponent, np.int64)
    half = (np.int64(1) << exponents) >> 1
    sign = (x >> 63) * (exponents > 0)
    shifted: IntArray = (x + half + sign) >> exponents
    return shifted


def multiply(x: Array, by: Multipliers) -> IntArray:
    """Return ``x * factor`` rounded twice (MultiplyByQuantizedMultiplier on int32).

    Parameters
    ----------
    x : array of int, shape (..., C) or any shape where ``by`` holds one factor
        Values of an int32.
    """
    wide = x.astype(np.int64)
    left = np.maximum(by.shift, 0)
    if left.any():
        # The C code shifts in int32: keep what wraps there wrapping here.
        wide = (wide << left).astype(np.int32).astype(np.int64)
    return rounding_shift_right(high_mul(wide, by.multiplier), np.maximum(-by.shift, 0))


def exact_matmul(a: Array, b: Array) -> npt.NDArray[np.int32]:
    """Return the matrix product of integers without rounding, by floating-point BLAS.

    Parameters
    ----------
    a : array of int, shape (M, K)
        Values of -255 to 255 (int8 less a zero point) or int16.
    b : array of int, shape (K, N)
        Values of -255 to 255.

    Notes
    -----
    Sums of products are exact in float32 below 2**24 and in float64 below 2**53.
    """
    bound = 255 * 255 if a.dtype.itemsize == 1 else int(np.abs(a).max(initial=0)) * 255
    exact = np.dtype(np.float32 if bound * a.shape[-1] < 2**24 else np.float64)
    product: npt.NDArray[np.int32] = (a.astype(exact) @ b.astype(exact)).astype(np.int32)
    return product


def quantization_of(tensor: Tensor) -> Quantization:
    """Return the quantization of a tensor.

    Raises
    ------
    ModelError
        If the tensor has none.
    """
    if tensor.quantization is None:
        raise ModelError(f"tensor {tensor.name} is {tensor.dtype.value} without scale")
    return tensor.quantization


def scale_of(tensor: Tensor) -> np.float32:
    """Return the scale of a tensor that has one for all its elements."""
    return np.float32(quantization_of(tensor).scale[0])


def zero_point_of(tensor: Tensor) -> int:
    """Return the zero point of a tensor that has one for all its elements."""
    return int(quantization_of(tensor).zero_point[0])


def integer_range(dtype: DType) -> tuple[int, int]:
    """Return the smallest and largest value of an integer type."""
    half = 1 << (dtype.bits - 1)
    return (-half, half - 1) if dtype.numpy.kind == "i" else (0, 2 * half - 1)


def activation_range(activation: str, output: Tensor) -> tuple[int, int]:
    """Return the stored values between which a fused activation clamps a quantized output."""
    low, high = integer_range(output.dtype)
    if activation == "none":
        return low, high
    scale, zero_point = scale_of(output), zero_point_of(output)

    def stored(real: float) -> int:
        return zero_point + round_half_away(float(np.float32(real) / scale))

    bounds: dict[str, tuple[float, float | None]] = {
        "relu": (0.0, None),
        "relu6": (0.0, 6.0),
        "relu_n1_1": (-1.0, 1.0),
    }
    if activation not in bounds:
        raise ModelError(f"activation {activation} cannot be fused into an integer operator")
    least, most = bounds[activation]
    return max(low, stored(least)), high if most is None else min(high, stored(most))


def saturate(x: IntArray, dtype: DType) -> Array:
    """Clamp to the range of an integer type and store as that type."""
    low, high = integer_range(dtype)
    return np.clip(x, low, high).astype(dtype.numpy)


def centred(array: Array, tensor: Tensor) -> npt.NDArray[np.int32]:
    """Return stored values less their zero point."""
    return array.astype(np.int32) - np.int32(zero_point_of(tensor))


def store(acc: Array, by: Multipliers, output: Tensor, activation: str) -> Array:
    """Rescale accumulators to the output's scale, add its zero point, clamp and store.

    Parameters
    ----------
    acc : array of int32, shape (..., C)
    by : Multipliers
        One factor, or one for each of the C channels.
    """
    low, high = activation_range(activation, output)
    rescaled = multiply(acc, by) + zero_point_of(output)
    return np.clip(rescaled, low, high).astype(output.dtype.numpy)


def channel_multipliers(x: Tensor, weights: Tensor, output: Tensor) -> Multipliers:
    """Return the factors by which convolution accumulators are rescaled, one per channel or one.

    Products are formed in double precision, as for convolutions in TensorFlow Lite Micro.
    """
    scales = quantization_of(weights).scale.astype(np.float64)
    real = float(scale_of(x)) * scales / float(scale_of(output))
    return quantize_multipliers(real if real.size > 1 else real[0])


def stored_from_real(real: Array, tensor: Tensor) -> Array:
    """Quantize real values as TensorFlow Lite's AffineQuantize does (float32 arithmetic).

    Parameters
    ----------
    real : array of float32
    """
    # Rounded in float64: adding a half in float32 would round a second time.
    scaled = (real.astype(np.float32) / scale_of(tensor)).astype(np.float64)
    rounded = np.trunc(scaled + np.copysign(0.5, scaled)) + zero_point_of(tensor)
    low, high = integer_range(tensor.dtype)
    stored: Array = np.clip(np.nan_to_num(rounded), low, high).astype(tensor.dtype.numpy)
    return stored


def real_from_stored(stored: Array, tensor: Tensor) -> npt.NDArray[np.float32]:
    """Return the real values of a quantized array, per tensor or per channel."""
    quantization = quantization_of(tensor)
    scale, zero_point = quantization.scale, quantization.zero_point
    if quantization.axis is not None:
        shape = [1] * stored.ndim
        shape[quantization.axis] = scale.size
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    difference = stored.astype(np.int64) - zero_point
    real: npt.NDArray[np.float32] = (scale.astype(np.float64) * difference).astype(np.float32)
    return real
