"""Which kernel computes a node, and with which parameters.

Every operator that generated C supports has a function in :data:`CALLS` that turns a node into a
:class:`CCall`. Parameters are constants of the generated code, computed exactly as the reference
executor computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgekit.converters.emitters import c_elementwise, c_weighted, c_windows
from edgekit.converters.emitters.c_call import CallSite, CCall, no_kernel

Maker = Callable[[CallSite], CCall]

CALLS: Mapping[str, Maker] = {
    "conv2d": c_weighted.conv2d,
    "depthwise_conv2d": c_weighted.depthwise_conv2d,
    "fully_connected": c_weighted.fully_connected,
    "average_pool2d": c_windows.average_pool2d,
    "max_pool2d": c_windows.max_pool2d,
    "add": c_elementwise.add,
    "softmax": c_elementwise.softmax,
}
"""By operator."""


def call_of(site: CallSite) -> CCall:
    """Return the call that computes a node.

    Raises
    ------
    UnsupportedOpError
        If there is no kernel for the operator or for its element types.
    """
    maker = CALLS.get(site.view.node.op)
    if maker is None:
        raise no_kernel(site.view)
    return maker(site)
