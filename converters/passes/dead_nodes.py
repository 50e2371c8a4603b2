"""Removal of nodes whose results nobody reads."""

from __future__ import annotations

from edgekit.graph import Graph, Node, TensorKind


def remove_dead_nodes(graph: Graph) -> Graph:
    """Return the graph without nodes of which neither another node nor an output needs a result.

    Nodes that update a state stay: their effect is in the next run.
    """
    needed = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        states = any(name and graph.tensors[name].kind is TensorKind.STATE for name in node.inputs)
        if states or needed.intersection(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    return graph.replace(nodes=kept[::-1])
