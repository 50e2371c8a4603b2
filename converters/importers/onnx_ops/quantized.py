"""Models that are quantized already, in the QDQ and the QOperator style.

``QuantizeLinear`` and ``DequantizeLinear`` become ``quantize`` and ``dequantize``, with the scale
and zero point on the int8 tensor; computed uint8 values are stored as int8. A QOperator layer
becomes its float operator between the two. Quantized weights and biases become float constants.
Dynamically quantized layers compute on whole numbers held as float32.

Source: ONNX operator reference, QuantizeLinear-13, DequantizeLinear-13, QLinearConv-10.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.converters.importers.onnx_ops.layer import Layer, Mapper
from edgekit.converters.importers.onnx_ops.spatial import conv2d
from edgekit.dtypes import Array, DType
from edgekit.graph import Quantization, Tensor

_UINT8_OFFSET = 128
_SMALLEST_SPAN = float(np.finfo(np.float32).tiny) * 256


def _quantization(
    layer: Layer, tensor: Tensor, scale_input: int, zero_input: int, axis: int
) -> Quantization:
    """Return what constant scale and zero point inputs say about a tensor."""
    scale = layer.constant(scale_input).astype(np.float32)
    zero: Array = np.zeros(scale.shape, np.int32)
    if layer.has(zero_input):
        zero = layer.constant(zero_input).astype(np.int32)
    if scale.shape != zero.shape or not np.all(np.isfinite(scale)) or not np.all(scale > 0):
        raise layer.fail("scale and zero point must be positive numbers of one shape")
    if scale.size == 1:
        return Quantization(scale.reshape(1), zero.reshape(1).astype(np.int32))
    axis = layer.axis(axis, len(tensor.shape))
    if scale.shape != (tensor.shape[axis],):
        raise layer.refuse("only one scale for the tensor, or one for each channel, is supported")
    return Quantization(scale, zero.astype(np.int32), axis)


def _quantized(layer: Layer, name: str, scale_input: int, zero_input: int) -> str:
    tensor = layer.builder.tensors[name]
    quantization = _quantization(layer, tensor, scale_input, zero_input, _axis_attr(layer))
    dtype = layer.tensor(zero_input).dtype if layer.has(zero_input) else DType.UINT8
    if dtype is DType.UINT8:
        dtype, quantization = DType.INT8, _as_int8(quantization)
    return layer.emit_quantize(name, dtype, quantization)


def _as_int8(quantization: Quantization) -> Quantization:
    """Return the quantization of uint8 values stored as int8, 128 less."""
    return replace(quantization, zero_point=quantization.zero_point - np.int32(_UINT8_OFFSET))


def _dequantized(
    layer: Layer, index: int, scale_input: int, zero_input: int, *, axis: int | None = None
) -> str:
    """Return the real values of a quantized input; a float constant where it is constant."""
    tensor = layer.tensor(index)
    axis = _axis_attr(layer) if axis is None else axis
    quantization = _quantization(layer, tensor, scale_input, zero_input, axis)
    if tensor.is_constant:
        real = dequantized_array(tensor.data, quantization)
        layer.builder.spend(real.nbytes, layer.origin)
        return layer.add_constant(real)
    if tensor.dtype is DType.INT8 and _is_uint8(layer, zero_input):
        quantization = _as_int8(quantization)
    if tensor.quantization is None:
        layer.builder.tensors[tensor.name] = replace(tensor, quantization=quantization)
    elif not tensor.quantization.same_as(quantization):
        raise layer.refuse(f"{tensor.name} is read with another scale than it was written with")
    return layer.emit("dequantize", [tensor.name])


def _is_uint8(layer: Layer, zero_input: int) -> bool:
    return not layer.has(zero_input) or layer.tensor(zero_input).dtype is DType.UINT8


def _axis_attr(layer: Layer) -> int:
    return layer.int_attr("axis", 1)


def dequantized_array(data: Array, quantization: Quantization) -> Array:
    """Return ``scale * (stored - zero_point)`` as float32."""
    scale, zero = quantization.scale, quantization.zero_point
    if quantization.axis is not None:
        shape = [1] * data.ndim
        shape[quantization.axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    else:
        scale, zero = scale.reshape(()), zero.reshape(())
    return ((data.astype(np.int64) - zero) * scale).astype(np.float32)


def _quantize_linear(layer: Layer) -> tuple[str, ...]:
    return (_quantized(layer, layer.input(0), 1, 2),)


def _dequantize_linear(layer: Layer) -> tuple[str, ...]:
    return (_dequantized(layer, 0, 1, 2),)


def _qlinear_conv(layer: Layer) -> tuple[str, ...]:
    """Map x, scale, zero; weights, scale, zero; output scale, zero; int32 bias."""
    x = _dequantized(layer, 0, 1, 2)
    weights = _dequantized(layer, 3, 4, 5, axis=0)
    bias = ""
    if layer.has(8):
        scale = layer.constant(1).astype(np.float32) * layer.constant(4).astype(np.float32)
        real = layer.constant(8).astype(np.float32) * scale.reshape(-1)
        bias = layer.add_constant(real.astype(np.float32))
    return (_quantized(layer, conv2d(layer, x, weights, bias), 6, 7),)


def _qlinear_matmul(layer: Layer) -> tuple[str, ...]:
    a, b = _dequantized(layer, 0, 1, 2), _dequantized(layer, 3, 4, 5)
    return (_quantized(layer, layer.emit("matmul", [a, b]), 6, 7),)


def _dynamic_quantize(layer: Layer) -> tuple[str, ...]:
    """Return stored values, scale and zero point of x, all as real numbers.

    ONNX rounds halves to even, this rounds them up: a difference of one step, seldom.
    """
    x = layer.input(0)
    axes = tuple(range(len(layer.shape(0))))
    zero, steps = layer.scalar(0.0), layer.scalar(255.0)
    high = layer.emit("maximum", [layer.emit("reduce_max", [x], axes=axes, keep_dims=False), zero])
    low = layer.emit("minimum", [layer.emit("reduce_min", [x], axes=axes, keep_dims=False), zero])
    # The smallest normal number keeps an input of zeros from dividing by zero.
    span = layer.emit("maximum", [layer.emit("sub", [high, low]), layer.scalar(_SMALLEST_SPAN)])
    scale = layer.emit("div", [span, steps])
    offset = _rounded(layer, layer.emit("div", [layer.emit("neg", [low]), scale]))
    shifted = layer.emit("add", [_rounded(layer, layer.emit("div", [x, scale])), offset])
    return layer.emit("clip", [shifted], min=0.0, max=255.0), scale, offset


def _rounded(layer: Layer, name: str) -> str:
    return layer.emit("floor", [layer.emit("add", [name, layer.scalar(0.5)])])


def _without_zero_point(layer: Layer, index: int, zero_input: int) -> str:
    """Return an integer operand as real numbers, its zero point subtracted."""
    tensor = layer.tensor(index)
    name = tensor.name
    if tensor.is_constant:
        layer.builder.spend(4 * tensor.elements, layer.origin)
        name = layer.add_constant(tensor.data.astype(np.float32))
    elif tensor.dtype is not DType.FLOAT32:
        name = layer.emit("cast", [name], dtype=DType.FLOAT32.value)
    if not layer.has(zero_input):
        return name
    zero = layer.tensor(zero_input)
    if zero.is_constant:
        values = layer.constant(zero_input).astype(np.float32)
        if not np.any(values):
            return name
        return layer.emit("sub", [name, layer.add_constant(values)])
    return layer.emit("sub", [name, zero.name])


def _matmul_integer(layer: Layer) -> tuple[str, ...]:
    """Map a, b, zero point of a, zero point of b; the int32 product stays in real numbers."""
    a, b = _without_zero_point(layer, 0, 2), _without_zero_point(layer, 1, 3)
    return (layer.emit("matmul", [a, b]),)


def _conv_integer(layer: Layer) -> tuple[str, ...]:
    x, weights = _without_zero_point(layer, 0, 2), _without_zero_point(layer, 1, 3)
    return (conv2d(layer, x, weights, ""),)


def _qlinear_binary(op: str) -> Mapper:
    """Map the com.microsoft forms: a, scale, zero; b, scale, zero; output scale, zero."""

    def mapper(layer: Layer) -> tuple[str, ...]:
        a, b = _dequantized(layer, 0, 1, 2), _dequantized(layer, 3, 4, 5)
        return (_quantized(layer, layer.emit(op, [a, b]), 6, 7),)

    return mapper


def _qlinear_sigmoid(layer: Layer) -> tuple[str, ...]:
    real = layer.emit("sigmoid", [_dequantized(layer, 0, 1, 2)])
    return (_quantized(layer, real, 3, 4),)


def _qlinear_global_average_pool(layer: Layer) -> tuple[str, ...]:
    if layer.int_attr("channels_last", 0):
        raise layer.refuse("channels_last is not supported")
    axes = tuple(range(2, len(layer.shape(0))))
    real = layer.emit("reduce_mean", [_dequantized(layer, 0, 1, 2)], axes=axes, keep_dims=True)
    return (_quantized(layer, real, 3, 4),)


MAPPERS: dict[str, Mapper] = {
    "ConvInteger": _conv_integer,
    "DequantizeLinear": _dequantize_linear,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "MatMulInteger": _matmul_integer,
    "QLinearAdd": _qlinear_binary("add"),
    "QLinearConv": _qlinear_conv,
    "QLinearGlobalAveragePool": _qlinear_global_average_pool,
    "QLinearMatMul": _qlinear_matmul,
    "QLinearMul": _qlinear_binary("mul"),
    "QLinearSigmoid": _qlinear_sigmoid,
    "QuantizeLinear": _quantize_linear,
}
