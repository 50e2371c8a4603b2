"""``paste``: an image put into a part of a larger one.

Inputs: image (N, h, w, C), optional canvas (N, H, W, C), optional flag (uint8, one element).
Attributes: ``size`` (H, W), ``at`` (top, left), with a flag ``when``. The output is the canvas with
the image in its place; without a canvas, zeros around it. It may overwrite the canvas, so that
images pasted one after the other need one canvas in all. Where a flag is not ``when``, the output
is the canvas as it was: who runs the graph need not compute an image that is not pasted.

Any element type; no value is changed, all have one scale. Always NHWC.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Attr
from edgekit.ops import cases, int8
from edgekit.ops.checks import SMALL
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType
from edgekit.ops.windows import pair_attr


def _infer(view: OpView) -> list[TensorType]:
    image, canvas = view.input(0), view.optional_input(1)
    if len(image.shape) != 4:
        raise ModelError(f"layer {view.node.where}: paste needs 4 axes, not {len(image.shape)}")
    batch, height, width, channels = image.static_shape
    size, at = pair_attr(view, "size"), pair_attr(view, "at")
    if min(at) < 0 or at[0] + height > size[0] or at[1] + width > size[1]:
        raise ModelError(f"layer {view.node.where}: {height} x {width} at {at} leave {size}")
    kind = TensorType((batch, *size, channels), image.dtype)
    if canvas is not None and (canvas.shape, canvas.dtype) != (kind.shape, kind.dtype):
        raise ModelError(f"layer {view.node.where}: the canvas is {list(canvas.shape)}")
    flag = view.optional_input(2)
    if flag is not None and (canvas is None or (flag.shape, flag.dtype) != ((1,), DType.UINT8)):
        raise ModelError(f"layer {view.node.where}: a flag is uint8[1], and goes with a canvas")
    return [kind]


def _reference(call: OpCall) -> list[Array]:
    image, canvas, flag = call.array(0), call.optional_array(1), call.optional_array(2)
    if flag is not None and flag[0] != call.view.int_attr("when"):
        return [call.array(1).copy()]
    (height, width), (top, left) = (pair_attr(call.view, name) for name in ("size", "at"))
    shape = (image.shape[0], height, width, image.shape[3])
    result = canvas.copy() if canvas is not None else np.full(shape, _zero(call.view), image.dtype)
    result[:, top : top + image.shape[1], left : left + image.shape[2]] = image
    return [result]


def _zero(view: OpView) -> int:
    """Return the stored zero."""
    tensor = view.outputs[0]
    return int8.zero_point_of(tensor) if tensor.dtype in SMALL else 0


def _cases() -> Iterable[OpCase]:
    attrs: dict[str, Attr] = {"size": (5, 4), "at": (2, 1)}
    for images in (1, 2):
        small, large = (images, 2, 3, 5), (images, 5, 4, 5)
        floats = cases.float_input("image", small), cases.float_input("canvas", large)
        yield cases.case(f"float_{images}", _infer, floats, attrs)
        yield cases.case(f"float_first_{images}", _infer, floats[:1], attrs)
        stored = cases.int8_input("image", small, 0.1, 3), cases.int8_input("canvas", large, 0.1, 3)
        yield cases.case(f"int8_{images}", _infer, stored, attrs, scale=0.1, zero_point=3)
        yield cases.case(f"int8_first_{images}", _infer, stored[:1], attrs, scale=0.1, zero_point=3)
        for when in (0, 1):
            given = {**attrs, "when": when}
            guarded = (*floats, cases.integer_input("flag", (1,), DType.UINT8, 1, 2))
            yield cases.case(f"float_{images}_when_{when}", _infer, guarded, given)
        for dtype in SMALL:
            yield from _stored_cases(dtype, small, large, attrs)


def _stored_cases(
    dtype: DType, small: tuple[int, ...], large: tuple[int, ...], attrs: dict[str, Attr]
) -> Iterable[OpCase]:
    """Yield pastes with a canvas, with none, and with flags that are 1."""
    image = cases.stored_input("image", small, dtype, 0.1, 1)
    canvas = cases.stored_input("canvas", large, dtype, 0.1, 1)
    flag = cases.integer_input("flag", (1,), DType.UINT8, 1, 2)
    name = f"{dtype.value}_{small[0]}_images"
    for what, inputs, when in (
        ("first", (image,), {}),
        ("next", (image, canvas), {}),
        ("when_0", (image, canvas, flag), {"when": 0}),
        ("when_1", (image, canvas, flag), {"when": 1}),
    ):
        given = {**attrs, **when}
        yield cases.case(f"{name}_{what}", _infer, inputs, given, scale=0.1, zero_point=1)


SPECS = (
    OpSpec(
        name="paste",
        infer=_infer,
        reference=_reference,
        quantization=QuantRule.JOINED,
        in_place=((1, 0),),
        cases=_cases,
    ),
)
