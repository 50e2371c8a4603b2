"""``fully_connected``: a dense layer, ``x @ weights.T + bias``.

Inputs: x, weights (C_out, C_in), optional bias (C_out,). Attributes: ``activation``; ``keep_dims``
keeps the leading axes of x, otherwise x is read as (elements / C_in, C_in).

Int8: weights per tensor (a zero point is honoured) or symmetric per channel; bias int32. Weights
may be int4 or int2 as well.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Attr, Shape
from edgekit.ops import cases, int8
from edgekit.ops.broadcast import clamp
from edgekit.ops.checks import FLOATS, SMALL, require_dtype, require_quantized_pair
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType


def _infer(view: OpView) -> list[TensorType]:
    dtype = require_dtype(view, 0, (*FLOATS, DType.INT8))
    require_quantized_pair(view, SMALL)
    x, weights = view.input(0), view.input(1).static_shape
    if len(weights) != 2 or 0 in weights or not x.shape:
        raise ModelError(f"layer {view.node.where}: weights {list(weights)}, x {list(x.shape)}")
    bias = view.optional_input(2)
    if bias is not None and bias.static_shape != (weights[0],):
        raise ModelError(f"layer {view.node.where}: bias {list(bias.shape)} for {weights[0]}")
    return [TensorType((*_leading(view, weights[1]), weights[0]), dtype)]


def _leading(view: OpView, depth: int) -> Shape:
    """Return the axes of the output before its channels."""
    x = view.input(0)
    if view.bool_attr("keep_dims", False) or len(x.shape) == 2:
        if x.shape[-1] != depth:
            raise ModelError(f"layer {view.node.where}: x {list(x.shape)} has no rows of {depth}")
        return x.shape[:-1]
    if x.elements % depth:
        raise ModelError(f"layer {view.node.where}: x {list(x.shape)} has no rows of {depth}")
    return (x.elements // depth,)


def _macs(view: OpView) -> int:
    return view.outputs[0].elements * view.input(1).static_shape[1]


def _reference(call: OpCall) -> list[Array]:
    weights = call.array(1)
    rows = call.array(0).reshape(-1, weights.shape[1])
    flat = _int8(call, rows) if rows.dtype == np.int8 else _float(call, rows)
    leading = _leading(call.view, weights.shape[1])
    return [flat.reshape(*(int(dim) for dim in leading), weights.shape[0])]


def _float(call: OpCall, rows: Array) -> Array:
    acc = rows.astype(np.float32) @ call.array(1).astype(np.float32).T
    bias = call.optional_array(2)
    if bias is not None:
        acc = acc + bias.astype(np.float32)
    return clamp(acc, call.view.str_attr("activation", "none")).astype(call.array(0).dtype)


def _int8(call: OpCall, rows: Array) -> Array:
    view = call.view
    output, weights = view.outputs[0], view.input(1)
    per_channel = int8.quantization_of(weights).axis is not None
    matrix: npt.NDArray[np.int32] = (
        call.array(1).astype(np.int32) if per_channel else int8.centred(call.array(1), weights)
    )
    acc = int8.exact_matmul(int8.centred(rows, view.input(0)), matrix.T)
    bias = call.optional_array(2)
    if bias is not None:
        acc = acc + bias.astype(np.int32)
    factors = (
        int8.channel_multipliers(view.input(0), weights, output)
        if per_channel
        else single_multiplier(view)
    )
    return int8.store(acc, factors, output, view.str_attr("activation", "none"))


def single_multiplier(view: OpView) -> int8.Multipliers:
    """Return the factor of a layer with one weight scale.

    TensorFlow Lite multiplies the two input scales in float32 here, unlike for convolutions.
    """
    product = int8.scale_of(view.input(0)) * int8.scale_of(view.input(1))
    return int8.quantize_multipliers(float(product) / float(int8.scale_of(view.outputs[0])))


def _cases() -> Iterable[OpCase]:
    shapes: tuple[tuple[str, tuple[int, ...], tuple[int, int], dict[str, Attr]], ...] = (
        ("row", (1, 10), (4, 10), {}),
        ("batch_relu", (3, 7), (5, 7), {"activation": "relu"}),
        ("flattened", (2, 3, 4), (6, 12), {"activation": "relu6"}),
        ("kept_axes", (2, 3, 5), (4, 5), {"keep_dims": True}),
        ("wide", (1, 1300), (3, 1300), {}),
    )
    for name, x_shape, w_shape, attrs in shapes:
        bias = None if name == "wide" else cases.float_input("bias", w_shape[:1], const=True)
        x, weights = cases.float_input("x", x_shape), cases.float_input("w", w_shape, const=True)
        yield cases.case(f"float_{name}", _infer, (x, weights, bias), attrs, tolerance=2e-3)
        x, int_bias = cases.int8_input("x", x_shape, 0.05, 5), cases.int32_bias("bias", w_shape[0])
        for kind, weights in (
            ("tensor", cases.int8_input("w", w_shape, 0.02, const=True)),
            ("offset", cases.int8_input("w", w_shape, 0.02, 3, const=True)),
            ("channel", cases.int8_weights("w", w_shape, 0)),
            ("int4", cases.int8_weights("w", w_shape, 0, 0.3, DType.INT4)),
            ("int2", cases.int8_weights("w", w_shape, 0, 1.2, DType.INT2)),
        ):
            yield cases.case(
                f"int8_{kind}_{name}",
                _infer,
                (x, weights, int_bias),
                attrs,
                scale=0.3,
                zero_point=-20,
            )


SPECS = (
    OpSpec(
        name="fully_connected",
        infer=_infer,
        reference=_reference,
        macs=_macs,
        quantization=QuantRule.WEIGHTED,
        channel_axis=0,
        cases=_cases,
    ),
)
