"""``outlier_test``: whether too many elements lie outside an interval.

Input: x. Attributes: ``low`` and ``high``, the least and the greatest stored value that is inside;
``most``, how many elements may be outside. The output is a flag for a guarded ``paste``: uint8, one
element, 1 if more are, else 0.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.ops import cases
from edgekit.ops.checks import SMALL, require_dtype
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, TensorType


def _infer(view: OpView) -> list[TensorType]:
    require_dtype(view, 0, SMALL)
    for name in ("low", "high", "most"):
        view.int_attr(name)
    return [TensorType((1,), DType.UINT8)]


def _reference(call: OpCall) -> list[Array]:
    view = call.view
    outside = _outside(call.array(0), view.int_attr("low"), view.int_attr("high"))
    return [np.array([outside > view.int_attr("most")], np.uint8)]


def _outside(x: Array, low: int, high: int) -> int:
    """Return how many elements are outside."""
    stored = x.astype(np.int64)
    return int(np.count_nonzero((stored < low) | (stored > high)))


def _macs(view: OpView) -> int:
    return view.input(0).elements


def _cases() -> Iterable[OpCase]:
    for dtype, bounds in zip(SMALL, ((-100, 90), (-7, 6), (-1, 0)), strict=True):
        for channels in (8, 5):
            x = cases.stored_input("x", (1, 4, 3, channels), dtype, 0.1)
            outside = _outside(x[1], *bounds)
            for most in (0, outside - 1, outside):
                attrs = {"low": bounds[0], "high": bounds[1], "most": most}
                yield cases.case(f"{dtype.value}_{channels}_most_{most}", _infer, (x,), attrs)


SPECS = (OpSpec("outlier_test", _infer, _reference, macs=_macs, cases=_cases),)
