"""Quantize one layer of a float graph at a time, and see what reaches the outputs.

The layer's inputs, weights and outputs are rounded to their int8 scales; its arithmetic stays in
floating point, which differs from the integer kernels by less than one step of the output.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekit.converters.quantization.parameters import HIGHEST, LOWEST, along_axis
from edgekit.dtypes import Array
from edgekit.graph import Graph, Node, Quantization
from edgekit.ops import spec_of
from edgekit.ops.evaluate import evaluate
from edgekit.ops.spec import OpCall, OpView


class Isolation:
    """Exact values of every tensor for one input, and re-runs of parts of the graph.

    Parameters
    ----------
    graph : Graph
        In floating point, static shapes.
    inputs : mapping of name to array
    scales : mapping of tensor name to Quantization
        Of activations and weights; tensors without an entry stay exact.

    Attributes
    ----------
    exact : dict of name to array
        Every input and computed tensor.
    """

    def __init__(
        self,
        graph: Graph,
        inputs: Mapping[str, Array],
        scales: Mapping[str, Quantization],
    ) -> None:
        self._graph = graph
        self._scales = scales
        self.exact: dict[str, Array] = {}
        evaluate(graph, inputs, observe=self.exact.__setitem__)

    def quantized_outputs(self, node: Node) -> dict[str, Array]:
        """Return the outputs of a node when it alone is quantized, as real numbers."""
        arrays = tuple(self._rounded(name) if name else None for name in node.inputs)
        outputs = self._run(node, arrays)
        return {
            name: rounded(array, self._scales[name]) if name in self._scales else array
            for name, array in outputs.items()
        }

    def propagated(self, node: Node, changed: Mapping[str, Array]) -> dict[str, Array]:
        """Return the graph's outputs when ``node`` computes ``changed`` and all else is exact."""
        values = dict(changed)
        index = next(i for i, other in enumerate(self._graph.nodes) if other.name == node.name)
        for follower in self._graph.nodes[index + 1 :]:
            if any(name in values for name in follower.inputs):
                arrays = tuple(
                    values.get(name, self._value(name)) if name else None
                    for name in follower.inputs
                )
                values.update(self._run(follower, arrays))
        return {name: values.get(name, self._value(name)) for name in self._graph.outputs}

    def _run(self, node: Node, arrays: tuple[Array | None, ...]) -> dict[str, Array]:
        outputs = spec_of(node).reference(OpCall(OpView.of(self._graph, node), arrays))
        return dict(zip(node.outputs, outputs, strict=True))

    def _rounded(self, name: str) -> Array:
        array = self._value(name)
        return rounded(array, self._scales[name]) if name in self._scales else array

    def _value(self, name: str) -> Array:
        return self.exact[name] if name in self.exact else self._graph.tensors[name].data


def rounded(array: Array, quantization: Quantization) -> Array:
    """Return real values rounded and clipped to what int8 represents, as float32."""
    real = array.astype(np.float64)
    scale, zero_point = along_axis(quantization, real.ndim)
    stored = np.clip(np.rint(real / scale) + zero_point, LOWEST, HIGHEST)
    return np.asarray((stored - zero_point) * scale, np.float32)
