"""Which layers get weights of few bits where flash cannot hold those of int8."""

from __future__ import annotations

from edgekit.converters.quantization.bit_widths import NARROW_WEIGHTS
from edgekit.dtypes import DType
from edgekit.graph import Graph

NARROW_BITS = 4


def layers_for_flash(graph: Graph, most_bytes: int) -> dict[str, int]:
    """Return the layers whose weights become narrow so that constants fit, the largest first.

    Few large layers hold most weights, and small ones lose most by few bits: the first layer,
    whose errors all others read, and depthwise ones, whose outputs are sums of few products. They
    keep their 8 bits while flash allows it.

    Parameters
    ----------
    graph : Graph
        In int8.
    most_bytes : int
        That ``graph.weights_bytes`` may take.

    Returns
    -------
    dict of node name to int
        Bits of each layer, as :func:`~edgekit.converters.quantization.bit_widths.with_bit_widths`
        takes them; none where int8 fits, all layers where nothing fits.
    """
    sizes = {
        node.name: graph.tensors[node.inputs[1]].elements
        for node in graph.nodes
        if node.op in NARROW_WEIGHTS and graph.tensors[node.inputs[1]].dtype is DType.INT8
    }
    left_bytes = graph.weights_bytes - most_bytes
    chosen: dict[str, int] = {}
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        if left_bytes <= 0:
            break
        chosen[name] = NARROW_BITS
        left_bytes -= sizes[name] // 2
    return chosen
