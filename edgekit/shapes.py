"""Shape inference over a whole graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgekit.errors import ModelError
from edgekit.graph import Graph
from edgekit.ops import spec_of
from edgekit.ops.spec import OpView


def infer_shapes(graph: Graph) -> Graph:
    """Return the graph with the shape and element type of every computed tensor inferred again.

    Raises
    ------
    ModelError
        If an operator refuses its inputs, or returns another number of outputs than the node has.
    """
    tensors = dict(graph.tensors)
    for node in graph.nodes:
        inputs = tuple(tensors[name] if name else None for name in node.inputs)
        outputs = tuple(tensors[name] for name in node.outputs)
        types = spec_of(node).infer(OpView(node, inputs, outputs))
        if len(types) != len(node.outputs):
            raise ModelError(
                f"layer {node.where}: {node.op} has {len(types)} outputs, not {len(node.outputs)}"
            )
        for name, kind in zip(node.outputs, types, strict=True):
            tensors[name] = replace(tensors[name], shape=kind.shape, dtype=kind.dtype)
    return replace(graph, tensors=tensors)


def bind_dims(graph: Graph, dims: Mapping[str, int] | None = None) -> Graph:
    """Return the graph with every named dimension replaced by its number, everywhere.

    Named dimensions appear in tensor shapes only; the shapes of computed tensors are inferred
    again from the bound inputs.
    """
    return infer_shapes(graph.bind(dims))
