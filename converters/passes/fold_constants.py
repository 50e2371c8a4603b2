"""Evaluation of nodes whose inputs are all known at conversion."""

from __future__ import annotations

from edgekit.graph import Graph, Node, Tensor
from edgekit.ops import spec_of
from edgekit.ops.spec import OpCall, OpView

NOT_FOLDED = frozenset({"average_pool2d", "conv2d", "max_pool2d", "transpose_conv2d"})
"""Operators whose work and temporary memory are not bounded by their inputs and outputs."""

MAX_GROWTH_BYTES = 2**20
"""A constant is computed if it is at most this much larger than what it is computed from."""


def fold_constants(graph: Graph) -> Graph:
    """Return the graph with such nodes replaced by their results.

    A node that would blow up a small constant (an expansion, say) stays, so that packages do not
    grow; so do nodes with quantized tensors, and nodes that write graph outputs.
    """
    folded: dict[str, Tensor] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(folded.get(n, graph.tensors[n]) if n else None for n in node.inputs)
        outputs = tuple(graph.tensors[name] for name in node.outputs)
        if _can_fold(graph, node, inputs, outputs):
            arrays = spec_of(node).reference(
                OpCall(OpView(node, inputs, outputs), tuple(t.data if t else None for t in inputs))
            )
            for name, array in zip(node.outputs, arrays, strict=True):
                folded[name] = Tensor.constant(name, array)
        else:
            kept.append(node)
    return graph.replace(nodes=kept, tensors=folded.values()) if folded else graph


def _can_fold(
    graph: Graph, node: Node, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor, ...]
) -> bool:
    known = [tensor for tensor in inputs if tensor is not None]
    if node.op in NOT_FOLDED or not known or not all(tensor.is_constant for tensor in known):
        return False
    tensors = (*known, *outputs)
    static = all(isinstance(dim, int) for tensor in tensors for dim in tensor.shape)
    if not static or any(tensor.quantization is not None for tensor in tensors):
        return False
    if any(name in graph.outputs for name in node.outputs):
        return False
    grown = sum(t.size_bytes for t in outputs) - sum(t.size_bytes for t in known)
    return grown <= MAX_GROWTH_BYTES
