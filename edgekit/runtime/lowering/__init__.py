"""From an operator of a graph to calls of native kernels.

The same calls are made through ctypes on the host (:mod:`edgekit.runtime.native_kernels`) and
printed as C for boards, so that what a test proves of one holds for the other. Everything that
can be computed at conversion is: packed weights, factors, folded biases, tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering import (
    elementwise,
    movement,
    recurrent,
    reductions,
    weighted,
    windows,
)
from edgekit.runtime.lowering.call import SCRATCH, KernelCall, no_kernel

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
    "quantize": elementwise.quantize,
    "dequantize": elementwise.dequantize,
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
    **dict.fromkeys(("split", "unpack"), movement.split),
    "svdf": recurrent.svdf,
    "unidirectional_lstm": recurrent.unidirectional_lstm,
}
"""All others."""


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
    weighted_lowering = WEIGHTED.get(view.node.op)
    if weighted_lowering is not None:
        return weighted_lowering(view, kernels)
    lowering = LOWERINGS.get(view.node.op)
    if lowering is None:
        raise no_kernel(view)
    return lowering(view)
