"""From an operator of a graph to calls of native kernels.

The same calls are made through ctypes on the host (:mod:`edgekit.runtime.native_kernels`) and
printed as C for boards, so that what a test proves of one holds for the other. Everything that
can be computed at conversion is: packed weights, factors, folded biases, tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgekit.dtypes import DType
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering import (
    cases,
    conversions,
    elementwise,
    float_elementwise,
    float_layers,
    float_recurrent,
    movement,
    packed_values,
    recurrent,
    reductions,
    selection,
    transposed,
    weighted,
    windows,
)
from edgekit.runtime.lowering.call import SCRATCH, KernelCall, no_kernel
from edgekit.runtime.lowering.row_bytes import in_bytes

__all__ = ["LOWERINGS", "SCRATCH", "WEIGHTED", "KernelCall", "lower"]

Lowering = Callable[[OpView], tuple[KernelCall, ...]]

WEIGHTED: Mapping[str, Callable[[OpView, KernelSet], tuple[KernelCall, ...]]] = {
    "conv2d": weighted.conv2d,
    "depthwise_conv2d": weighted.depthwise_conv2d,
    "fully_connected": weighted.fully_connected,
}
"""Operators whose weights lie in the order that a set of kernels reads."""

LOWERINGS: Mapping[str, Lowering] = {
    "average_pool2d": windows.pool2d,
    "max_pool2d": windows.pool2d,
    **dict.fromkeys(("add", "sub", "mul", "squared_difference"), elementwise.binary),
    **dict.fromkeys(("maximum", "minimum"), elementwise.binary),
    **dict.fromkeys(("relu", "relu6", "relu_n1_1", "sigmoid", "tanh"), elementwise.lookup),
    **dict.fromkeys(("leaky_relu", "elu", "hard_swish"), elementwise.lookup),
    "quantize": conversions.quantize,
    "dequantize": conversions.dequantize,
    "cast": conversions.cast,
    "transpose_conv2d": transposed.transpose_conv2d,
    **dict.fromkeys(("arg_max", "arg_min"), selection.arg_extreme),
    "gather": selection.gather,
    "take_prefix": selection.take_prefix,
    "resize": selection.resize,
    **dict.fromkeys(("space_to_depth", "depth_to_space"), selection.pixel_blocks),
    **dict.fromkeys(("equal", "less", "greater", "less_equal"), selection.compare),
    **dict.fromkeys(("greater_equal", "logical_and"), selection.compare),
    **dict.fromkeys(("logical_or", "logical_not"), selection.compare),
    "where": selection.where,
    "softmax": reductions.softmax,
    **dict.fromkeys(("reduce_mean", "reduce_sum"), reductions.reduce),
    **dict.fromkeys(("reduce_max", "reduce_min"), reductions.reduce),
    **dict.fromkeys(("reshape", "identity"), movement.reshape),
    "transpose": movement.transpose,
    "slice": movement.slice_,
    "expand": movement.expand,
    "tile": movement.tile,
    "pad": movement.pad,
    "concat": movement.concat,
    "pack": movement.pack,
    "paste": movement.paste,
    "blank": cases.blank,
    "outlier_test": cases.outlier_test,
    **dict.fromkeys(("split", "unpack"), movement.split),
    "svdf": recurrent.svdf,
    "unidirectional_lstm": recurrent.unidirectional_lstm,
}
"""All others."""

FLOAT_LOWERINGS: Mapping[str, Lowering] = {
    "conv2d": float_layers.conv2d,
    "depthwise_conv2d": float_layers.depthwise_conv2d,
    "transpose_conv2d": float_layers.transpose_conv2d,
    "fully_connected": float_layers.fully_connected,
    "matmul": float_layers.matmul,
    **dict.fromkeys(("average_pool2d", "max_pool2d"), float_layers.pool2d),
    **dict.fromkeys(("add", "sub", "mul", "div"), float_elementwise.binary),
    **dict.fromkeys(("pow", "squared_difference", "maximum"), float_elementwise.binary),
    **dict.fromkeys(("minimum", "prelu"), float_elementwise.binary),
    **dict.fromkeys(("relu", "relu6", "relu_n1_1", "clip"), float_elementwise.unary),
    **dict.fromkeys(("sigmoid", "tanh", "leaky_relu", "elu"), float_elementwise.unary),
    **dict.fromkeys(("hard_swish", "hard_sigmoid", "exp"), float_elementwise.unary),
    **dict.fromkeys(("log", "sqrt", "rsqrt", "erf", "gelu"), float_elementwise.unary),
    **dict.fromkeys(("softplus", "floor", "abs", "neg"), float_elementwise.unary),
    "square": float_elementwise.unary,
    "softmax": float_elementwise.softmax,
    **dict.fromkeys(("reduce_mean", "reduce_sum"), float_elementwise.reduce),
    **dict.fromkeys(("reduce_max", "reduce_min"), float_elementwise.reduce),
    "reduce_l2": float_elementwise.reduce,
    "batch_norm": float_elementwise.batch_norm,
    "layer_norm": float_elementwise.layer_norm,
    "svdf": float_recurrent.svdf,
    "unidirectional_lstm": float_recurrent.unidirectional_lstm,
}
"""By operator, where the first input is float32 and kernels differ."""

MOVED_IN_BYTES = frozenset({"reshape", "identity", "slice", "pad", "concat", "paste", "blank"})
"""Operators that move packed tensors by the bytes."""

PACKED_LOWERINGS: Mapping[str, Lowering] = {
    **dict.fromkeys(("average_pool2d", "max_pool2d"), windows.pool2d),
    "add": packed_values.add,
    "quantize": packed_values.quantize,
    "reduce_mean": packed_values.mean,
    "outlier_test": cases.outlier_test,
}
"""By operator, where a tensor is packed and its elements are computed with."""


def lower(view: OpView, kernels: KernelSet) -> tuple[KernelCall, ...]:
    """Return the calls that compute a node, in order.

    Parameters
    ----------
    view : OpView
        With static shapes; weights are constants with data.
    kernels : KernelSet
        What is called.

    Raises
    ------
    UnsupportedOpError
        If there is no kernel for the operator, its element types or its attributes.
    """
    if all(output.elements == 0 for output in view.outputs):
        return ()
    if _is_packed(view):
        return _lowered_packed(view, kernels)
    lowering = _lowering(view, kernels)
    if lowering is None:
        raise no_kernel(view)
    return tuple(call for call in lowering(view) if 0 not in _dims(call))


def _lowering(view: OpView, kernels: KernelSet) -> Lowering | None:
    op, first = view.node.op, view.inputs[0] if view.inputs else None
    if first is not None and first.dtype is DType.FLOAT32 and op in FLOAT_LOWERINGS:
        return FLOAT_LOWERINGS[op]
    weighted_lowering = WEIGHTED.get(op)
    if weighted_lowering is not None:
        return lambda view: weighted_lowering(view, kernels)
    return LOWERINGS.get(op)


def _is_packed(view: OpView) -> bool:
    """Whether a tensor that is computed at run time is packed."""
    inputs = view.inputs[:1] if view.node.op in WEIGHTED else view.inputs
    tensors = (*inputs, *view.outputs)
    return any(tensor is not None and tensor.dtype.is_packed for tensor in tensors)


def _lowered_packed(view: OpView, kernels: KernelSet) -> tuple[KernelCall, ...]:
    if kernels is KernelSet.CORTEX_M_MVE:
        raise no_kernel(view, "there are none below 8 bits for Helium; take --precision int8")
    if view.node.op in MOVED_IN_BYTES:
        return LOWERINGS[view.node.op](in_bytes(view))
    if view.node.op in WEIGHTED:
        return WEIGHTED[view.node.op](view, kernels)
    if view.node.op not in PACKED_LOWERINGS:
        raise no_kernel(view)
    return PACKED_LOWERINGS[view.node.op](view)


def _dims(call: KernelCall) -> tuple[int, ...]:
    """Return the axes that a call walks over; with an empty one there is nothing to do."""
    dims = call.fields.get("dims", ())
    return dims if isinstance(dims, tuple) else ()
