"""Bit operations: multiply-accumulates weighed by the widths of what is multiplied.

A product of an a-bit and a b-bit number counts a * b bit operations, the measure by which work on
mixed precision compares networks. It says nothing about cycles: on a processor without sub-byte
arithmetic narrow values are unpacked first.
"""

from __future__ import annotations

from edgekit.cost.work import node_work
from edgekit.graph import Graph


def bit_operations(graph: Graph) -> int:
    """Return the bit operations of one run, whatever is computed twice included.

    Parameters
    ----------
    graph : Graph
        With static shapes.

    Raises
    ------
    ModelError, UnsupportedOpError
        As :func:`~edgekit.cost.work.node_work`.
    """
    return sum(node_bit_operations(graph).values())


def node_bit_operations(graph: Graph) -> dict[str, int]:
    """Return the bit operations of each node that multiplies by weights or is a matrix product.

    Parameters
    ----------
    graph : Graph
        With static shapes.

    Returns
    -------
    dict of node name to int
        MACs x bits of input 1 (the weights) x bits of input 0 (the activation).

    Raises
    ------
    ModelError, UnsupportedOpError
        As :func:`~edgekit.cost.work.node_work`.
    """
    found: dict[str, int] = {}
    for node in graph.nodes:
        work = node_work(graph, node)
        if work.op_class in ("elementwise", "view"):
            continue
        activation, weights = (graph.tensors[name].dtype.bits for name in node.inputs[:2])
        found[node.name] = work.macs * weights * activation
    return found
