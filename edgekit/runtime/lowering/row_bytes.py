"""Packed tensors that are moved as they are: rows of the last axis become rows of bytes.

The operators that move elements are lowered for bytes as for int8: only what an attribute says of
the last axis changes, and the stored zero becomes the byte that holds nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgekit.dtypes import DType, to_device_bytes
from edgekit.graph import Attr, Quantization, Tensor
from edgekit.ops import int8
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.call import no_kernel

NEEDS_WHOLE_BYTES = "channels must begin and end with whole bytes"


def in_bytes(view: OpView) -> OpView:
    """Return a node that moves packed tensors as the node that moves their bytes.

    Raises
    ------
    UnsupportedOpError
        If channels would have to move within bytes, or values would change.
    """
    y = view.outputs[0]
    for tensor in view.inputs:
        if tensor is not None and tensor.dtype is y.dtype and not _same_scale(tensor, y):
            raise no_kernel(view, "one scale for all is needed")
    if view.str_attr("activation", "none") != "none":
        raise no_kernel(view, "nothing is clamped")
    zero = _zero(view)
    inputs = tuple(tensor and _as_bytes(tensor, zero) for tensor in view.inputs)
    node = replace(view.node, attrs={**view.node.attrs, **_attrs(view)})
    return OpView(node, inputs, tuple(_as_bytes(tensor, zero) for tensor in view.outputs))


def _same_scale(first: Tensor, second: Tensor) -> bool:
    if first.quantization is None:
        return second.quantization is None
    return first.quantization.same_as(second.quantization)


def _zero(view: OpView) -> int:
    """Return the stored value that fills what is empty."""
    y = view.outputs[0]
    if y.quantization is None:
        return 0
    value = view.float_attr("value", 0.0) if view.node.op == "pad" else 0.0
    return int(int8.stored_from_real(np.array(value, np.float32), y))


def _as_bytes(tensor: Tensor, zero: int) -> Tensor:
    if not tensor.dtype.is_packed:
        return tensor
    shape = tensor.static_shape
    per_byte = 8 // tensor.dtype.bits
    filled = to_device_bytes(np.full(per_byte, zero, np.int8), tensor.dtype).view(np.int8)
    return replace(
        tensor,
        shape=(*shape[:-1], tensor.dtype.size_bytes(shape[-1:])),
        dtype=DType.INT8,
        quantization=Quantization.per_tensor(1.0, int(filled[0])),
        load=None,
    )


def _attrs(view: OpView) -> Mapping[str, Attr]:
    """Return the attributes that speak of the last axis, in bytes."""
    rules = {"slice": _slice, "pad": _pad, "concat": _concat, "reshape": _reshape}
    rule = rules.get(view.node.op)
    return {} if rule is None else rule(view)


def _slice(view: OpView) -> Mapping[str, Attr]:
    x = view.input(0)
    given = {name: view.ints_attr(name) for name in ("begin", "end", "strides")}
    begin, end, step = slice(*(ints[-1] for ints in given.values())).indices(x.static_shape[-1])
    if step != 1 or not _is_whole(begin, x) or not (_is_whole(end, x) or end == x.shape[-1]):
        raise no_kernel(view, NEEDS_WHOLE_BYTES)
    last = (begin * x.dtype.bits // 8, -(-end * x.dtype.bits // 8), 1)
    return {
        name: (*ints[:-1], place) for (name, ints), place in zip(given.items(), last, strict=True)
    }


def _pad(view: OpView) -> Mapping[str, Attr]:
    x, y = view.input(0), view.outputs[0]
    *others, (before, after) = view.pairs_attr("padding")
    if not before and not after:
        return {"value": 0.0}
    has_room = _is_whole(before, x) and (_is_whole(x.static_shape[-1], x) or not after)
    if not has_room or view.str_attr("mode", "constant") != "constant":
        raise no_kernel(view, NEEDS_WHOLE_BYTES)
    row_bytes, all_bytes = (t.dtype.size_bytes(t.static_shape[-1:]) for t in (x, y))
    before_bytes = before * x.dtype.bits // 8
    pairs: tuple[Attr, ...] = (*others, (before_bytes, all_bytes - row_bytes - before_bytes))
    return {"padding": pairs, "value": 0.0}


def _concat(view: OpView) -> Mapping[str, Attr]:
    rank = len(view.outputs[0].shape)
    if view.int_attr("axis") % rank == rank - 1:
        for index in range(len(view.inputs) - 1):
            x = view.input(index)
            if not _is_whole(x.static_shape[-1], x):
                raise no_kernel(view, NEEDS_WHOLE_BYTES)
    return {}


def _reshape(view: OpView) -> Mapping[str, Attr]:
    if view.input(0).size_bytes != view.outputs[0].size_bytes:
        raise no_kernel(view, NEEDS_WHOLE_BYTES)
    return {}


def _is_whole(elements: int, tensor: Tensor) -> bool:
    return elements * tensor.dtype.bits % 8 == 0
