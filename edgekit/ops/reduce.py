"""Reductions along axes.

Operators: ``reduce_mean``, ``reduce_sum``, ``reduce_max``, ``reduce_min``, ``reduce_l2``.

Input: x. Attributes: ``axes`` (no axis means nothing is reduced), ``keep_dims``. Sum, maximum and
minimum also take integers without scale.

Int8: mean and sum rescale to the output; maximum and minimum keep the input's scale. The mean also
takes int4 and int2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.graph import Attr
from edgekit.ops import cases, int8
from edgekit.ops.broadcast import normalized_axis
from edgekit.ops.checks import FLOATS, PACKED, declared_dtype, require_dtype
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType

_PLAIN_INTEGERS = (DType.INT32, DType.INT64)


def _axes(view: OpView) -> tuple[int, ...]:
    rank = len(view.input(0).shape)
    axes = view.ints_attr("axes")
    return tuple(sorted({normalized_axis(axis, rank, where=view.node.where) for axis in axes}))


def _infer(view: OpView, allowed: tuple[DType, ...]) -> list[TensorType]:
    dtype = declared_dtype(view, require_dtype(view, 0, allowed))
    axes, keep = _axes(view), view.bool_attr("keep_dims", False)
    dims = enumerate(view.input(0).shape)
    shape = tuple(1 if axis in axes else dim for axis, dim in dims if keep or axis not in axes)
    return [TensorType(shape, dtype)]


def _reduced(
    call: OpCall,
    compute: Callable[..., Array],
    quantized: Callable[[OpView, Array], Array] | None,
) -> list[Array]:
    view, x = call.view, call.array(0)
    axes, keep = _axes(view), view.bool_attr("keep_dims", False)
    if x.dtype == np.int8 and quantized is not None:
        total = np.asarray(x.astype(np.int64).sum(axis=axes, keepdims=keep))
        return [quantized(view, total)]
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    return [np.asarray(compute(wide, axis=axes, keepdims=keep)).astype(x.dtype)]


def _l2(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    return np.asarray(np.sqrt(np.sum(np.square(x), axis=axis, keepdims=keepdims)))


def _count(view: OpView) -> int:
    return math.prod(view.input(0).static_shape[axis] for axis in _axes(view))


def _rescaled_total(view: OpView, total: Array, *, divide: bool) -> Array:
    """Rescale a sum of stored values; the division of a mean is part of the factor.

    The factor's fixed-point multiplier is divided by the number of elements as an integer, with as
    many bits shifted in before as the number has.
    """
    scales = float(int8.scale_of(view.input(0))), float(int8.scale_of(view.outputs[0]))
    multiplier, shift = int8.quantize_multiplier(scales[0] / scales[1])
    count = _count(view)
    if divide:
        extra = min(count.bit_length() - 1, 32, 31 + shift)
        multiplier = (multiplier << extra) // count
        shift -= extra
    factor = int8.Multipliers(np.array(multiplier, np.int64), np.array(shift, np.int64))
    centred = total.astype(np.int64) - int8.zero_point_of(view.input(0)) * count
    output = view.outputs[0]
    return int8.saturate(int8.multiply(centred, factor) + int8.zero_point_of(output), output.dtype)


def _macs(view: OpView) -> int:
    return view.input(0).elements


def _cases(
    infer: Callable[[OpView], list[TensorType]],
    *,
    quantized: bool,
    same_scale: bool,
    packed: tuple[DType, ...],
) -> Iterable[OpCase]:
    for shape, axes, keep in (
        ((1, 5, 7, 3), (1, 2), True),
        ((2, 4, 4, 6), (1, 2), False),
        ((3, 8), (-1,), True),
        ((2, 3, 5), (0, 2), False),
    ):
        attrs: dict[str, Attr] = {"axes": axes, "keep_dims": keep}
        name = "x".join(map(str, shape)) + ("_keep" if keep else "")
        x = cases.float_input("x", shape)
        yield cases.case(f"float_{name}", infer, (x,), attrs, tolerance=1e-4)
        if not quantized:
            continue
        x = cases.int8_input("x", shape, 0.05, -7)
        for scale, point in ((0.05, -7),) if same_scale else ((0.05, -7), (0.02, 13)):
            case_id = f"int8_{name}_scale{scale}"
            yield cases.case(case_id, infer, (x,), attrs, scale=scale, zero_point=point)
        for dtype in packed:
            x = cases.stored_input("x", shape, dtype, 0.5, -1)
            for to in (DType.INT8, dtype):
                scale = 0.05 if to is DType.INT8 else 0.4
                case_id = f"{dtype.value}_{to.value}_{name}"
                yield cases.case(case_id, infer, (x,), attrs, scale=scale, zero_point=1, dtype=to)


def _spec(
    name: str,
    compute: Callable[..., Array],
    rule: QuantRule,
    quantized: Callable[[OpView, Array], Array] | None = None,
    integers: tuple[DType, ...] = _PLAIN_INTEGERS,
) -> OpSpec:
    has_int8 = rule is not QuantRule.FLOAT_ONLY
    packed = PACKED if name == "reduce_mean" else ()
    stored = (DType.INT8, *packed) if has_int8 else ()
    infer = partial(_infer, allowed=(*FLOATS, *integers, *stored))
    same_scale = rule is QuantRule.SAME_SCALE
    return OpSpec(
        name=name,
        infer=infer,
        reference=partial(_reduced, compute=compute, quantized=quantized),
        macs=_macs,
        quantization=rule,
        cases=partial(_cases, infer, quantized=has_int8, same_scale=same_scale, packed=packed),
    )


SPECS = (
    _spec(
        "reduce_mean",
        np.mean,
        QuantRule.REQUANTIZED,
        partial(_rescaled_total, divide=True),
        integers=(),
    ),
    _spec("reduce_sum", np.sum, QuantRule.REQUANTIZED, partial(_rescaled_total, divide=False)),
    _spec("reduce_max", np.max, QuantRule.SAME_SCALE),
    _spec("reduce_min", np.min, QuantRule.SAME_SCALE),
    _spec("reduce_l2", _l2, QuantRule.FLOAT_ONLY, integers=()),
)
