"""Operators on float32 that compute element by element, or normalize along axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgekit.graph import Tensor
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.call import (
    Field,
    KernelCall,
    call,
    dense_strides,
    merged_axes,
    no_kernel,
)
from edgekit.runtime.lowering.elementwise import broadcast_strides
from edgekit.runtime.lowering.float_layers import (
    activation_bounds,
    constant_or,
    require_floats,
)

Arguments = Callable[[OpView], tuple[str, float, float]]
"""Function of ``kernels_f32.h`` and its two numbers."""


def binary(view: OpView) -> tuple[KernelCall, ...]:
    """Lower arithmetic on two operands that are broadcast."""
    require_floats(view)
    shape = view.outputs[0].static_shape
    strides = [broadcast_strides(view.input(index).static_shape, shape) for index in range(2)]
    dims, first, second = merged_axes(view, shape, *strides)
    fields: dict[str, Field] = {
        "dims": dims,
        "first_strides": first,
        "second_strides": second,
        **activation_bounds(view),
    }
    names = view.input(0).name, view.input(1).name, view.outputs[0].name
    return (KernelCall(f"ek_{view.node.op}_f32", "ek_binary_f32_params", fields, names),)


_ARGUMENTS: dict[str, Arguments] = {
    "relu": lambda _: ("clip", 0.0, math.inf),
    "relu6": lambda _: ("clip", 0.0, 6.0),
    "relu_n1_1": lambda _: ("clip", -1.0, 1.0),
    "clip": lambda view: ("clip", view.float_attr("min"), view.float_attr("max")),
    "leaky_relu": lambda view: ("leaky_relu", view.float_attr("alpha"), 0.0),
    "elu": lambda view: ("elu", view.float_attr("alpha", 1.0), 0.0),
    "hard_sigmoid": lambda view: (
        "hard_sigmoid",
        view.float_attr("alpha", 0.2),
        view.float_attr("beta", 0.5),
    ),
    "gelu": lambda view: (
        "gelu" if view.str_attr("approximate", "none") == "none" else "gelu_tanh",
        0.0,
        0.0,
    ),
}


def unary(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a function of one element."""
    require_floats(view)
    of_op = _ARGUMENTS.get(view.node.op)
    name, first, second = of_op(view) if of_op else (view.node.op, 0.0, 0.0)
    return (unary_call(name, view.input(0), view.outputs[0], (first, second)),)


def unary_call(
    name: str, x: Tensor, y: Tensor, numbers: tuple[float, float] = (0.0, 0.0)
) -> KernelCall:
    """Return the call of a function of one element; ``numbers`` as ``kernels_f32.h`` says."""
    fields: dict[str, Field] = {"elements": y.elements, "first": numbers[0], "second": numbers[1]}
    return KernelCall(f"ek_{name}_f32", "ek_unary_f32_params", fields, (x.name, y.name))


def softmax(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a softmax."""
    require_floats(view)
    shape = view.input(0).static_shape
    axis = view.int_attr("axis", -1) % len(shape)
    fields: dict[str, Field] = {
        "outer": math.prod(shape[:axis]),
        "depth": shape[axis],
        "inner": math.prod(shape[axis + 1 :]),
        "beta": view.float_attr("beta", 1.0),
    }
    return (call("ek_softmax_f32", fields, view.input(0).name, view.outputs[0].name),)


_REDUCTIONS = {
    "reduce_mean": "sum",
    "reduce_sum": "sum",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_l2": "l2",
}


def reduce(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a reduction over axes."""
    require_floats(view)
    shape = view.input(0).static_shape
    strides = dense_strides(shape)
    axes = {axis % len(shape) for axis in view.ints_attr("axes")}
    count = math.prod(shape[axis] for axis in axes)
    if count == 0:
        raise no_kernel(view, "nothing is reduced")
    kept = tuple(axis for axis in range(len(shape)) if axis not in axes)
    parts = []
    for chosen in (kept, tuple(sorted(axes))):
        dims = tuple(shape[axis] for axis in chosen)
        parts.append(merged_axes(view, dims, tuple(strides[axis] for axis in chosen)))
    fields: dict[str, Field] = {
        "kept_dims": parts[0][0],
        "kept_strides": parts[0][1],
        "reduced_dims": parts[1][0],
        "reduced_strides": parts[1][1],
        "divisor": float(count) if view.node.op == "reduce_mean" else 1.0,
    }
    function = f"ek_reduce_{_REDUCTIONS[view.node.op]}_f32"
    names = view.input(0).name, view.outputs[0].name
    return (KernelCall(function, "ek_reduce_f32_params", fields, names),)


def batch_norm(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a normalization with known statistics; scale and deviation become one factor."""
    require_floats(view)
    shape = view.input(0).static_shape
    axis = view.int_attr("axis") % len(shape)
    gamma, beta, mean, variance = (
        constant_or(view.input(index), view, shape[axis], 0.0) for index in range(1, 5)
    )
    epsilon = np.float32(view.float_attr("epsilon", 1e-5))
    fields: dict[str, Field] = {
        "outer": math.prod(shape[:axis]),
        "channels": shape[axis],
        "inner": math.prod(shape[axis + 1 :]),
        "mean": mean,
        "scale": (gamma / np.sqrt(variance + epsilon)).astype(np.float32),
        "offset": beta,
    }
    return (call("ek_batch_norm_f32", fields, view.input(0).name, view.outputs[0].name),)


def layer_norm(view: OpView) -> tuple[KernelCall, ...]:
    """Lower a normalization with computed statistics."""
    require_floats(view)
    shape = view.input(0).static_shape
    normalized = shape[view.int_attr("axis") % len(shape) :]
    depth = math.prod(normalized)
    parts = []
    for index, default in ((1, 1.0), (2, 0.0)):
        tensor = view.optional_input(index)
        data = constant_or(tensor, view, tensor.elements if tensor else depth, default)
        spread = data.reshape(tensor.static_shape if tensor else normalized)
        parts.append(np.ascontiguousarray(np.broadcast_to(spread, normalized)))
    fields: dict[str, Field] = {
        "rows": view.input(0).elements // depth,
        "depth": depth,
        "epsilon": view.float_attr("epsilon", 1e-5),
        "gamma": parts[0],
        "beta": parts[1],
    }
    return (call("ek_layer_norm_f32", fields, view.input(0).name, view.outputs[0].name),)
