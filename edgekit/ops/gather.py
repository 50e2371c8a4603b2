"""``gather``: entries of a table, picked by indices along an axis.

Inputs: table, indices (int32 or int64). Attribute: ``axis`` (default 0). A negative index counts
from the end. The output has the table's scale.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import ExecutionError
from edgekit.ops import cases
from edgekit.ops.broadcast import normalized_axis
from edgekit.ops.checks import require_dtype
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType


def _axis(view: OpView) -> int:
    rank = len(view.input(0).shape)
    return normalized_axis(view.int_attr("axis", 0), rank, where=view.node.where)


def _infer(view: OpView) -> list[TensorType]:
    require_dtype(view, 1, (DType.INT32, DType.INT64))
    table, indices, axis = view.input(0), view.input(1), _axis(view)
    shape = (*table.shape[:axis], *indices.shape, *table.shape[axis + 1 :])
    return [TensorType(shape, table.dtype)]


def _reference(call: OpCall) -> list[Array]:
    table, axis = call.array(0), _axis(call.view)
    indices = call.array(1).astype(np.int64)
    size = table.shape[axis]
    if indices.size and (indices.min() < -size or indices.max() >= size):
        raise ExecutionError(
            f"index {indices.max() if indices.max() >= size else indices.min()} of a table of "
            f"{size} entries",
            step=call.view.node.where,
        )
    return [np.take(table, indices, axis=axis)]


def _cases() -> Iterable[OpCase]:
    for name, shape, ids, axis in (
        ("rows", (9, 4), (2, 3), 0),
        ("columns", (3, 6), (5,), 1),
        ("scalar", (4, 5), (), 0),
    ):
        indices = cases.integer_input("ids", ids, DType.INT32, -shape[axis], shape[axis])
        table = cases.float_input("table", shape, const=True)
        yield cases.case(f"float_{name}", _infer, (table, indices), {"axis": axis})
        table = cases.int8_input("table", shape, 0.1, 3, const=True)
        yield cases.case(
            f"int8_{name}", _infer, (table, indices), {"axis": axis}, scale=0.1, zero_point=3
        )


SPECS = (
    OpSpec(
        name="gather",
        infer=_infer,
        reference=_reference,
        quantization=QuantRule.SAME_SCALE,
        cases=_cases,
    ),
)
