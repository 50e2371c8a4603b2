"""``concat``: the inputs one after the other along an axis.

Inputs: x... Attributes: ``axis``, ``activation``. Any element type.

Int8: inputs with the output's scale are copied, others are rescaled to it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import ModelError
from edgekit.graph import Attr, Tensor
from edgekit.ops import cases, int8
from edgekit.ops.broadcast import clamp, normalized_axis
from edgekit.ops.checks import PACKED
from edgekit.ops.quantization import requantized
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType


def _infer(view: OpView) -> list[TensorType]:
    first = view.input(0)
    axis = normalized_axis(view.int_attr("axis"), len(first.shape), where=view.node.where)
    total = 0
    for index in range(len(view.inputs)):
        tensor = view.input(index)
        dim = tensor.shape[axis] if len(tensor.shape) == len(first.shape) else "?"
        others = tensor.shape[:axis] + tensor.shape[axis + 1 :]
        expected = first.shape[:axis] + first.shape[axis + 1 :]
        if isinstance(dim, str) or others != expected or tensor.dtype != first.dtype:
            raise ModelError(
                f"layer {view.node.where}: {list(tensor.shape)} {tensor.dtype.value} does not join "
                f"{list(first.shape)} {first.dtype.value} along axis {axis}"
            )
        total += dim
    return [TensorType((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)]


def _reference(call: OpCall) -> list[Array]:
    view, output = call.view, call.view.outputs[0]
    arrays = [
        _on_output_scale(call.array(index), view.input(index), output)
        for index in range(len(call.arrays))
    ]
    joined = np.concatenate(arrays, axis=view.int_attr("axis"))
    activation = view.str_attr("activation", "none")
    if joined.dtype == np.int8 and activation != "none":
        low, high = int8.activation_range(activation, output)
        return [np.clip(joined, np.int8(low), np.int8(high))]
    return [clamp(joined, activation)]


def _on_output_scale(array: Array, tensor: Tensor, output: Tensor) -> Array:
    quantization = tensor.quantization
    if array.dtype != np.int8 or quantization is None or output.quantization is None:
        return array
    return (
        array if quantization.same_as(output.quantization) else requantized(array, tensor, output)
    )


def _cases() -> Iterable[OpCase]:
    for name, axis, shapes in (
        ("channels", -1, ((1, 3, 4, 2), (1, 3, 4, 5))),
        ("first", 0, ((2, 3), (1, 3), (4, 3))),
    ):
        attrs: dict[str, Attr] = {"axis": axis}
        floats = [cases.float_input(f"x{place}", shape) for place, shape in enumerate(shapes)]
        yield cases.case(f"float_{name}", _infer, floats, attrs)
        same = [cases.int8_input(f"x{place}", shape, 0.1, 3) for place, shape in enumerate(shapes)]
        yield cases.case(f"int8_{name}", _infer, same, attrs, scale=0.1, zero_point=3)
        for dtype in PACKED:
            parts = [
                cases.stored_input(f"x{place}", (*shape[:-1], 4 * shape[-1]), dtype, 0.4, 1)
                for place, shape in enumerate(shapes)
            ]
            case_id = f"{dtype.value}_{name}"
            yield cases.case(case_id, _infer, parts, attrs, scale=0.4, zero_point=1)
        mixed = [
            cases.int8_input(f"x{place}", shape, 0.1 + 0.05 * place, 3 * place)
            for place, shape in enumerate(shapes)
        ]
        yield cases.case(f"int8_mixed_{name}", _infer, mixed, attrs, scale=0.15, zero_point=-4)


SPECS = (
    OpSpec(
        name="concat",
        infer=_infer,
        reference=_reference,
        quantization=QuantRule.JOINED,
        cases=_cases,
    ),
)
