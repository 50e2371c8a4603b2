"""Which kernel computes a node, and with which parameters.

Every operator that generated C supports has a function in :data:`CALLS` that turns a node into a
:class:`CCall`. Parameters are constants of the generated code, computed exactly as the reference
executor computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgekit.converters.emitters import (
    c_elementwise,
    c_movement,
    c_recurrent,
    c_reduce,
    c_weighted,
    c_windows,
)
from edgekit.converters.emitters.c_call import CallSite, CCall, no_kernel

Maker = Callable[[CallSite], tuple[CCall, ...]]

_BY_TABLE = (
    "relu",
    "relu6",
    "sigmoid",
    "tanh",
    "leaky_relu",
    "elu",
    "hard_swish",
)
"""Operators that map each int8 to an int8, whatever the others are."""

CALLS: Mapping[str, Maker] = {
    "conv2d": c_weighted.conv2d,
    "depthwise_conv2d": c_weighted.depthwise_conv2d,
    "fully_connected": c_weighted.fully_connected,
    "average_pool2d": c_windows.average_pool2d,
    "max_pool2d": c_windows.max_pool2d,
    "add": c_elementwise.add,
    "sub": c_elementwise.sub,
    "mul": c_elementwise.mul,
    "softmax": c_elementwise.softmax,
    "quantize": c_elementwise.quantize,
    "dequantize": c_elementwise.dequantize,
    "reduce_mean": c_reduce.reduce_mean,
    "reduce_sum": c_reduce.reduce_sum,
    "transpose": c_movement.transpose,
    "pad": c_movement.pad,
    "slice": c_movement.cut,
    "concat": c_movement.concat,
    "svdf": c_recurrent.svdf,
    "unidirectional_lstm": c_recurrent.unidirectional_lstm,
    **dict.fromkeys(_BY_TABLE, c_elementwise.lookup),
}
"""By operator."""


def calls_of(site: CallSite) -> tuple[CCall, ...]:
    """Return the calls that compute a node, in order.

    Raises
    ------
    UnsupportedOpError
        If there is no kernel for the operator or for its element types.
    """
    maker = CALLS.get(site.view.node.op)
    if maker is None:
        raise no_kernel(site.view)
    return maker(site)
