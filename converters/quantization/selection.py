"""Which layers of a float graph become int8, and which tensors share one scale.

The rules are the operators' own (:class:`~edgekit.ops.spec.QuantRule`); this module applies them
to a graph. It decides, :mod:`edgekit.converters.quantization.static` carries out.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

from edgekit.converters.calibration.observers import Range
from edgekit.converters.quantization.parameters import activation_quantization
from edgekit.dtypes import DType
from edgekit.errors import QuantizationError, UsageError
from edgekit.graph import Graph, Node, Quantization, Tensor, TensorKind
from edgekit.ops import spec_of
from edgekit.ops.spec import QuantRule


def quantizable_layers(graph: Graph, keep_float: Collection[str] = ()) -> frozenset[str]:
    """Return the names of the nodes that become int8.

    An operator that only moves or selects values (``QuantRule.SAME_SCALE``) follows its producer,
    so that no conversion is inserted on its behalf.

    Parameters
    ----------
    graph : Graph
        In floating point.
    keep_float : collection of str
        Nodes to leave in floating point.

    Raises
    ------
    UsageError
        If ``keep_float`` names a layer that does not exist.
    """
    check_layer_names(graph, keep_float)
    producers, consumers = graph.producers(), graph.consumers()
    able = {
        node.name for node in graph.nodes if node.name not in keep_float and _is_able(graph, node)
    }
    chosen: set[str] = set()
    for node in graph.nodes:
        if node.name not in able:
            continue
        if spec_of(node).quantization is QuantRule.SAME_SCALE:
            producer = producers.get(node.inputs[0])
            readers = (reader for name in node.outputs for reader in consumers[name])
            follows = (
                producer.name in chosen
                if producer is not None
                else any(reader.name in able for reader in readers)
            )
            if not follows:
                continue
        chosen.add(node.name)
    return frozenset(chosen)


def check_layer_names(graph: Graph, keep_float: Collection[str]) -> None:
    """Raise UsageError where a name is not that of a layer, with the nearest one."""
    names = {node.name for node in graph.nodes}
    for name in keep_float:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise UsageError(f"no layer is called '{name}' (to be kept in float){hint}")


def _is_able(graph: Graph, node: Node) -> bool:
    rule = spec_of(node).quantization
    if rule is QuantRule.FLOAT_ONLY:
        return False
    inputs = [graph.tensors[name] for name in node.inputs if name]
    outputs = [graph.tensors[name] for name in node.outputs]
    if not inputs or any(tensor.kind is TensorKind.STATE for tensor in inputs):
        return False
    if inputs[0].dtype is not DType.FLOAT32:
        return False
    if any(tensor.dtype is not DType.FLOAT32 for tensor in outputs):
        return False
    if rule is QuantRule.WEIGHTED:
        return not inputs[0].is_constant and all(tensor.is_constant for tensor in inputs[1:])
    return True


class ScaleGroups:
    """Tensors that have one scale in common (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        """Return the representative of a tensor's group."""
        parent = self._parent.setdefault(name, name)
        if parent != name:
            self._parent[name] = self.root(parent)
        return self._parent[name]

    def join(self, one: str, other: str) -> None:
        """Give two tensors one scale."""
        self._parent[self.root(other)] = self.root(one)


def assign_scales(
    graph: Graph, layers: Collection[str], ranges: Mapping[str, Range]
) -> dict[str, Quantization]:
    """Return the quantization of every activation that a quantized layer reads or writes.

    Parameters
    ----------
    graph : Graph
        In floating point.
    layers : collection of str
        Nodes that become int8.
    ranges : mapping of tensor name to Range
        From calibration.

    Raises
    ------
    QuantizationError
        If a tensor has no range.
    """
    groups = ScaleGroups()
    fixed: dict[str, Quantization] = {}
    limits: dict[str, Range] = {}
    members: list[str] = []
    for node in graph.nodes:
        if node.name not in layers:
            continue
        names = [tensor.name for tensor in activations_of(graph, node)]
        members += names
        for name in names:
            _widen(limits, name, _range_of(name, ranges))
        _group(graph, node, groups, fixed, limits)
    by_root: dict[str, Range] = {}
    for name in dict.fromkeys(members):
        _widen(by_root, groups.root(name), limits[name])
    prescribed = {groups.root(name): quantization for name, quantization in fixed.items()}
    chosen = {
        root: prescribed.get(root) or activation_quantization(limit)
        for root, limit in by_root.items()
    }
    return {name: chosen[groups.root(name)] for name in dict.fromkeys(members)}


def inputs_of(graph: Graph, node: Node) -> list[Tensor]:
    """Return the float tensors that a node reads, without constants."""
    tensors = (graph.tensors[name] for name in node.inputs if name)
    return [
        tensor for tensor in tensors if tensor.dtype is DType.FLOAT32 and not tensor.is_constant
    ]


def activations_of(graph: Graph, node: Node) -> list[Tensor]:
    """Return the float tensors that a node reads and writes, without constants."""
    outputs = (graph.tensors[name] for name in node.outputs)
    return inputs_of(graph, node) + [tensor for tensor in outputs if tensor.dtype is DType.FLOAT32]


def _range_of(name: str, ranges: Mapping[str, Range]) -> Range:
    if name not in ranges:
        raise QuantizationError("calibration gave it no range", tensor=name)
    return ranges[name]


def _widen(limits: dict[str, Range], name: str, more: Range) -> None:
    limits[name] = limits[name].union(more) if name in limits else more


def _group(
    graph: Graph,
    node: Node,
    groups: ScaleGroups,
    fixed: dict[str, Quantization],
    limits: dict[str, Range],
) -> None:
    spec = spec_of(node)
    inputs = [name for name in node.inputs if name and graph.tensors[name].dtype is DType.FLOAT32]
    match spec.quantization:
        case QuantRule.FIXED_OUTPUT if spec.fixed_output is not None:
            scale, zero_point = spec.fixed_output
            fixed[node.outputs[0]] = Quantization.per_tensor(scale, zero_point)
        case QuantRule.SAME_SCALE:
            value = node.attrs.get("value")
            for name in node.outputs:
                groups.join(inputs[0], name)
                if node.op == "pad" and isinstance(value, int | float):
                    _widen(limits, name, Range(float(value), float(value)))
        case QuantRule.JOINED:
            _join_inputs(graph, node, inputs, groups, fixed)


def _join_inputs(
    graph: Graph,
    node: Node,
    inputs: list[str],
    groups: ScaleGroups,
    fixed: dict[str, Quantization],
) -> None:
    """Let the producers write at the output's scale, but for scales that are prescribed.

    Those are requantized when the layer is emitted.
    """
    prescribed = {groups.root(name) for name in fixed}
    for name in inputs:
        if not graph.tensors[name].is_constant and groups.root(name) not in prescribed:
            groups.join(node.outputs[0], name)
