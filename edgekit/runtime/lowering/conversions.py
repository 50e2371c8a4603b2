"""Elements on another scale or of another type."""

from __future__ import annotations

import math

from edgekit.dtypes import DType
from edgekit.graph import Tensor
from edgekit.ops import int8
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.call import Field, KernelCall, no_kernel
from edgekit.runtime.lowering.elementwise import lookup

_SUFFIXES = {
    DType.INT8: "s8",
    DType.UINT8: "u8",
    DType.INT16: "s16",
    DType.INT32: "s32",
    DType.FLOAT32: "f32",
}
_CASTS = frozenset(
    {
        *("f32_s8", "f32_u8", "f32_s32", "f32_s64", "s8_f32", "u8_f32", "s32_f32", "s64_f32"),
        *("s8_s32", "u8_s32", "s32_s64", "s64_s32"),
    }
)
_CAST_SUFFIXES = {**_SUFFIXES, DType.INT64: "s64", DType.BOOL: "u8"}


def quantize(view: OpView) -> tuple[KernelCall, ...]:
    """Lower the change to another scale, from floats or from integers."""
    x, output = view.input(0), view.outputs[0]
    if (x.dtype, output.dtype) == (DType.INT8, DType.INT8):
        return lookup(view)
    if x.dtype not in _SUFFIXES or output.dtype not in _SUFFIXES:
        raise no_kernel(view)
    suffix = f"{_SUFFIXES[x.dtype]}_{_SUFFIXES[output.dtype]}"
    names = x.name, output.name
    if x.dtype is DType.FLOAT32:
        fields = _affine(output, x.elements)
        return (KernelCall(f"ek_quantize_{suffix}", "ek_quantize_params", fields, names),)
    factor = float(int8.scale_of(x)) / float(int8.scale_of(output))
    multiplier, shift = int8.quantize_multiplier(factor)
    fields = {
        "elements": x.elements,
        "input_zero_point": int8.zero_point_of(x),
        "multiplier": multiplier,
        "shift": shift,
        "output_zero_point": int8.zero_point_of(output),
    }
    return (KernelCall(f"ek_requantize_{suffix}", "ek_requantize_params", fields, names),)


def dequantize(view: OpView) -> tuple[KernelCall, ...]:
    """Lower the way back to floats."""
    x, output = view.input(0), view.outputs[0]
    if x.dtype not in _SUFFIXES or x.dtype.is_float:
        raise no_kernel(view)
    axis = int8.quantization_of(x).axis
    if axis is None:
        name = f"ek_dequantize_{_SUFFIXES[x.dtype]}_f32"
        fields = _affine(x, x.elements)
        return (KernelCall(name, "ek_quantize_params", fields, (x.name, output.name)),)
    if x.dtype is not DType.INT8:
        raise no_kernel(view, "one scale is needed")
    return (_dequantize_channels(x, output, axis),)


def _dequantize_channels(x: Tensor, output: Tensor, axis: int) -> KernelCall:
    shape, quantization = x.static_shape, int8.quantization_of(x)
    fields: dict[str, Field] = {
        "outer": math.prod(shape[:axis]),
        "channels": shape[axis],
        "inner": math.prod(shape[axis + 1 :]),
        "scales": quantization.scale,
        "zero_points": quantization.zero_point,
    }
    name = "ek_dequantize_channels_s8_f32"
    return KernelCall(name, "ek_dequantize_channels_params", fields, (x.name, output.name))


def cast(view: OpView) -> tuple[KernelCall, ...]:
    """Lower the change to another type."""
    x, output = view.input(0), view.outputs[0]
    suffix = f"{_CAST_SUFFIXES.get(x.dtype)}_{_CAST_SUFFIXES.get(output.dtype)}"
    if suffix not in _CASTS or output.dtype is DType.BOOL:
        raise no_kernel(view)
    fields: dict[str, Field] = {"elements": x.elements}
    return (KernelCall(f"ek_cast_{suffix}", "ek_cast_params", fields, (x.name, output.name)),)


def _affine(tensor: Tensor, elements: int) -> dict[str, Field]:
    return {
        "elements": elements,
        "zero_point": int8.zero_point_of(tensor),
        "scale": float(int8.scale_of(tensor)),
    }
