"""Activations of four or two bits, weights of four or two bits: an int8 graph made narrower.

The result has the nodes, the names and the shapes of the int8 graph. An activation that becomes
narrower has a scale of its own; biases follow the scale of their layer's input.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgekit.converters.quantization.narrow_weights import narrow_weights
from edgekit.converters.quantization.parameters import quantized_bias
from edgekit.converters.quantization.refinement import refined
from edgekit.converters.quantization.selection import ScaleGroups
from edgekit.dtypes import Array, DType
from edgekit.errors import QuantizationError, UnsupportedOpError, UsageError
from edgekit.graph import Graph, Node, Quantization, Tensor, TensorKind
from edgekit.ops import int8, spec_of
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView, QuantRule
from edgekit.runtime.lowering import WEIGHTED, lower

Width = tuple[DType, Quantization]
"""Element type of an activation, and its scale."""

WIDTHS: Mapping[int, DType] = {8: DType.INT8, 4: DType.INT4, 2: DType.INT2}
"""Element type of each number of bits."""

_MOVES = frozenset({"average_pool2d", "max_pool2d", "concat", "pad", "paste", "reshape", "slice"})
_WRITERS = _MOVES | {"conv2d", "depthwise_conv2d", "add", "blank"}
"""Operators that can write a narrow tensor."""
_READERS = _MOVES | {"conv2d", "depthwise_conv2d", "add", "reduce_mean"}
"""Operators that can read a narrow tensor."""
NARROW_WEIGHTS = frozenset({"conv2d", "depthwise_conv2d", "fully_connected"})
"""Operators whose weights may have 4 or 2 bits."""


@dataclass(frozen=True, slots=True)
class WidthGroup:
    """Activations that share one quantization, hence one width.

    Parameters
    ----------
    tensors : tuple of str
        In the order in which they are computed.
    narrow_bits : tuple of int
        Those of 4 and 2 with which every layer can write and read them.
    """

    tensors: tuple[str, ...]
    narrow_bits: tuple[int, ...]

    @property
    def can_narrow(self) -> bool:
        """Whether there is a width below 8."""
        return bool(self.narrow_bits)


def width_groups(graph: Graph) -> tuple[WidthGroup, ...]:
    """Return the int8 activations of a graph, grouped by what must share one quantization.

    What the caller hands over or takes stays at 8 bits, like all that is converted from or to
    floating point.

    Parameters
    ----------
    graph : Graph
        Quantized to int8.
    """
    groups = ScaleGroups()
    fixed: set[str] = set()
    for node in graph.nodes:
        _join(graph, node, groups, fixed)
    members: dict[str, list[str]] = {}
    for name, tensor in graph.tensors.items():
        if tensor.dtype is DType.INT8 and not tensor.is_constant and tensor.quantization:
            members.setdefault(groups.root(name), []).append(name)
    producers, consumers = graph.producers(), graph.consumers()
    order = {name: index for index, name in enumerate(producers)}

    def can_narrow(name: str) -> bool:
        is_given = name in graph.inputs or name in graph.outputs or name not in producers
        if is_given or graph.tensors[name].kind is not TensorKind.ACTIVATION or name in fixed:
            return False
        readers = all(reader.op in _READERS for reader in consumers[name])
        return readers and producers[name].op in _WRITERS

    def narrow_bits(names: Collection[str]) -> tuple[int, ...]:
        if not all(can_narrow(name) for name in names) or not _has_one_scale(graph, names):
            return ()
        touching = {producers[name].name: producers[name] for name in names}
        touching |= {node.name: node for name in names for node in consumers[name]}
        return tuple(
            bits
            for bits in WIDTHS
            if bits < 8 and all(_has_kernels(graph, n, names, bits) for n in touching.values())
        )

    found = [
        WidthGroup(tuple(sorted(names, key=lambda name: order.get(name, -1))), narrow_bits(names))
        for names in members.values()
    ]
    return tuple(sorted(found, key=lambda group: order.get(group.tensors[0], -1)))


def _has_one_scale(graph: Graph, names: Collection[str]) -> bool:
    """Whether stored values mean the same: a quantized model may rescale where it joins."""
    first, *others = (int8.quantization_of(graph.tensors[name]) for name in names)
    return all(first.same_as(other) for other in others)


def _has_kernels(graph: Graph, node: Node, names: Collection[str], bits: int) -> bool:
    """Whether a layer has kernels where some of its tensors have fewer bits."""
    if node.op in WEIGHTED:  # those of int8, whatever the bits
        return True
    view = OpView.of(graph, node)
    inputs, outputs = (
        tuple(
            replace(t, dtype=WIDTHS[bits]) if t is not None and t.name in names else t
            for t in tensors
        )
        for tensors in (view.inputs, view.outputs)
    )
    narrow = OpView(node, inputs, tuple(t for t in outputs if t is not None))
    try:
        spec_of(node).infer(narrow)
        lower(narrow, KernelSet.PORTABLE)
    except UnsupportedOpError:
        return False
    return True


def _join(graph: Graph, node: Node, groups: ScaleGroups, fixed: set[str]) -> None:
    rule = spec_of(node).quantization
    names = [name for name in node.inputs if name and graph.tensors[name].dtype is DType.INT8]
    moving = [name for name in names if not graph.tensors[name].is_constant]
    outputs = [name for name in node.outputs if graph.tensors[name].dtype is DType.INT8]
    if rule is QuantRule.SAME_SCALE and moving:
        for name in outputs:
            groups.join(moving[0], name)
    elif rule is QuantRule.JOINED and outputs:
        for name in moving:
            groups.join(outputs[0], name)
        if len(moving) < len(names):  # a constant operand is stored at the shared scale
            fixed.update(outputs)
    elif rule is QuantRule.FIXED_OUTPUT:
        fixed.update(outputs)


def with_bit_widths(
    graph: Graph,
    widths: Mapping[str, Width],
    weight_bits: Mapping[str, int] | None = None,
    *,
    samples: Iterable[Mapping[str, Array]] | None = None,
) -> Graph:
    """Return an int8 graph with narrower activations and weights.

    Parameters
    ----------
    graph : Graph
        Quantized to int8, channels last.
    widths : mapping of tensor name to (DType, Quantization)
        One member of a group (:func:`width_groups`) stands for all of it.
    weight_bits : mapping of node name to int, optional
        4 or 2: layers whose weights become narrower, symmetric with a scale for each output
        channel.
    samples : iterable of mapping, optional
        Calibration inputs, held in memory. With them the weights of layers that read narrow
        inputs, or have narrow weights, are fitted anew and their biases corrected, layer after
        layer (:mod:`edgekit.converters.quantization.refinement`).

    Raises
    ------
    QuantizationError
        If a tensor cannot become narrower, or one group is given two widths.
    UsageError
        If a name is unknown, or weights cannot have the bits asked for.
    """
    chosen = _of_groups(graph, widths)
    narrow = {
        name: replace(graph.tensors[name], dtype=dtype, quantization=quantization)
        for name, (dtype, quantization) in chosen.items()
    }
    rewritten = _rewritten(graph, narrow, _checked(graph, weight_bits or {}))
    if samples is None:
        return rewritten
    return refined(graph, rewritten, samples)


def _of_groups(graph: Graph, widths: Mapping[str, Width]) -> dict[str, Width]:
    """Return the width of every member of the groups that are named."""
    group_of = {name: group for group in width_groups(graph) for name in group.tensors}
    chosen: dict[str, Width] = {}
    for name, (dtype, quantization) in widths.items():
        if name not in group_of:
            raise UsageError(f"no int8 activation is called '{name}' (to be made narrower)")
        group = group_of[name]
        if not group.can_narrow or dtype.bits not in (8, *group.narrow_bits):
            reason = f"a layer that writes or reads it, or its group, has no {dtype.value} form"
            raise QuantizationError(reason, tensor=name)
        for member in group.tensors:
            held = chosen.setdefault(member, (dtype, quantization))
            if held[0] is not dtype or not quantization.same_as(held[1]):
                raise QuantizationError(f"{member} shares its scale and has another", tensor=name)
    return chosen


def _checked(graph: Graph, weight_bits: Mapping[str, int]) -> Mapping[str, int]:
    operators = {node.name: node.op for node in graph.nodes}
    for name, bits in weight_bits.items():
        if operators.get(name) not in NARROW_WEIGHTS:
            raise UsageError(f"layer '{name}' has no weights that could be narrower")
        if bits not in (2, 4):
            raise UsageError(f"layer '{name}': weights of {bits} bits; 4 or 2 are possible")
    return weight_bits


def _rewritten(graph: Graph, narrow: Mapping[str, Tensor], weight_bits: Mapping[str, int]) -> Graph:
    tensors: dict[str, Tensor] = dict(narrow)
    nodes = []
    for node in graph.nodes:
        inputs = list(node.inputs)
        if spec_of(node).quantization is QuantRule.WEIGHTED and _is_integer(graph, node):
            constants = _constants(graph, node, narrow, weight_bits.get(node.name))
            for index, constant in constants.items():
                tensor = replace(constant, name=_name(graph, node, constant, tensors))
                tensors[tensor.name] = tensor
                inputs[index] = tensor.name
        nodes.append(replace(node, inputs=tuple(inputs)))
    return graph.replace(nodes=nodes, tensors=tensors.values())


def _is_integer(graph: Graph, node: Node) -> bool:
    return graph.tensors[node.inputs[0]].dtype is DType.INT8


def _constants(
    graph: Graph, node: Node, narrow: Mapping[str, Tensor], bits: int | None
) -> dict[int, Tensor]:
    """Return weights and bias of a layer by input, where they change."""
    x, weights = (graph.tensors[name] for name in node.inputs[:2])
    new_x, new_weights = narrow.get(x.name, x), weights
    if bits is not None:
        axis = spec_of(node).channel_axis % len(weights.shape)
        new_weights = narrow_weights(weights, axis, WIDTHS[bits])
    changed = {1: new_weights} if bits is not None else {}
    bias = graph.tensors[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
    if bias is None or (new_x is x and bits is None):
        return changed
    step = np.float64(int8.scale_of(x)) * int8.quantization_of(weights).scale.astype(np.float64)
    real = bias.data.astype(np.float64) * step
    scale = float(int8.scale_of(new_x))
    quantization = _per_channel(int8.quantization_of(new_weights), real.size)
    return {**changed, 2: quantized_bias(bias.name, real, input_scale=scale, weights=quantization)}


def _per_channel(quantization: Quantization, channels: int) -> Quantization:
    """Return the scales of weights one per channel, also where one holds for all."""
    scale = np.broadcast_to(quantization.scale, (channels,)).astype(np.float32)
    return Quantization(scale, np.zeros(channels, np.int32), 0)


def _name(graph: Graph, node: Node, constant: Tensor, tensors: Mapping[str, Tensor]) -> str:
    """Return the name of a changed constant: its own, unless several layers read it."""
    readers = [other for other in graph.nodes if constant.name in other.inputs]
    if len(readers) == 1:
        return constant.name
    for reader in readers:
        name = f"{constant.name}/{reader.name}"
        known = tensors.get(name)
        if known is not None and _equal(known, constant):
            return name
    return f"{constant.name}/{node.name}"


def _equal(one: Tensor, other: Tensor) -> bool:
    same = one.quantization is not None and one.quantization.same_as(other.quantization)
    return same and one.dtype is other.dtype and np.array_equal(one.data, other.data)
