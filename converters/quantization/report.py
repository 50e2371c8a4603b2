"""Where quantization costs accuracy: signal-to-noise ratios, tensor by tensor and layer by layer.

Three figures for each layer, all against float on the same inputs: the error accumulated up to
its output; its own error, with exact inputs; and what its own error alone does to the model's
outputs. The last one names the culprits: an error may be small at the layer and large behind it
(a channel drowned by an outlier in another), or the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from edgekit.converters.quantization.isolation import Isolation
from edgekit.dtypes import Array
from edgekit.errors import CalibrationError
from edgekit.graph import Graph, Quantization
from edgekit.ops import int8
from edgekit.ops.evaluate import evaluate

NO_ERROR_DB = 200.0
"""Stands for "no error at all"; a ratio is never reported above it, nor below its negative."""

Runner = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""From the float graph's inputs to the real value of every tensor that the quantized model has,
by the float graph's tensor names."""


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedModel:
    """A quantized model as the report sees it, whatever runs it.

    Parameters
    ----------
    run : Runner
    layers : frozenset of str
        Quantized layers, by their names in the float graph.
    scales : mapping of tensor name to Quantization
        Of activations and weights, by their names in the float graph.
    """

    run: Runner
    layers: frozenset[str]
    scales: Mapping[str, Quantization]


@dataclass(frozen=True, slots=True)
class LayerError:
    """What quantization does to one layer.

    Parameters
    ----------
    layer, op, origin : str
        Name, operator, and the layer in the source model.
    tensor : str
        Its (first) output.
    sqnr_db : float
        Of its output in the quantized model: errors of all layers before it included.
    own_sqnr_db : float
        Of its output when it alone is quantized.
    output_sqnr_db : float
        Of the model's outputs (the worst one) when it alone is quantized.
    """

    layer: str
    op: str
    origin: str
    tensor: str
    sqnr_db: float
    own_sqnr_db: float
    output_sqnr_db: float


class Ratio:
    """Signal-to-noise ratio pooled over samples."""

    def __init__(self) -> None:
        self._signal = 0.0
        self._noise = 0.0

    def update(self, exact: Array, approximate: Array) -> None:
        """Add one tensor of one sample (arrays of one shape)."""
        reference = exact.astype(np.float64)
        self._signal += float(np.sum(reference**2))
        self._noise += float(np.sum((approximate.astype(np.float64) - reference) ** 2))

    @property
    def db(self) -> float:
        """The ratio in dB, between -200 and 200."""
        if self._noise == 0.0:
            return NO_ERROR_DB
        if self._signal == 0.0:
            return -NO_ERROR_DB
        ratio = 10.0 * math.log10(self._signal) - 10.0 * math.log10(self._noise)
        return max(-NO_ERROR_DB, min(NO_ERROR_DB, ratio))


def sqnr_db(exact: Array, approximate: Array) -> float:
    """Return the signal-to-quantization-noise ratio in dB, between -200 and 200.

    Parameters
    ----------
    exact, approximate : array of one shape
    """
    ratio = Ratio()
    ratio.update(exact, approximate)
    return ratio.db


def model_of(graph: Graph, quantized: Graph) -> QuantizedModel:
    """Return the report's view of a graph made by ``quantize_static`` from ``graph``."""
    scales: dict[str, Quantization] = {}
    layers: set[str] = set()
    floats = {node.name: node for node in graph.nodes}
    for node in quantized.nodes:
        twin = floats.get(node.name)
        if twin is None or quantized.tensors[node.outputs[0]].quantization is None:
            continue
        layers.add(node.name)
        pairs = zip(
            (*twin.inputs[:2], *twin.outputs), (*node.inputs[:2], *node.outputs), strict=True
        )
        for name, stored in pairs:
            quantization = quantized.tensors[stored].quantization if stored else None
            if quantization is not None:
                scales.setdefault(name, quantization)

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return _real_values(graph, quantized, inputs)

    return QuantizedModel(run, frozenset(layers), scales)


def quantized_inputs(quantized: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return float inputs as ``quantized`` takes them (int8 where its inputs are int8)."""
    stored: dict[str, Array] = {}
    for name in quantized.inputs:
        tensor, array = quantized.tensors[name], inputs[name]
        has_type = array.dtype == tensor.dtype.numpy
        stored[name] = array if has_type else int8.stored_from_real(array, tensor)
    return stored


def _real_values(graph: Graph, quantized: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    values: dict[str, Array] = {}

    def observe(stored_name: str, array: Array) -> None:
        name = stored_name.removesuffix("/int8").removesuffix("/float")
        tensor = quantized.tensors[stored_name]
        if name in graph.tensors and name not in values:
            quantized_here = tensor.quantization is not None
            values[name] = int8.real_from_stored(array, tensor) if quantized_here else array

    evaluate(quantized, quantized_inputs(quantized, inputs), observe=observe)
    return values


def layer_report(
    graph: Graph,
    quantized: Graph | QuantizedModel,
    batches: Iterable[Mapping[str, Array]],
    *,
    isolated_batches: int = 4,
) -> tuple[LayerError, ...]:
    """Return the errors of every quantized layer, in the order of the graph.

    Parameters
    ----------
    graph : Graph
        In floating point.
    quantized : Graph or QuantizedModel
        A graph made from it by ``quantize_static``, or any quantized model that can be run.
    batches : iterable of mapping
        Inputs of ``graph``.
    isolated_batches : int
        How many of them are used to quantize layers one at a time (which costs most).

    Raises
    ------
    CalibrationError
        If there is no batch.
    """
    model = quantized if isinstance(quantized, QuantizedModel) else model_of(graph, quantized)
    nodes = [node for node in graph.nodes if node.name in model.layers]
    total = {node.name: Ratio() for node in nodes}
    own = {node.name: Ratio() for node in nodes}
    at_output = {(node.name, name): Ratio() for node in nodes for name in graph.outputs}
    count = 0
    for batch in batches:
        isolation = Isolation(graph, batch, model.scales)
        approximate = model.run(batch)
        for node in nodes:
            name = node.outputs[0]
            if name in approximate:
                total[node.name].update(isolation.exact[name], approximate[name])
            if count < isolated_batches:
                changed = isolation.quantized_outputs(node)
                own[node.name].update(isolation.exact[name], changed[name])
                for output, array in isolation.propagated(node, changed).items():
                    at_output[node.name, output].update(isolation.exact[output], array)
        count += 1
    if count == 0:
        raise CalibrationError("the report needs inputs, and there is no sample")
    return tuple(
        LayerError(
            layer=node.name,
            op=node.op,
            origin=node.origin,
            tensor=node.outputs[0],
            sqnr_db=total[node.name].db,
            own_sqnr_db=own[node.name].db,
            output_sqnr_db=min(at_output[node.name, name].db for name in graph.outputs),
        )
        for node in nodes
    )


def culprits(report: Iterable[LayerError]) -> tuple[LayerError, ...]:
    """Return the layers in order of blame: those that hurt the model's outputs most first."""
    return tuple(sorted(report, key=lambda error: (error.output_sqnr_db, error.own_sqnr_db)))
