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
from edgekit.graph import Graph, Node, Tensor
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
    corrected: dict[str, Tensor] = {}
    for node in quantized.nodes:
        rounded.advance_to(node.name)
        twin = layers.get(node.name)
        if twin is not None and _has_int8_weights(quantized, node):
            exact.advance_to(node.name)
            bias = _corrected_bias(graph, twin, exact, quantized, node, rounded)
            corrected[bias.name] = bias
            rounded.override(bias)
    return quantized.replace(tensors=corrected.values())


class Progress:
    """Runs of one graph on several inputs, advanced node by node in step."""

    def __init__(self, graph: Graph, batches: Sequence[Mapping[str, Array]]) -> None:
        self._graph = graph
        self._runs = [{**initial_states(graph), **batch} for batch in batches]
        self._constants: dict[str, Array] = {}
        self._next = 0
        self._last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}

    def override(self, constant: Tensor) -> None:
        """Use other data for a constant from here on."""
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


def _corrected_bias(
    graph: Graph,
    twin: Node,
    exact: Progress,
    quantized: Graph,
    node: Node,
    rounded: Progress,
) -> Tensor:
    """Return the bias that makes the mean of each channel, before the activation, that of float."""
    plain = replace(twin, attrs={**twin.attrs, "activation": "none"})
    view = OpView.of(graph, plain)
    tensors = [quantized.tensors[name] for name in node.inputs]
    shift: npt.NDArray[np.float64] = np.zeros(tensors[2].elements)
    for index in range(len(exact)):
        stored = rounded.inputs_of(node, index)
        real = tuple(
            int8.real_from_stored(array, tensor)
            for array, tensor in zip(stored, tensors, strict=True)
            if array is not None
        )
        wanted = OpCall(view, exact.inputs_of(twin, index))
        got = OpCall(view, real)
        shift += (_channel_means(wanted) - _channel_means(got)) / len(exact)
    old = int8.real_from_stored(tensors[2].data, tensors[2]).astype(np.float64)
    weights = tensors[1].quantization
    assert weights is not None  # checked by _has_int8_weights
    input_scale = float(int8.scale_of(tensors[0]))
    return quantized_bias(node.inputs[2], old + shift, input_scale=input_scale, weights=weights)


def _channel_means(call: OpCall) -> npt.NDArray[np.float64]:
    (output,) = spec_of(call.view.node).reference(call)
    axis = 1 if call.view.node.attrs.get("layout") == "NCHW" else output.ndim - 1
    others = tuple(index for index in range(output.ndim) if index != axis)
    return np.asarray(output.mean(axis=others, dtype=np.float64))
