"""Removal of nodes that change nothing, and of nodes that compute what another one has."""

from __future__ import annotations

from dataclasses import replace

from edgekit.converters.passes.dead_nodes import remove_dead_nodes
from edgekit.graph import Graph, Node, TensorKind
from edgekit.ops.spec import OpView


def remove_identities(graph: Graph) -> Graph:
    """Return the graph without identities, and with chains of reshapes shortened to one.

    An output keeps its name: where an identity writes it, the node before takes over the name.
    """
    kept: list[Node] = []
    names: dict[str, str] = {}
    producers: dict[str, Node] = {}
    for original in graph.nodes:
        node = replace(original, inputs=tuple(names.get(name, name) for name in original.inputs))
        before = producers.get(node.inputs[0]) if node.inputs else None
        if before is not None and _is_chained_reshape(node, before):
            node = replace(node, inputs=before.inputs)
        if _changes_nothing(graph, node) and node.outputs[0] not in graph.outputs:
            names[node.outputs[0]] = node.inputs[0]
            continue
        kept.append(node)
        producers.update(dict.fromkeys(node.outputs, node))
    return _take_over_outputs(remove_dead_nodes(graph.replace(nodes=kept)))


def _take_over_outputs(graph: Graph) -> Graph:
    """Remove identities that write outputs, where what they copy can have the output's name."""
    producers, consumers = graph.producers(), graph.consumers()
    names: dict[str, str] = {}
    for node in graph.nodes:
        if not _changes_nothing(graph, node):
            continue
        source, output = node.inputs[0], node.outputs[0]
        movable = source in producers and source not in graph.outputs and source not in names
        if movable and not any(_changes_nothing(graph, n) for n in consumers[output]):
            names[source] = output
    dropped = set(names.values())
    kept = [
        replace(
            node,
            inputs=tuple(names.get(name, name) for name in node.inputs),
            outputs=tuple(names.get(name, name) for name in node.outputs),
        )
        for node in graph.nodes
        if not (node.outputs[0] in dropped and _changes_nothing(graph, node))
    ]
    return graph.replace(nodes=kept)


def _changes_nothing(graph: Graph, node: Node) -> bool:
    if len(node.outputs) != 1 or not node.inputs or not node.inputs[0]:
        return False
    source, output = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if source.shape != output.shape or source.dtype is not output.dtype:
        return False
    if source.quantization is not None and not source.quantization.same_as(output.quantization):
        return False
    if source.quantization is None and output.quantization is not None:
        return False
    return node.op in {"identity", "reshape", "cast", "expand"} or _is_neutral(graph, node)


def _is_neutral(graph: Graph, node: Node) -> bool:
    """Whether a transpose, pad, concat or slice has attributes that do nothing."""
    view = OpView.of(graph, node)
    if node.op == "transpose":
        perm = view.ints_attr("perm")
        return perm == tuple(range(len(perm)))
    if node.op == "pad":
        return not any(any(pair) for pair in view.pairs_attr("padding"))
    if node.op == "concat":
        return len(node.inputs) == 1 and view.str_attr("activation", "none") == "none"
    # The shape did not change, so steps of one take everything.
    return node.op == "slice" and set(view.ints_attr("strides")) <= {1}


def _is_chained_reshape(node: Node, before: Node) -> bool:
    shape = node.attrs.get("shape")
    return (
        node.op == before.op == "reshape"
        and len(node.inputs) == len(before.inputs) == 1
        and isinstance(shape, tuple)
        and 0 not in shape
    )


def share_duplicates(graph: Graph) -> Graph:
    """Return the graph with nodes of the same operator, inputs and attributes computed once."""
    kept: list[Node] = []
    names: dict[str, str] = {}
    seen: dict[tuple[object, ...], Node] = {}
    for original in graph.nodes:
        node = replace(original, inputs=tuple(names.get(name, name) for name in original.inputs))
        key = (node.op, node.inputs, tuple(sorted(node.attrs.items())), len(node.outputs))
        twin = seen.get(key)
        if twin is None or not _may_share(graph, node, twin):
            seen.setdefault(key, node)
            kept.append(node)
        else:
            names.update(zip(node.outputs, twin.outputs, strict=True))
    return graph.replace(nodes=kept)


def _may_share(graph: Graph, node: Node, twin: Node) -> bool:
    """Nodes that write outputs or states, or quantize differently, stay apart."""
    if any(name and graph.tensors[name].kind is TensorKind.STATE for name in node.inputs):
        return False
    if any(name in graph.outputs for name in node.outputs):
        return False
    quantizations = [
        (graph.tensors[a].quantization, graph.tensors[b].quantization)
        for a, b in zip(node.outputs, twin.outputs, strict=True)
    ]
    return all((a is None and b is None) or (a and a.same_as(b)) for a, b in quantizations)
