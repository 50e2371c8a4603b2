"""Bias correction: take the mean error that quantization causes back out of each channel.

Rounding weights and inputs shifts the mean of a layer's output channel; the shift is measured on
calibration data, layer after layer with the layers before already corrected, and subtracted from
the bias. It costs nothing at run time.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
ICCV 2019, section 4.2 and appendix D (empirical bias correction).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgekit.converters.quantization.parameters import quantized_bias
from edgekit.dtypes import Array
from edgekit.errors import CalibrationError
from edgekit.graph import Graph, Node, Quantization, Tensor
from edgekit.ops import int8, spec_of
from edgekit.ops.evaluate import initial_states
from edgekit.ops.spec import OpCall, OpView, QuantRule


def correct_biases(graph: Graph, quantized: Graph, batches: Iterable[Mapping[str, Array]]) -> Graph:
    """Return ``quantized`` with the bias of each quantized layer corrected.

    Parameters
    ----------
    graph : Graph
        The float graph that ``quantized`` was made from (static shapes).
    quantized : Graph
        Its layers keep the names of the float ones.
    batches : iterable of mapping
        Inputs of ``graph``; they are held in memory together with the live tensors of each.

    Raises
    ------
    CalibrationError
        If there is no batch.
    """
    held = [dict(batch) for batch in batches]
    if not held:
        raise CalibrationError("bias correction needs calibration data, and there is no sample")
    exact = Progress(graph, held)
    rounded = Progress(quantized, [_as_inputs_of(quantized, batch) for batch in held])
    layers = {node.name: node for node in graph.nodes}
    for node in quantized.nodes:
        rounded.advance_to(node.name)
        twin = layers.get(node.name)
        if twin is not None and _has_int8_weights(quantized, node):
            exact.advance_to(node.name)
            rounded.override(corrected_bias(twin, exact, node, rounded))
    return rounded.graph


class Progress:
    """Runs of one graph on several inputs, advanced node by node in step."""

    def __init__(self, graph: Graph, batches: Sequence[Mapping[str, Array]]) -> None:
        self._graph = graph
        self._runs = [{**initial_states(graph), **batch} for batch in batches]
        self._constants: dict[str, Array] = {}
        self._next = 0
        self._last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}

    @property
    def graph(self) -> Graph:
        """Return the graph with the constants that it has now."""
        return self._graph

    def override(self, constant: Tensor) -> None:
        """Use another constant of the same name from here on."""
        self._graph = self._graph.replace(tensors=[constant])
        self._constants[constant.name] = constant.data

    def advance_to(self, name: str) -> None:
        """Run every node before the named one."""
        while self._graph.nodes[self._next].name != name:
            node = self._graph.nodes[self._next]
            for index, run in enumerate(self._runs):
                call = OpCall(OpView.of(self._graph, node), self.inputs_of(node, index))
                arrays = spec_of(node).reference(call)
                run.update(zip(node.outputs, arrays, strict=True))
                for dead in node.inputs:
                    if self._last_use.get(dead) == self._next:
                        run.pop(dead, None)
            self._next += 1

    def inputs_of(self, node: Node, index: int) -> tuple[Array | None, ...]:
        """Return the arrays that a node reads in one run."""
        return tuple(self._array(name, index) for name in node.inputs)

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self._runs)

    def _array(self, name: str, index: int) -> Array | None:
        if not name:
            return None
        if name in self._runs[index]:
            return self._runs[index][name]
        if name not in self._constants:
            self._constants[name] = self._graph.tensors[name].data
        return self._constants[name]


def _as_inputs_of(quantized: Graph, batch: Mapping[str, Array]) -> dict[str, Array]:
    def converted(name: str) -> Array:
        tensor, array = quantized.tensors[name], batch[name]
        has_type = array.dtype == tensor.dtype.numpy
        return array if has_type else int8.stored_from_real(array, tensor)

    return {name: converted(name) for name in quantized.inputs}


def _has_int8_weights(quantized: Graph, node: Node) -> bool:
    weighted = spec_of(node).quantization is QuantRule.WEIGHTED
    return weighted and quantized.tensors[node.inputs[1]].quantization is not None


def corrected_bias(twin: Node, exact: Progress, node: Node, rounded: Progress) -> Tensor:
    """Return the bias with which the mean of each channel, before the activation, is the exact one.

    Parameters
    ----------
    twin : Node
        The layer among those of ``exact``.
    exact, rounded : Progress
        Advanced to the layer, on the same samples.
    node : Node
        The layer among those of ``rounded``; its bias is stored as int32.
    """
    shift = _channel_means(twin, exact) - _channel_means(node, rounded)
    x, weights, bias = (rounded.graph.tensors[name] for name in node.inputs[:3])
    old = int8.real_from_stored(bias.data, bias).astype(np.float64)
    return quantized_bias(
        bias.name,
        old + shift,
        input_scale=float(int8.scale_of(x)),
        weights=_per_channel(int8.quantization_of(weights), old.size),
    )


def _per_channel(quantization: Quantization, channels: int) -> Quantization:
    """Return the scales of weights one per channel, also where one holds for all."""
    scale = np.broadcast_to(quantization.scale, (channels,)).astype(np.float32)
    return Quantization(scale, np.zeros(channels, np.int32), 0)


def _channel_means(node: Node, progress: Progress) -> npt.NDArray[np.float64]:
    """Return the mean of each output channel before the activation, of real values."""
    plain = replace(node, attrs={**node.attrs, "activation": "none"})
    view = OpView.of(progress.graph, plain)
    axis = 1 if node.attrs.get("layout") == "NCHW" else len(view.outputs[0].shape) - 1
    others = tuple(index for index in range(len(view.outputs[0].shape)) if index != axis)
    total = np.zeros(())
    for index in range(len(progress)):
        arrays = zip(progress.inputs_of(node, index), view.inputs, strict=True)
        real = tuple(_real(array, tensor) for array, tensor in arrays)
        (output,) = spec_of(node).reference(OpCall(view, real))
        total = total + output.mean(axis=others, dtype=np.float64) / len(progress)
    return np.asarray(total, np.float64)


def _real(array: Array | None, tensor: Tensor | None) -> Array | None:
    if array is None or tensor is None or tensor.quantization is None:
        return array
    return int8.real_from_stored(array, tensor)
