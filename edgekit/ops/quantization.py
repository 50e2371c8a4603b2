"""``quantize``, ``dequantize`` and ``cast``.

- ``quantize``: x of floats, or of int2 to int32 with another scale; the target is the output's
  quantization; ``dtype`` (``int8`` by default), or the small integer that is declared.
- ``dequantize``: x with a scale, or float16; float32 output.
- ``cast``: x; ``dtype``. Converts stored values as C does, whatever their scale.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Quantization, Tensor
from edgekit.ops import cases, int8
from edgekit.ops.checks import FLOATS, PACKED, declared_dtype, require_dtype
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, TensorType

_STORED = (DType.INT8, *PACKED, DType.INT16, DType.INT32)


def _dtype(view: OpView, default: str | None = None) -> DType:
    name = view.str_attr("dtype", default)
    try:
        return DType(name)
    except ValueError:
        raise ModelError(f"layer {view.node.where}: there is no element type {name}") from None


def _quantize_infer(view: OpView) -> list[TensorType]:
    require_dtype(view, 0, (*FLOATS, *_STORED, DType.UINT8))
    dtype = declared_dtype(view, _dtype(view, "int8"))
    if dtype not in _STORED:
        raise ModelError(f"layer {view.node.where}: quantizes to {dtype.value}")
    return [TensorType(view.input(0).shape, dtype)]


def _quantize(call: OpCall) -> list[Array]:
    x, tensor, output = call.array(0), call.view.input(0), call.view.outputs[0]
    if tensor.dtype.is_float:
        return [int8.stored_from_real(x, output)]
    return [requantized(x, tensor, output)]


def requantized(x: Array, tensor: Tensor, output: Tensor) -> Array:
    """Return stored values on another scale, in the type of ``output``.

    Parameters
    ----------
    x : array of int8, which also holds int4 and int2, uint8, int16 or int32
    tensor, output : Tensor
        Their quantization, per tensor.
    """
    factor = float(int8.scale_of(tensor)) / float(int8.scale_of(output))
    difference = x.astype(np.int64) - int8.zero_point_of(tensor)
    rescaled = int8.multiply(difference, int8.quantize_multipliers(factor))
    return int8.saturate(rescaled + int8.zero_point_of(output), output.dtype)


def _dequantize_infer(view: OpView) -> list[TensorType]:
    require_dtype(view, 0, (DType.FLOAT16, *_STORED, DType.UINT8))
    return [TensorType(view.input(0).shape, DType.FLOAT32)]


def _dequantize(call: OpCall) -> list[Array]:
    x, tensor = call.array(0), call.view.input(0)
    if tensor.dtype.is_float:
        return [x.astype(np.float32)]
    return [int8.real_from_stored(x, tensor)]


def _cast_infer(view: OpView) -> list[TensorType]:
    return [TensorType(view.input(0).shape, _dtype(view))]


def _cast(call: OpCall) -> list[Array]:
    return [call.array(0).astype(_dtype(call.view).numpy)]


def _macs(view: OpView) -> int:
    return view.outputs[0].elements


def _quantize_cases() -> Iterable[OpCase]:
    for shape in ((1, 10), (2, 3, 5)):
        x = cases.float_input("x", shape, -9, 9)
        name = "x".join(map(str, shape))
        yield cases.case(f"float_{name}", _quantize_infer, (x,), scale=0.05, zero_point=-13)
    x = cases.int8_input("x", (3, 40), 0.1, 7)
    for scale in (0.1, 0.04, 0.3):
        case_id = f"int8_scale{scale}"
        yield cases.case(case_id, _quantize_infer, (x,), scale=scale, zero_point=-5)
    yield from _packed_cases()
    tensor, data = cases.integer_input("x", (1, 30), DType.INT16, -32768, 32768)
    wide = Tensor(tensor.name, tensor.shape, tensor.dtype, tensor.kind, _quantized(0.001, 0))
    yield cases.case("int16_to_int8", _quantize_infer, ((wide, data),), scale=0.25, zero_point=3)
    attrs = {"dtype": "int32"}
    yield cases.case("int16_to_int32", _quantize_infer, ((wide, data),), attrs, scale=0.0001)


def _packed_cases() -> Iterable[OpCase]:
    scales = {DType.INT8: 0.1, DType.INT4: 0.7, DType.INT2: 3.0}
    for source, scale in scales.items():
        for target in PACKED if source is DType.INT8 else scales:
            for columns in (16, 13):
                x = cases.stored_input("x", (2, 3, columns), source, scale, 1)
                case_id = f"{source.value}_to_{target.value}_{columns}"
                attrs = {"dtype": target.value}
                to = 1.2 * scales[target]
                yield cases.case(case_id, _quantize_infer, (x,), attrs, scale=to, zero_point=-1)


def _quantized(scale: float, zero_point: int) -> Quantization:
    return Quantization.per_tensor(scale, zero_point)


def _dequantize_cases() -> Iterable[OpCase]:
    x = cases.int8_input("x", (2, 50), 0.037, 19)
    yield cases.case("int8", _dequantize_infer, (x,), tolerance=1e-6)
    x = cases.int8_weights("x", (3, 2, 4), 0)
    yield cases.case("int8_channels", _dequantize_infer, (x,), tolerance=1e-6)


def _cast_cases() -> Iterable[OpCase]:
    x = cases.float_input("x", (2, 9), -90, 90)
    yield cases.case("float_to_int32", _cast_infer, (x,), {"dtype": "int32"})
    ids = cases.integer_input("x", (2, 9), DType.INT64, -50, 50)
    yield cases.case("int64_to_float", _cast_infer, (ids,), {"dtype": "float32"})


SPECS = (
    OpSpec("quantize", _quantize_infer, _quantize, _macs, cases=_quantize_cases),
    OpSpec("dequantize", _dequantize_infer, _dequantize, _macs, cases=_dequantize_cases),
    OpSpec("cast", _cast_infer, _cast, cases=_cast_cases),
)
