"""``clip``: elements limited to ``min`` .. ``max`` (numbers; either may be infinite)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Tensor, TensorKind
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, TensorType


def _infer(view: OpView) -> list[TensorType]:
    x = view.input(0)
    # A NaN bound, or bounds the wrong way round, would silently make everything one value.
    low, high = view.float_attr("min"), view.float_attr("max")
    if not low <= high:
        raise ModelError(f"layer {view.node.where}: cannot clip to {low} .. {high}")
    return [TensorType(x.shape, x.dtype)]


def _reference(call: OpCall) -> list[Array]:
    x = call.array(0)
    low, high = call.view.float_attr("min"), call.view.float_attr("max")
    if x.dtype.kind in "iu":
        limits = np.iinfo(str(x.dtype))
        low, high = max(low, float(limits.min)), min(high, float(limits.max))
        return [np.clip(x, int(low), int(high)).astype(x.dtype)]
    return [np.clip(x, x.dtype.type(low), x.dtype.type(high))]


def _cases() -> Iterable[OpCase]:
    array = np.linspace(-8, 8, 33, dtype=np.float32)
    x = Tensor("x", array.shape, DType.FLOAT32, TensorKind.INPUT)
    for name, low, high in (("both", -1.5, 3.0), ("upper", float("-inf"), 2.0)):
        attrs = {"min": low, "max": high}
        yield OpCase(name, ((x, array),), (Tensor("y", x.shape, x.dtype),), attrs)


SPECS = (OpSpec("clip", _infer, _reference, in_place=((0, 0),), cases=_cases),)
