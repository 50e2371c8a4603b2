"""Layers on float32 that slide windows or multiply matrices: nothing is packed or folded."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import DType
from edgekit.graph import Tensor
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.call import (
    AXES,
    Field,
    KernelCall,
    call,
    dense_strides,
    merged_axes,
    no_kernel,
)
from edgekit.runtime.lowering.windows import pool_fields, window_fields

_BOUNDS = {
    "none": (-math.inf, math.inf),
    "relu": (0.0, math.inf),
    "relu6": (0.0, 6.0),
    "relu_n1_1": (-1.0, 1.0),
}


def require_floats(view: OpView) -> None:
    """Refuse a node with an operand that is not float32."""
    tensors = (*filter(None, view.inputs), *view.outputs)
    if any(tensor.dtype is not DType.FLOAT32 for tensor in tensors):
        raise no_kernel(view)


def activation_bounds(view: OpView) -> dict[str, Field]:
    """Return the bounds of the fused activation."""
    activation = view.str_attr("activation", "none")
    if activation not in _BOUNDS:
        raise no_kernel(view, f"the fused activation {activation} has none")
    low, high = _BOUNDS[activation]
    return {"activation_min": low, "activation_max": high}


def constant_or(
    tensor: Tensor | None, view: OpView, elements: int, default: float
) -> npt.NDArray[np.float32]:
    """Return an optional operand's data as a row of numbers, ``default`` where it is absent."""
    if tensor is None:
        return np.full(elements, default, np.float32)
    if not tensor.is_constant:
        raise no_kernel(view, f"{tensor.name} must be a constant")
    data = tensor.data.astype(np.float32, copy=False).reshape(-1)
    return np.ascontiguousarray(np.broadcast_to(data, (elements,)))


def conv2d(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a convolution."""
    require_floats(view)
    shape = view.input(1).static_shape
    fields = window_fields(view, (shape[1], shape[2]), view.int_attr("groups", 1))
    return (_windowed(view, "ek_conv2d_f32", fields),)


def depthwise_conv2d(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a depthwise convolution."""
    require_floats(view)
    shape = view.input(1).static_shape
    fields = window_fields(view, (shape[1], shape[2]), view.input(0).static_shape[3])
    return (_windowed(view, "ek_depthwise_conv2d_f32", fields),)


def transpose_conv2d(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a transposed convolution of one group."""
    require_floats(view)
    shape = view.input(1).static_shape
    fields = window_fields(view, (shape[1], shape[2]), 1)
    return (_windowed(view, "ek_transpose_conv2d_f32", fields),)


def _windowed(view: OpView, function: str, window: dict[str, int]) -> KernelCall:
    channels = view.outputs[0].static_shape[3]
    bias = constant_or(view.optional_input(2), view, channels, 0.0)
    fields: dict[str, Field] = {**window, **activation_bounds(view), "bias": bias}
    names = view.input(0).name, view.input(1).name, view.outputs[0].name
    return KernelCall(function, "ek_conv2d_f32_params", fields, names)


def fully_connected(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a dense layer: one product with the transposed weights."""
    require_floats(view)
    weights = view.input(1)
    columns, depth = weights.static_shape
    fields: dict[str, Field] = {
        "batch_dims": (1,) * AXES,
        "first_strides": (0,) * AXES,
        "second_strides": (0,) * AXES,
        "rows": view.outputs[0].elements // columns,
        "depth": depth,
        "columns": columns,
        "first_row_stride": depth,
        "first_depth_stride": 1,
        "second_column_stride": depth,
        "second_depth_stride": 1,
        **activation_bounds(view),
        "bias": constant_or(view.optional_input(2), view, columns, 0.0),
    }
    names = view.input(0).name, weights.name, view.outputs[0].name
    return (call("ek_matmul_f32", fields, *names),)


def matmul(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a product of two computed matrices, for every place of their leading axes."""
    require_floats(view)
    shape = view.outputs[0].static_shape
    rows, columns = shape[-2:]
    batch: list[tuple[int, ...]] = []
    steps: list[tuple[int, int]] = []
    for index, attr in enumerate(("transpose_a", "transpose_b")):
        own = view.input(index).static_shape
        strides = dense_strides(own)
        turned = view.bool_attr(attr, False)
        steps.append((strides[-1], strides[-2]) if turned else (strides[-2], strides[-1]))
        missing = len(shape) - len(own)
        kept = zip(own[:-2], strides[:-2], strict=True)
        batch.append((*(0,) * missing, *(0 if dim == 1 else step for dim, step in kept)))
    dims, first, second = merged_axes(view, shape[:-2], *batch)
    first_shape = view.input(0).static_shape
    fields: dict[str, Field] = {
        "batch_dims": dims,
        "first_strides": first,
        "second_strides": second,
        "rows": rows,
        "depth": first_shape[-2 if view.bool_attr("transpose_a", False) else -1],
        "columns": columns,
        "first_row_stride": steps[0][0],
        "first_depth_stride": steps[0][1],
        "second_column_stride": steps[1][1],
        "second_depth_stride": steps[1][0],
        **activation_bounds(view),
        "bias": np.zeros(columns, np.float32),
    }
    names = view.input(0).name, view.input(1).name, view.outputs[0].name
    return (call("ek_matmul_f32", fields, *names),)


def pool2d(view: OpView) -> tuple[KernelCall, ...]:
    """Lower an average or maximum over windows."""
    require_floats(view)
    fields: dict[str, Field] = {
        **pool_fields(view),
        "padding_counts": int(view.bool_attr("count_include_pad", False)),
        **activation_bounds(view),
    }
    names = view.input(0).name, view.outputs[0].name
    return (KernelCall(f"ek_{view.node.op}_f32", "ek_pool2d_f32_params", fields, names),)
