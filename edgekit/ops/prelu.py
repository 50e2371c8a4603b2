"""``prelu``: x where positive, slope * x elsewhere; the slope broadcasts to x by NumPy's rules.

Source: ONNX operator reference, PRelu-16.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Tensor, TensorKind
from edgekit.ops.broadcast import broadcast_shapes
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, TensorType


def _infer(view: OpView) -> list[TensorType]:
    x, slope = view.input(0), view.input(1)
    if broadcast_shapes(x.shape, slope.shape, where=view.node.where) != x.shape:
        raise ModelError(
            f"layer {view.node.where}: slope {list(slope.shape)} does not fit {list(x.shape)}"
        )
    return [TensorType(x.shape, x.dtype)]


def _reference(call: OpCall) -> list[Array]:
    x, slope = call.array(0).astype(np.float32), call.array(1).astype(np.float32)
    return [np.where(x < 0, x * slope, x)]


def _cases() -> Iterable[OpCase]:
    rng = np.random.default_rng(3)
    for name, x_shape, slope_shape in (
        ("channels_first", (1, 3, 4, 5), (3, 1, 1)),
        ("channels_last", (1, 4, 5, 3), (3,)),
        ("one_slope", (2, 6), (1,)),
    ):
        x = rng.standard_normal(x_shape).astype(np.float32)
        slope = rng.random(slope_shape).astype(np.float32)
        declared = Tensor("x", x.shape, DType.FLOAT32, TensorKind.INPUT)
        inputs = ((declared, x), (Tensor.constant("slope", slope), slope))
        yield OpCase(name, inputs, (Tensor("y", x.shape, inputs[0][0].dtype),), {}, 1e-6)


SPECS = (OpSpec("prelu", _infer, _reference, in_place=((0, 0),), cases=_cases),)
