"""``blank``: an image of zeros, on which others are pasted.

No inputs. Attribute: ``shape`` (N, H, W, C). Every element is the stored zero of the output, whose
type is that which it is declared as: int8 unless it is int4 or int2.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.ops import cases, int8
from edgekit.ops.checks import SMALL, declared_dtype
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType


def _infer(view: OpView) -> list[TensorType]:
    shape = view.ints_attr("shape")
    if len(shape) != 4 or min(shape) < 1:
        raise ModelError(f"layer {view.node.where}: {list(shape)} is no shape of images")
    return [TensorType(shape, declared_dtype(view, DType.INT8))]


def _reference(call: OpCall) -> list[Array]:
    output = call.view.outputs[0]
    zero = int8.zero_point_of(output)
    return [np.full(call.view.ints_attr("shape"), zero, output.dtype.numpy)]


def _cases() -> Iterable[OpCase]:
    for dtype in SMALL:
        for shape in ((1, 3, 4, 5), (2, 2, 3, 8)):
            name = f"{dtype.value}_{'x'.join(map(str, shape))}"
            attrs = {"shape": shape}
            yield cases.case(name, _infer, (), attrs, scale=0.1, zero_point=-2, dtype=dtype)


SPECS = (OpSpec("blank", _infer, _reference, quantization=QuantRule.REQUANTIZED, cases=_cases),)
