"""Which layers get weights of few bits where flash cannot hold those of int8."""

from __future__ import annotations

from edgekit.converters.quantization.bit_widths import NARROW_WEIGHTS
from edgekit.dtypes import DType
from edgekit.graph import Graph

NARROW_BITS = 4
CODE_BYTES = 60 * 1024
"""Kernels and calls: 52 KB in firmware of MobileNetV2 whose first layers run in seven bands."""
TABLE_BYTES = 8
"""That an output channel takes beside its bias: multiplier and shift."""


def layers_for_flash(graph: Graph, flash_bytes: int) -> dict[str, int]:
    """Return the layers whose weights become narrow so that flash holds all, the largest first.

    Few large layers hold most weights, and small ones lose most by few bits: the first layer,
    whose errors all others read, and depthwise ones, whose outputs are sums of few products. They
    keep their 8 bits while flash allows it.

    Parameters
    ----------
    graph : Graph
        In int8.
    flash_bytes : int
        For constants, and for tables and code, which are estimated.

    Returns
    -------
    dict of node name to int
        Bits of each layer, as :func:`~edgekit.converters.quantization.bit_widths.with_bit_widths`
        takes them; none where int8 fits, all layers where nothing fits.
    """
    weighted = [node for node in graph.nodes if node.op in NARROW_WEIGHTS]
    sizes = {
        node.name: graph.tensors[node.inputs[1]].elements
        for node in weighted
        if graph.tensors[node.inputs[1]].dtype is DType.INT8
    }
    channels = sum(graph.tensors[node.outputs[0]].static_shape[-1] for node in weighted)
    left_bytes = graph.weights_bytes + TABLE_BYTES * channels + CODE_BYTES - flash_bytes
    chosen: dict[str, int] = {}
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        if left_bytes <= 0:
            break
        chosen[name] = NARROW_BITS
        left_bytes -= sizes[name] // 2
    return chosen
