"""Collects tensors and nodes of a graph whose shapes are known as it is written down."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekit.dtypes import DType
from edgekit.graph import Attr, Graph, Node, Shape, Tensor, TensorKind

BATCH = "batch"
SEQUENCE = "sequence"


class EncoderBuilder:
    """Graph under construction; every method returns the name of the tensor that it adds.

    Parameters
    ----------
    name : str
        Name of the graph.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tensors: dict[str, Tensor] = {}
        self._nodes: list[Node] = []
        self._inputs: list[str] = []

    def input(self, name: str, shape: Shape, dtype: DType) -> str:
        """Add a graph input."""
        self._inputs.append(name)
        return self._add(Tensor(name, shape, dtype, TensorKind.INPUT))

    def constant(self, tensor: Tensor) -> str:
        """Add a constant."""
        return self._add(tensor)

    def scalar(self, name: str, value: float) -> str:
        """Add a float32 constant of shape (1,)."""
        return self._add(Tensor.constant(name, np.array([value], np.float32)))

    def apply(
        self, op: str, name: str, inputs: tuple[str, ...], shape: Shape, /, **attrs: Attr
    ) -> str:
        """Add a node with one float32 output of ``shape``; node and output share ``name``."""
        self._nodes.append(Node(name, op, inputs, (name,), attrs))
        return self._add(Tensor(name, shape, DType.FLOAT32))

    def finish(self, output: str, dims: Mapping[str, int], metadata: Mapping[str, str]) -> Graph:
        """Return the graph."""
        return Graph(
            name=self._name,
            tensors=self._tensors,
            nodes=tuple(self._nodes),
            inputs=tuple(self._inputs),
            outputs=(output,),
            dims=dict(dims),
            metadata=dict(metadata),
        )

    def _add(self, tensor: Tensor) -> str:
        self._tensors[tensor.name] = tensor
        return tensor.name
