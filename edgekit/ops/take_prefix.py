"""``take_prefix``: as many entries of a table as another tensor is long.

Inputs ``table`` and ``like``; attributes ``axis`` (of the table) and ``like_axis``. The result is
the first ``like.shape[like_axis]`` entries of ``table`` along ``axis``: position embeddings for a
sequence whose length varies. Of ``like`` only the shape is used.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Tensor, TensorKind
from edgekit.ops.broadcast import normalized_axis
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, TensorType


def _axes(view: OpView) -> tuple[int, int]:
    table, like = view.input(0), view.input(1)
    where = view.node.where
    return (
        normalized_axis(view.int_attr("axis"), len(table.shape), where=where),
        normalized_axis(view.int_attr("like_axis"), len(like.shape), where=where),
    )


def _infer(view: OpView) -> list[TensorType]:
    table = view.input(0)
    axis, like_axis = _axes(view)
    length, available = view.input(1).shape[like_axis], table.shape[axis]
    if isinstance(length, int) and isinstance(available, int) and length > available:
        raise ModelError(
            f"layer {view.node.where}: {table.name} has {available} entries, {length} are needed"
        )
    return [TensorType((*table.shape[:axis], length, *table.shape[axis + 1 :]), table.dtype)]


def _reference(call: OpCall) -> list[Array]:
    axis, like_axis = _axes(call.view)
    length = call.array(1).shape[like_axis]
    return [np.take(call.array(0), np.arange(length), axis=axis)]


def _cases() -> Iterable[OpCase]:
    table = np.arange(24, dtype=np.float32).reshape(1, 8, 3)
    like = np.zeros((2, 5), np.float32)
    given = Tensor("like", like.shape, DType.FLOAT32, TensorKind.INPUT)
    inputs = ((Tensor.constant("table", table), table), (given, like))
    output = Tensor("y", (1, 5, 3), inputs[0][0].dtype)
    yield OpCase("positions", inputs, (output,), {"axis": 1, "like_axis": 1})


SPECS = (OpSpec("take_prefix", _infer, _reference, cases=_cases),)
