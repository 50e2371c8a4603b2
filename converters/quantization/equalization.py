"""Equalize the channels between two layers, so that one scale serves them all.

Where a layer's output passes only through operators that keep positive factors (ReLU, PReLU,
pooling) to one next layer, dividing a channel of the first by a factor and multiplying the
matching weights of the second by it changes nothing in floating point. In int8 a channel with
small values is no longer drowned by an outlier in another.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
ICCV 2019, section 4.1. The factors are those of Xiao et al., "SmoothQuant", ICML 2023, equation 4
with alpha 1/2, because weights have a scale per channel here; a depthwise second layer takes the
whole factor, for its weights are rescaled for free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgekit.converters.calibration.ranges import Tracer, trace_reference
from edgekit.dtypes import Array, DType
from edgekit.graph import Graph, Node, Tensor
from edgekit.ops import spec_of
from edgekit.ops.spec import OpView

_WEIGHTED = frozenset({"conv2d", "depthwise_conv2d", "fully_connected"})
_HOMOGENEOUS = frozenset(
    {"relu", "leaky_relu", "prelu", "max_pool2d", "average_pool2d", "identity"}
)
_KEEPING_ACTIVATIONS = frozenset({"none", "relu"})
_LARGEST_FACTOR = 1e4


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two layers whose channels can be rescaled against each other.

    Parameters
    ----------
    first, second : Node
        The layer that writes the channels, and the one that reads them.
    tensor : str
        What ``second`` reads.
    """

    first: Node
    second: Node
    tensor: str


def equalize(
    graph: Graph,
    batches: Iterable[Mapping[str, Array]],
    *,
    trace: Tracer = trace_reference,
) -> Graph:
    """Return an equal float graph whose channels are of comparable size.

    Parameters
    ----------
    graph : Graph
        In floating point, activations fused.
    batches : iterable of mapping
        Calibration inputs.
    trace : callable
        Runs ``graph`` and shows every tensor.
    """
    pairs = equalizable_pairs(graph)
    if not pairs:
        return graph
    largest = {pair.tensor: np.zeros(0) for pair in pairs}
    axes = {pair.tensor: _channel_axis(pair.second, graph) for pair in pairs}

    def observe(name: str, array: Array) -> None:
        if name in largest:
            axis = axes[name]
            others = tuple(index for index in range(array.ndim) if index != axis)
            peaks = np.abs(array).max(axis=others).astype(np.float64)
            known = largest[name]
            largest[name] = np.maximum(known, peaks) if known.size else peaks

    for batch in batches:
        trace(graph, batch, observe)
    return _rescaled(graph, pairs, largest)


def equalizable_pairs(graph: Graph) -> list[Pair]:
    """Return the pairs of layers with nothing but homogeneous operators between them."""
    readers = graph.consumers()
    found = []
    for node in graph.nodes:
        if node.op not in _WEIGHTED or not _has_own_weights(graph, node, readers):
            continue
        second, tensor = _next_layer(graph, node, readers)
        if second is not None and _has_own_weights(graph, second, readers):
            found.append(Pair(node, second, tensor))
    return found


def _has_own_weights(graph: Graph, node: Node, readers: Mapping[str, list[Node]]) -> bool:
    constants = [name for name in node.inputs[1:] if name]
    return all(
        graph.tensors[name].is_constant
        and graph.tensors[name].dtype is DType.FLOAT32
        and len(readers[name]) == 1
        for name in constants
    )


def _next_layer(
    graph: Graph, node: Node, readers: Mapping[str, list[Node]]
) -> tuple[Node | None, str]:
    """Follow homogeneous operators to the one layer that reads the channels."""
    layer = node
    while node.attrs.get("activation", "none") in _KEEPING_ACTIVATIONS:
        tensor = node.outputs[0]
        if len(readers[tensor]) != 1 or tensor in graph.outputs:
            return None, ""
        (node,) = readers[tensor]
        if node.inputs[0] != tensor:
            return None, ""
        if node.op in _WEIGHTED:
            channels = _channels_out(graph, layer)
            shape = graph.tensors[tensor].shape
            fits = shape[_channel_axis(node, graph)] == channels
            multiplied = (
                node.op == "depthwise_conv2d" and node.attrs.get("depth_multiplier", 1) != 1
            )
            return (node, tensor) if fits and not multiplied else (None, "")
        if node.op not in _HOMOGENEOUS:
            return None, ""
    return None, ""


def _channels_out(graph: Graph, node: Node) -> int:
    weights = graph.tensors[node.inputs[1]]
    return weights.static_shape[spec_of(node).channel_axis]


def _channel_axis(node: Node, graph: Graph) -> int:
    """Return the axis of the channels in what a layer reads."""
    rank = len(graph.tensors[node.inputs[0]].shape)
    return 1 if node.attrs.get("layout") == "NCHW" else rank - 1


def _rescaled(
    graph: Graph, pairs: Iterable[Pair], largest: Mapping[str, npt.NDArray[np.float64]]
) -> Graph:
    data: dict[str, npt.NDArray[np.float64]] = {}

    def current(name: str) -> npt.NDArray[np.float64]:
        return data.get(name, graph.tensors[name].data.astype(np.float64))

    for pair in pairs:
        peaks = largest[pair.tensor]
        weights_name = pair.second.inputs[1]
        weights = current(weights_name)
        groups = OpView.of(graph, pair.second).int_attr("groups", 1)
        factors = _factors(pair.second, weights, groups, peaks)
        data[weights_name] = weights * _along_inputs(pair.second, weights, groups, factors)
        out_axis = spec_of(pair.first).channel_axis
        first_name = pair.first.inputs[1]
        first = current(first_name)
        shape = [1] * first.ndim
        shape[out_axis] = factors.size
        data[first_name] = first / factors.reshape(shape)
        if len(pair.first.inputs) > 2 and pair.first.inputs[2]:
            data[pair.first.inputs[2]] = current(pair.first.inputs[2]) / factors
    changed = [Tensor.constant(name, array.astype(np.float32)) for name, array in data.items()]
    return replace(graph, tensors={**graph.tensors, **{t.name: t for t in changed}})


def _factors(
    second: Node,
    weights: npt.NDArray[np.float64],
    groups: int,
    peaks: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return a factor for each channel, with the largest value of the tensor left as it is."""
    alive = peaks > 0
    if not alive.any():
        return np.ones_like(peaks)
    if second.op == "depthwise_conv2d" or groups == peaks.size:
        wanted = peaks
    else:
        uses = _input_peaks(second, weights, groups, peaks.size)
        alive &= uses > 0
        wanted = np.sqrt(peaks / np.where(alive, uses, 1.0))
    factors = np.where(alive, wanted, 1.0)
    # Normalized so that the tensor keeps its largest value, hence its scale.
    if alive.any():
        factors = factors * (peaks[alive] / factors[alive]).max() / peaks.max()
    return np.where(alive, np.clip(factors, 1 / _LARGEST_FACTOR, _LARGEST_FACTOR), 1.0)


def _channels_first(second: Node, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return weights as (C_out, C_in / groups, elements)."""
    if second.op == "fully_connected":
        return weights[:, :, None]
    if second.attrs.get("layout") == "NCHW":
        return weights.reshape(*weights.shape[:2], -1)
    return np.moveaxis(weights, 3, 1).reshape(weights.shape[0], weights.shape[3], -1)


def _input_peaks(
    second: Node, weights: npt.NDArray[np.float64], groups: int, channels: int
) -> npt.NDArray[np.float64]:
    """Return how strongly each input channel is used, relative to each output's weights."""
    table = np.abs(_channels_first(second, weights)).max(axis=2)
    table = table / np.maximum(table.max(axis=1, keepdims=True), 1e-30)
    per_group = table.reshape(groups, table.shape[0] // groups, table.shape[1])
    return np.asarray(per_group.max(axis=1).reshape(channels))


def _along_inputs(
    second: Node,
    weights: npt.NDArray[np.float64],
    groups: int,
    factors: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return the factors shaped to multiply the weights of ``second``."""
    if second.op == "depthwise_conv2d":
        return factors.reshape(1, 1, 1, -1)
    outputs = weights.shape[0]
    rows = np.repeat(factors.reshape(groups, -1), outputs // groups, axis=0)
    if second.op == "fully_connected":
        return rows
    if second.attrs.get("layout") == "NCHW":
        return rows[:, :, None, None]
    return rows[:, None, None, :]
