"""``arg_max`` and ``arg_min``: the place of the largest or smallest element along an axis.

Input: x. Attributes: ``axis``, ``keep_dims``, ``output_dtype`` (``int64`` by default). The first
place wins among equals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.graph import Attr
from edgekit.ops import cases
from edgekit.ops.broadcast import normalized_axis
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType


def _infer(view: OpView) -> list[TensorType]:
    shape = view.input(0).shape
    axis = normalized_axis(view.int_attr("axis"), len(shape), where=view.node.where)
    middle = (1,) if view.bool_attr("keep_dims", False) else ()
    dtype = DType(view.str_attr("output_dtype", "int64"))
    return [TensorType((*shape[:axis], *middle, *shape[axis + 1 :]), dtype)]


def _reference(call: OpCall, place: Callable[..., Array]) -> list[Array]:
    axis = call.view.int_attr("axis")
    found = np.asarray(place(call.array(0), axis=axis))
    if call.view.bool_attr("keep_dims", False):
        found = np.expand_dims(found, axis)
    return [found.astype(call.view.outputs[0].dtype.numpy)]


def _macs(view: OpView) -> int:
    return view.input(0).elements


def _cases() -> Iterable[OpCase]:
    for shape, axis, keep in (((1, 12), -1, False), ((3, 4, 5), 1, True)):
        attrs: dict[str, Attr] = {"axis": axis, "keep_dims": keep, "output_dtype": "int32"}
        yield cases.case(f"float_axis{axis}", _infer, (cases.float_input("x", shape),), attrs)
        yield cases.case(f"int8_axis{axis}", _infer, (cases.int8_input("x", shape),), attrs)


SPECS = tuple(
    OpSpec(
        name=name,
        infer=_infer,
        reference=partial(_reference, place=place),
        macs=_macs,
        quantization=QuantRule.FLOAT_ONLY,
        cases=_cases,
    )
    for name, place in (("arg_max", np.argmax), ("arg_min", np.argmin))
)
