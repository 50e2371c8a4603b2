"""Static int8 quantization: a float graph and calibrated ranges in, an int8 graph out.

The result follows TensorFlow Lite's conventions, runs bit for bit alike on the reference and on
the native kernels, and keeps the names of layers and tensors: the int8 form of a tensor whose
float form exists too is called ``<name>/int8``, the float form of an int8 tensor
``<name>/float``.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, section 2; TensorFlow Lite 8-bit quantization
specification (ai.google.dev/edge/litert/models/quantization_spec).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np

from edgekit.converters.calibration.observers import Range
from edgekit.converters.quantization.bias_correction import correct_biases
from edgekit.converters.quantization.parameters import (
    activation_quantization,
    constant_range,
    quantized_bias,
    quantized_constant,
    weight_quantization,
)
from edgekit.converters.quantization.selection import assign_scales, quantizable_layers
from edgekit.dtypes import Array, DType
from edgekit.graph import Graph, Node, Quantization, Tensor, TensorKind
from edgekit.ops import spec_of
from edgekit.ops.spec import QuantRule

INT8_SUFFIX = "/int8"
FLOAT_SUFFIX = "/float"


def quantize_static(
    graph: Graph,
    ranges: Mapping[str, Range],
    *,
    batches: Iterable[Mapping[str, Array]] | None = None,
    keep_float: Collection[str] = (),
    float_io: bool = True,
) -> Graph:
    """Return ``graph`` with int8 arithmetic wherever its operators define it.

    Parameters
    ----------
    graph : Graph
        In floating point, batch normalisation folded, activations fused.
    ranges : mapping of tensor name to Range
        From :func:`edgekit.converters.calibration.ranges.calibrate`.
    batches : iterable of mapping, optional
        Calibration inputs; with them the biases are corrected (see
        :mod:`edgekit.converters.quantization.bias_correction`).
    keep_float : collection of str
        Layers that stay in floating point, between ``dequantize`` and ``quantize`` nodes.
    float_io : bool
        Whether the graph's inputs and outputs stay float32. Otherwise those that quantized layers
        read or write are int8.

    Returns
    -------
    Graph

    Raises
    ------
    QuantizationError
        If a tensor has no range, or a weight is not finite.
    UsageError
        If ``keep_float`` names an unknown layer.
    """
    layers = quantizable_layers(graph, keep_float)
    scales = assign_scales(graph, layers, ranges)
    quantized = _Rewriter(graph, layers, scales, float_io=float_io).rewritten()
    return quantized if batches is None else correct_biases(graph, quantized, batches)


class _Rewriter:
    """Writes the nodes of the quantized graph in order, converting tensors where needed."""

    def __init__(
        self,
        graph: Graph,
        layers: Collection[str],
        scales: Mapping[str, Quantization],
        *,
        float_io: bool,
    ) -> None:
        self._graph = graph
        self._layers = layers
        self._scales = scales
        self._float_io = float_io
        self._readers = graph.consumers()
        self._written_int8 = {
            name for node in graph.nodes if node.name in layers for name in node.outputs
        }
        self._nodes: list[Node] = []
        self._tensors: dict[str, Tensor] = dict(graph.tensors)
        self._int8_form: dict[str, str] = {}
        self._float_form: dict[str, str] = {}

    def rewritten(self) -> Graph:
        """Return the quantized graph."""
        for name in self._graph.inputs:
            self._add_input(name)
        for node in self._graph.nodes:
            if node.name in self._layers:
                self._add_int8_layer(node)
            else:
                inputs = tuple(self._as_float(name) for name in node.inputs)
                self._nodes.append(replace(node, inputs=inputs))
        outputs = tuple(self._as_output(name) for name in self._graph.outputs)
        return self._graph.replace(
            nodes=self._nodes, tensors=self._tensors.values(), outputs=outputs
        )

    def _add_input(self, name: str) -> None:
        tensor = self._graph.tensors[name]
        becomes_int8 = not self._float_io and name in self._scales
        if becomes_int8 and all(reader.name in self._layers for reader in self._readers[name]):
            self._tensors[name] = replace(tensor, dtype=DType.INT8, quantization=self._scales[name])
            self._int8_form[name] = name

    def _as_output(self, name: str) -> str:
        if self._float_io or name not in self._int8_form:
            return self._as_float(name)
        return self._int8_form[name]

    def _as_float(self, name: str) -> str:
        """Return the float form of a tensor, dequantizing once where there is none yet."""
        if name not in self._written_int8 and self._int8_form.get(name) != name:
            return name
        if name not in self._float_form:
            is_output = self._float_io and name in self._graph.outputs
            target = name if is_output else name + FLOAT_SUFFIX
            source = self._int8_form[name]
            self._convert("dequantize", source, replace(self._graph.tensors[name], name=target))
            self._float_form[name] = target
        return self._float_form[name]

    def _as_int8(self, name: str) -> str:
        """Return the int8 form of an activation, quantizing once where there is none yet."""
        if name not in self._int8_form:
            target = self._int8_tensor(name, name + INT8_SUFFIX, self._scales[name])
            self._convert("quantize", name, target)
            self._int8_form[name] = target.name
        return self._int8_form[name]

    def _convert(self, op: str, source: str, target: Tensor) -> None:
        tensor = replace(target, kind=TensorKind.ACTIVATION)
        self._tensors[tensor.name] = tensor
        self._nodes.append(Node(f"{tensor.name}/{op}", op, (source,), (tensor.name,)))

    def _int8_tensor(self, name: str, target: str, quantization: Quantization) -> Tensor:
        return replace(
            self._graph.tensors[name], name=target, dtype=DType.INT8, quantization=quantization
        )

    def _add_int8_layer(self, node: Node) -> None:
        rule = spec_of(node).quantization
        if rule is QuantRule.WEIGHTED:
            inputs = self._weighted_inputs(node)
        else:
            inputs = tuple(self._plain_input(node, name) for name in node.inputs)
        outputs = []
        for name in node.outputs:
            is_float_output = self._float_io and name in self._graph.outputs
            target = name + INT8_SUFFIX if is_float_output else name
            self._tensors[target] = self._int8_tensor(name, target, self._scales[name])
            self._int8_form[name] = target
            outputs.append(target)
        self._nodes.append(replace(node, inputs=inputs, outputs=tuple(outputs)))

    def _plain_input(self, node: Node, name: str) -> str:
        if not name or self._graph.tensors[name].dtype is not DType.FLOAT32:
            return name
        rule, output = spec_of(node).quantization, self._scales[node.outputs[0]]
        shares_scale = rule in (QuantRule.SAME_SCALE, QuantRule.JOINED)
        if self._graph.tensors[name].is_constant:
            return self._constant_input(node, name, output if shares_scale else None)
        stored = self._as_int8(name)
        if rule is not QuantRule.JOINED or output.same_as(self._scales[name]):
            return stored
        target = self._int8_tensor(name, f"{name}/{node.name}", output)
        self._convert("quantize", stored, target)
        return target.name

    def _constant_input(self, node: Node, name: str, shared: Quantization | None) -> str:
        tensor = self._graph.tensors[name]
        quantization = shared or activation_quantization(constant_range(tensor))
        target = self._constant_name(name, node)
        self._tensors[target] = quantized_constant(tensor, target, quantization)
        return target

    def _weighted_inputs(self, node: Node) -> tuple[str, ...]:
        graph, stored = self._graph, self._as_int8(node.inputs[0])
        weights = graph.tensors[node.inputs[1]]
        bias_name = node.inputs[2] if len(node.inputs) > 2 else ""
        bias = graph.tensors[bias_name].data if bias_name else None
        input_scale = float(self._scales[node.inputs[0]].scale[0])
        axis = spec_of(node).channel_axis % len(weights.shape)
        quantization = weight_quantization(weights, axis, input_scale=input_scale, bias=bias)
        weights_name = self._constant_name(weights.name, node)
        self._tensors[weights_name] = quantized_constant(weights, weights_name, quantization)
        real = np.zeros(quantization.scale.size) if bias is None else bias.astype(np.float64)
        target = self._constant_name(bias_name, node) if bias_name else f"{node.name}/bias"
        self._tensors[target] = quantized_bias(
            target, real, input_scale=input_scale, weights=quantization
        )
        return (stored, weights_name, target)

    def _constant_name(self, name: str, node: Node) -> str:
        """Return the name of a constant's int8 form: its own, unless several layers read it."""
        shared = len(self._readers[name]) > 1 or name in self._graph.outputs
        return f"{name}/{node.name}" if shared else name
