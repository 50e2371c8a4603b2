"""Fusion of neighbours into convolutions, dense layers and arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, DType
from edgekit.graph import Attr, Graph, Node, Tensor
from edgekit.ops.spec import OpView

Doubles = npt.NDArray[np.float64]

_OUTPUT_CHANNEL_AXIS = {"conv2d": 0, "depthwise_conv2d": 3, "fully_connected": 0}
"""Axis of the weights that carries output channels."""

_ACTIVATED = frozenset(
    {
        *_OUTPUT_CHANNEL_AXIS,
        "transpose_conv2d",
        "add",
        "average_pool2d",
        "div",
        "max_pool2d",
        "mul",
        "sub",
    }
)
"""Operators with a fused activation."""

_CLAMPS = {(0.0, np.inf): "relu", (0.0, 6.0): "relu6", (-1.0, 1.0): "relu_n1_1"}


class _Fusion:
    """New nodes, which of them writes each tensor, and which tensors have one reader only."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.tensors: list[Tensor] = []
        self._writer: dict[str, int] = {}
        consumers = graph.consumers()
        self._lone = {
            name
            for name, readers in consumers.items()
            if len(readers) == 1 and name not in graph.outputs
        }

    def keep(self, node: Node) -> None:
        """Add a node as it is."""
        self._writer.update(dict.fromkeys(node.outputs, len(self.nodes)))
        self.nodes.append(node)

    def producer(self, name: str) -> Node | None:
        """Return the node that writes a tensor, if nobody but the asking node reads it."""
        index = self._writer.get(name)
        return self.nodes[index] if index is not None and name in self._lone else None

    def extend(self, before: Node, node: Node, changed: Node) -> None:
        """Let ``changed`` stand for ``before`` and for ``node`` that follows it."""
        index = self._writer[before.outputs[0]]
        self.nodes[index] = replace(changed, outputs=node.outputs)
        self._writer[node.outputs[0]] = index

    def constant(self, wish: str, data: Array) -> str:
        """Add a constant and return its name."""
        taken = {tensor.name for tensor in self.tensors}
        name, number = wish, 1
        while name in self.graph.tensors or name in taken:
            name, number = f"{wish}.{number}", number + 1
        self.tensors.append(Tensor.constant(name, data))
        return name

    def tensor(self, name: str) -> Tensor:
        """Return a tensor, also a new one."""
        found = self.graph.tensors.get(name)
        return found or next(tensor for tensor in self.tensors if tensor.name == name)

    def finished(self) -> Graph:
        """Return the new graph."""
        return self.graph.replace(nodes=self.nodes, tensors=self.tensors)


def fuse_affine(graph: Graph) -> Graph:
    """Fold what scales or shifts the channels of a layer's result into its weights and bias.

    That is batch normalisation, and multiplication, division, addition and subtraction of a
    constant that has one number, or one for each channel.
    """
    fusion = _Fusion(graph)
    for node in graph.nodes:
        if not _fuse_affine_node(fusion, node):
            fusion.keep(node)
    return fusion.finished()


def _fuse_affine_node(fusion: _Fusion, node: Node) -> bool:
    index = _data_input(fusion.graph, node)
    before = fusion.producer(node.inputs[index]) if index is not None else None
    if index is None or before is None or not _has_plain_weights(fusion, before):
        return False
    affine = _affine_of(fusion, node, index, before)
    if affine is None:
        return False
    scale, shift = affine
    weights = fusion.tensor(before.inputs[1])
    bias = before.inputs[2] if len(before.inputs) > 2 else ""
    offset = fusion.tensor(bias).data.astype(np.float64) if bias else np.zeros(scale.size)
    weights_name = weights.name
    if not np.all(scale == 1):
        shape = [1] * len(weights.shape)
        shape[_OUTPUT_CHANNEL_AXIS[before.op]] = -1
        scaled = weights.data.astype(np.float64) * scale.reshape(shape)
        weights_name = fusion.constant(f"{before.name}/weights", scaled.astype(np.float32))
    bias = fusion.constant(f"{before.name}/bias", (offset * scale + shift).astype(np.float32))
    attrs = {**before.attrs, "activation": node.attrs.get("activation", "none")}
    changed = replace(before, inputs=(before.inputs[0], weights_name, bias), attrs=attrs)
    fusion.extend(before, node, changed)
    return True


def _data_input(graph: Graph, node: Node) -> int | None:
    """Return which input of an affine operator is computed; None for other operators."""
    if node.op == "batch_norm":
        return 0
    if node.op not in {"add", "sub", "mul", "div"}:
        return None
    constants = [graph.tensors[name].is_constant for name in node.inputs]
    if sum(constants) != 1 or (node.op == "div" and constants[0]):
        return None
    return constants.index(False)


def _has_plain_weights(fusion: _Fusion, node: Node) -> bool:
    """Whether a layer has constant float weights and bias, and no activation yet."""
    if node.op not in _OUTPUT_CHANNEL_AXIS or node.attrs.get("activation", "none") != "none":
        return False
    weights = [fusion.tensor(name) for name in node.inputs[1:3] if name]
    return all(
        tensor.is_constant and tensor.dtype is DType.FLOAT32 and tensor.quantization is None
        for tensor in weights
    )


def _affine_of(
    fusion: _Fusion, node: Node, index: int, before: Node
) -> tuple[Doubles, Doubles] | None:
    """Return scale and shift of each channel, float64 of shape (C_out,); None if it is no such."""
    output = fusion.graph.tensors[node.outputs[0]]
    if output.shape != fusion.graph.tensors[node.inputs[index]].shape:
        return None
    axis = _channel_axis(before, len(output.shape))
    channels = fusion.tensor(before.inputs[1]).static_shape[_OUTPUT_CHANNEL_AXIS[before.op]]
    if node.op == "batch_norm":
        return _batch_norm_affine(fusion.graph, node, axis)
    constant = fusion.graph.tensors[node.inputs[1 - index]]
    values = _per_channel(constant, axis, len(output.shape), channels)
    if values is None:
        return None
    ones, zeros = np.ones(channels), np.zeros(channels)
    if node.op == "add":
        return ones, values
    if node.op == "sub":
        return (ones, -values) if index == 0 else (-ones, values)
    if node.op == "mul":
        return values, zeros
    return (1.0 / values, zeros) if np.all(values != 0) else None


def _channel_axis(node: Node, rank: int) -> int:
    return 1 if node.attrs.get("layout") == "NCHW" else rank - 1


def _batch_norm_affine(graph: Graph, node: Node, axis: int) -> tuple[Doubles, Doubles] | None:
    view = OpView.of(graph, node)
    statistics = [view.input(i) for i in range(1, 5)]
    if view.int_attr("axis") % len(view.input(0).shape) != axis:
        return None
    if not all(tensor.is_constant for tensor in statistics):
        return None
    gamma, beta, mean, variance = (tensor.data.astype(np.float64) for tensor in statistics)
    scale = gamma / np.sqrt(variance + view.float_attr("epsilon", 1e-5))
    return scale, beta - mean * scale


def _per_channel(constant: Tensor, axis: int, rank: int, channels: int) -> Doubles | None:
    """Return a constant's value for each channel, or None where it varies along other axes."""
    if constant.dtype is not DType.FLOAT32 or len(constant.shape) > rank:
        return None
    shape = (1,) * (rank - len(constant.shape)) + constant.static_shape
    if any(dim != 1 for position, dim in enumerate(shape) if position != axis):
        return None
    return np.broadcast_to(constant.data.astype(np.float64).reshape(-1), (channels,))


def fuse_padding(graph: Graph) -> Graph:
    """Let convolutions pad their input themselves, where a ``pad`` of zeros stands before them."""
    producers = graph.producers()
    nodes = [_with_padding(graph, node, producers) for node in graph.nodes]
    return graph.replace(nodes=nodes)


def _with_padding(graph: Graph, node: Node, producers: dict[str, Node]) -> Node:
    pad = producers.get(node.inputs[0]) if node.op in {"conv2d", "depthwise_conv2d"} else None
    if pad is None or pad.op != "pad" or pad.attrs.get("mode", "constant") != "constant":
        return node
    view = OpView.of(graph, pad)
    first = 2 if node.attrs.get("layout") == "NCHW" else 1
    pairs = view.pairs_attr("padding")
    image = pairs[first : first + 2]
    if view.float_attr("value", 0.0) != 0 or sum(map(sum, pairs)) != sum(map(sum, image)):
        return node
    own = OpView.of(graph, node).pairs_attr("padding")
    padding: Attr = tuple(
        (a + before, b + after) for (a, b), (before, after) in zip(own, image, strict=True)
    )
    inputs = (pad.inputs[0], *node.inputs[1:])
    # There may be another pad before this one.
    padded = replace(node, inputs=inputs, attrs={**node.attrs, "padding": padding})
    return _with_padding(graph, padded, producers)


def fuse_activations(graph: Graph) -> Graph:
    """Move ``relu``, ``relu6``, ``relu_n1_1`` and equal clips into the node before them."""
    fusion = _Fusion(graph)
    for node in graph.nodes:
        activation = _clamp_name(node)
        before = fusion.producer(node.inputs[0]) if activation else None
        if before is None or not _can_activate(graph, before, node):
            fusion.keep(node)
            continue
        attrs = {**before.attrs, "activation": activation}
        fusion.extend(before, node, replace(before, attrs=attrs))
    return fusion.finished()


def _clamp_name(node: Node) -> str:
    if node.op in _CLAMPS.values():
        return node.op
    if node.op != "clip":
        return ""
    bounds = (node.attrs.get("min"), node.attrs.get("max"))
    return next((name for limits, name in _CLAMPS.items() if limits == bounds), "")


def _can_activate(graph: Graph, before: Node, node: Node) -> bool:
    output = graph.tensors[node.outputs[0]]
    return (
        before.op in _ACTIVATED
        and before.attrs.get("activation", "none") == "none"
        and output.dtype.is_float
    )
