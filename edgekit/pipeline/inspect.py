"""What is in a model: parameters, work, memory, operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.converters.importers import importer_of, load_model
from edgekit.graph import Graph
from edgekit.ops import spec_of
from edgekit.ops.spec import OpView
from edgekit.package_manifest import TensorFacts
from edgekit.schedule import schedule
from edgekit.shapes import bind_dims


@dataclass(frozen=True, slots=True)
class ModelReport:
    """Facts of a model.

    Parameters
    ----------
    name, format : str
    parameters, macs, weights_bytes : int
    peak_activation_bytes : int
        Largest sum of live activations, in the order of the layers that keeps it smallest.
    inputs, outputs : tuple of TensorFacts
    operators : mapping of operator to number of layers
    dims : mapping
        Values that were assumed for named dimensions.
    """

    name: str
    format: str
    parameters: int
    macs: int
    weights_bytes: int
    peak_activation_bytes: int
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    operators: Mapping[str, int]
    dims: Mapping[str, int]


def inspect_model(path: Path, dims: Mapping[str, int] | None = None) -> ModelReport:
    """Read a model and return its facts.

    Raises
    ------
    UsageError, ModelError
        As :func:`edgekit.converters.importers.load_model`.
    """
    graph = load_model(path, dims)
    bound = bind_dims(graph)
    return ModelReport(
        name=graph.name,
        format=importer_of(path).NAME,
        parameters=graph.parameters,
        macs=graph_macs(bound),
        weights_bytes=graph.weights_bytes,
        peak_activation_bytes=schedule(bound).peak_bytes,
        inputs=tuple(TensorFacts.of(graph.tensors[name]) for name in graph.inputs),
        outputs=tuple(TensorFacts.of(graph.tensors[name]) for name in graph.outputs),
        operators=dict(sorted(Counter(node.op for node in graph.nodes).items())),
        dims=dict(graph.dims),
    )


def graph_macs(graph: Graph) -> int:
    """Return the multiply-accumulates of one inference (static shapes)."""
    return sum(spec_of(node).macs(OpView.of(graph, node)) for node in graph.nodes)
