"""Operators that move elements without computing with them.

- ``identity``: x.
- ``transpose``: x; ``perm``.
- ``unpack``: x; ``axis``: one output for each entry of the axis, without it.
- ``pack``: x...; ``axis``: the inputs stacked along a new axis.
- ``split``: x; ``axis``, ``sizes``.
- ``slice``: x; ``begin``, ``end``, ``strides``, one entry an axis, as Python's ``x[b:e:s]``.
- ``tile``: x; ``repeats``, one entry an axis.
- ``expand``: x; ``shape``, to which x is broadcast.

Any element type; the output has the input's scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import ModelError
from edgekit.graph import Attr, Dim
from edgekit.ops import cases
from edgekit.ops.broadcast import broadcast_shapes, normalized_axis
from edgekit.ops.checks import PACKED
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, QuantRule, TensorType


def _axis(view: OpView, rank: int) -> int:
    return normalized_axis(view.int_attr("axis"), rank, where=view.node.where)


def _one_each(view: OpView, name: str) -> tuple[int, ...]:
    """Return an attribute with one entry for each axis of x."""
    values = view.ints_attr(name)
    if len(values) != len(view.input(0).shape):
        raise ModelError(
            f"layer {view.node.where}: {name} {list(values)} for {list(view.input(0).shape)}"
        )
    return values


def _identity_infer(view: OpView) -> list[TensorType]:
    return [TensorType(view.input(0).shape, view.input(0).dtype)]


def _identity(call: OpCall) -> list[Array]:
    return [call.array(0).copy()]


def _transpose_infer(view: OpView) -> list[TensorType]:
    x, perm = view.input(0), _one_each(view, "perm")
    if sorted(perm) != list(range(len(perm))):
        raise ModelError(f"layer {view.node.where}: perm {list(perm)} is no permutation")
    return [TensorType(tuple(x.shape[axis] for axis in perm), x.dtype)]


def _transpose(call: OpCall) -> list[Array]:
    return [np.ascontiguousarray(call.array(0).transpose(call.view.ints_attr("perm")))]


def _pack_infer(view: OpView) -> list[TensorType]:
    first = view.input(0)
    for index in range(len(view.inputs)):
        if view.input(index).shape != first.shape or view.input(index).dtype != first.dtype:
            raise ModelError(f"layer {view.node.where}: packs tensors of different shapes")
    axis = _axis(view, len(first.shape) + 1)
    return [TensorType((*first.shape[:axis], len(view.inputs), *first.shape[axis:]), first.dtype)]


def _pack(call: OpCall) -> list[Array]:
    arrays = [call.array(index) for index in range(len(call.arrays))]
    target = call.view.outputs[0].quantization
    for index in range(len(arrays)):
        given = call.view.input(index).quantization
        if given is not None and not given.same_as(target):
            raise ModelError(f"layer {call.view.node.where}: pack needs one scale for all")
    return [np.stack(arrays, axis=call.view.int_attr("axis"))]


def _unpack_infer(view: OpView) -> list[TensorType]:
    x = view.input(0)
    axis = _axis(view, len(x.shape))
    count = x.shape[axis]
    if isinstance(count, str):
        raise ModelError(f"layer {view.node.where}: unpacks axis '{count}' of unknown size")
    return [TensorType((*x.shape[:axis], *x.shape[axis + 1 :]), x.dtype)] * count


def _unpack(call: OpCall) -> list[Array]:
    moved = np.moveaxis(call.array(0), call.view.int_attr("axis"), 0)
    return [np.ascontiguousarray(part) for part in moved]


def _split_infer(view: OpView) -> list[TensorType]:
    x, sizes = view.input(0), view.ints_attr("sizes")
    axis = _axis(view, len(x.shape))
    if not sizes or min(sizes) < 1 or sum(sizes) != x.shape[axis]:
        raise ModelError(
            f"layer {view.node.where}: pieces {list(sizes)} of an axis of {x.shape[axis]}"
        )
    return [TensorType((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype) for size in sizes]


def _split(call: OpCall) -> list[Array]:
    borders = np.cumsum(call.view.ints_attr("sizes"))[:-1]
    parts = np.split(call.array(0), borders, axis=call.view.int_attr("axis"))
    return [np.ascontiguousarray(part) for part in parts]


def _slices(view: OpView) -> list[slice]:
    begin, end, strides = (_one_each(view, name) for name in ("begin", "end", "strides"))
    if 0 in strides:
        raise ModelError(f"layer {view.node.where}: slices with stride 0")
    return [slice(*bounds) for bounds in zip(begin, end, strides, strict=True)]


def _slice_infer(view: OpView) -> list[TensorType]:
    x = view.input(0)
    dims: list[Dim] = []
    for dim, part in zip(x.shape, _slices(view), strict=True):
        if isinstance(dim, str):
            if (part.start, part.step) != (0, 1) or part.stop < 2**31 - 1:
                raise ModelError(f"layer {view.node.where}: cuts axis '{dim}' of unknown size")
            dims.append(dim)
            continue
        length = len(range(*part.indices(dim)))
        if length < 1:
            raise ModelError(f"layer {view.node.where}: nothing of axis {list(x.shape)} is left")
        dims.append(length)
    return [TensorType(tuple(dims), x.dtype)]


def _slice(call: OpCall) -> list[Array]:
    return [np.ascontiguousarray(call.array(0)[tuple(_slices(call.view))])]


def _tile_infer(view: OpView) -> list[TensorType]:
    x, repeats = view.input(0), _one_each(view, "repeats")
    dims: list[Dim] = []
    for dim, count in zip(x.shape, repeats, strict=True):
        if count < 1 or (isinstance(dim, str) and count != 1):
            raise ModelError(f"layer {view.node.where}: repeats axis {dim} {count} times")
        dims.append(dim if isinstance(dim, str) else dim * count)
    return [TensorType(tuple(dims), x.dtype)]


def _tile(call: OpCall) -> list[Array]:
    return [np.tile(call.array(0), call.view.ints_attr("repeats"))]


def _expand_infer(view: OpView) -> list[TensorType]:
    x, shape = view.input(0), view.ints_attr("shape")
    if broadcast_shapes(x.shape, shape, where=view.node.where) != shape or 0 in shape:
        raise ModelError(f"layer {view.node.where}: {list(x.shape)} does not expand to {shape}")
    return [TensorType(shape, x.dtype)]


def _expand(call: OpCall) -> list[Array]:
    return [np.broadcast_to(call.array(0), call.view.ints_attr("shape")).copy()]


Infer = Callable[[OpView], Sequence[TensorType]]


def _cases(
    infer: Infer, variants: tuple[tuple[tuple[int, ...], dict[str, Attr]], ...], operands: int
) -> Iterable[OpCase]:
    for index, (shape, attrs) in enumerate(variants):
        floats = [cases.float_input(f"x{place}", shape) for place in range(operands)]
        yield cases.case(f"float_{index}", infer, floats, attrs)
        stored = [cases.int8_input(f"x{place}", shape, 0.1, 3) for place in range(operands)]
        yield cases.case(f"int8_{index}", infer, stored, attrs, scale=0.1, zero_point=3)


def _slice_cases(
    variants: tuple[tuple[tuple[int, ...], dict[str, Attr]], ...],
) -> Iterable[OpCase]:
    yield from _cases(_slice_infer, variants, 1)
    for dtype in PACKED:
        for name, begin, end in (
            ("rows", (1, 1, 0), (3, 4, 13)),
            ("channels", (0, 0, 4), (4, 5, 9)),
        ):
            x = cases.stored_input("x", (4, 5, 13), dtype, 0.4, 1)
            attrs: dict[str, Attr] = {"begin": begin, "end": end, "strides": (1, 2, 1)}
            case_id = f"{dtype.value}_{name}"
            yield cases.case(case_id, _slice_infer, (x,), attrs, scale=0.4, zero_point=1)


def _spec(
    name: str,
    infer: Infer,
    reference: Callable[[OpCall], Sequence[Array]],
    *variants: tuple[tuple[int, ...], dict[str, Attr]],
    operands: int = 1,
    in_place: tuple[tuple[int, int], ...] = (),
) -> OpSpec:
    return OpSpec(
        name=name,
        infer=infer,
        reference=reference,
        quantization=QuantRule.SAME_SCALE if operands == 1 else QuantRule.JOINED,
        in_place=in_place,
        cases=partial(_slice_cases, variants)
        if name == "slice"
        else partial(_cases, infer, variants, operands),
    )


SPECS = (
    _spec("identity", _identity_infer, _identity, ((2, 3), {}), in_place=((0, 0),)),
    _spec(
        "transpose",
        _transpose_infer,
        _transpose,
        ((1, 3, 4, 5), {"perm": (0, 2, 3, 1)}),
        ((2, 3, 4), {"perm": (2, 0, 1)}),
    ),
    _spec("pack", _pack_infer, _pack, ((2, 3), {"axis": 1}), ((4,), {"axis": -1}), operands=3),
    _spec("unpack", _unpack_infer, _unpack, ((2, 3, 4), {"axis": 1}), ((3, 2), {"axis": -1})),
    _spec(
        "split",
        _split_infer,
        _split,
        ((2, 7, 3), {"axis": 1, "sizes": (2, 1, 4)}),
        ((2, 6), {"axis": -1, "sizes": (3, 3)}),
    ),
    _spec(
        "slice",
        _slice_infer,
        _slice,
        ((4, 9), {"begin": (1, 2), "end": (3, 100), "strides": (1, 3)}),
        ((5, 4), {"begin": (4, -3), "end": (-6, -1), "strides": (-2, 1)}),
    ),
    _spec("tile", _tile_infer, _tile, ((2, 1, 3), {"repeats": (1, 4, 2)})),
    _spec("expand", _expand_infer, _expand, ((3, 1), {"shape": (2, 3, 4)})),
)
