"""Half precision: every float32 tensor becomes float16, between casts at the model's borders.

Weights take half the bytes; processors with half-precision arithmetic (phones' big cores, GPUs,
neural units) take about half the time. What does not fit the narrower exponent stays in float32.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from edgekit.converters.calibration.observers import Range
from edgekit.converters.quantization.selection import check_layer_names
from edgekit.dtypes import DType
from edgekit.graph import Graph, Node, Tensor, TensorKind

LARGEST = float(np.finfo(np.float16).max)
"""65,504."""


def convert_float16(
    graph: Graph,
    *,
    ranges: Mapping[str, Range] | None = None,
    keep_float: Collection[str] = (),
) -> Graph:
    """Return ``graph`` in half precision, its inputs and outputs still float32.

    Parameters
    ----------
    graph : Graph
        In single precision.
    ranges : mapping of tensor name to Range, optional
        From calibration: layers that read or write values beyond half of float16's range stay in
        float32.
    keep_float : collection of str
        Layers that stay in float32 in any case.

    Raises
    ------
    UsageError
        If ``keep_float`` names an unknown layer.
    """
    check_layer_names(graph, keep_float)
    wide = {name for name, limits in (ranges or {}).items() if _is_wide(limits)}
    kept = {node.name for node in graph.nodes if _stays(graph, node, keep_float, wide)}
    return _HalfRewriter(graph, kept).rewritten()


def _is_wide(limits: Range) -> bool:
    return max(-limits.minimum, limits.maximum) > LARGEST / 2


def _stays(graph: Graph, node: Node, keep_float: Collection[str], wide: Collection[str]) -> bool:
    """Whether a node stays as it is: asked for, not in float, or beyond half precision."""
    if node.name in keep_float or node.op == "cast":
        return True
    tensors = [graph.tensors[name] for name in (*node.inputs, *node.outputs) if name]
    floats = [tensor for tensor in tensors if tensor.dtype is DType.FLOAT32]
    if not floats or any(tensor.kind is TensorKind.STATE for tensor in tensors):
        return True
    if any(tensor.name in wide for tensor in floats):
        return True
    constants = (tensor.data for tensor in floats if tensor.is_constant)
    return any(bool(np.any(np.abs(data) > LARGEST)) for data in constants)


class _HalfRewriter:
    def __init__(self, graph: Graph, kept: Collection[str]) -> None:
        self._graph = graph
        self._kept = kept
        self._nodes: list[Node] = []
        self._tensors: dict[str, Tensor] = dict(graph.tensors)
        self._forms: dict[tuple[str, DType], str] = {}

    def rewritten(self) -> Graph:
        for name in self._graph.inputs:
            self._forms[name, self._graph.tensors[name].dtype] = name
        for node in self._graph.nodes:
            dtype = DType.FLOAT32 if node.name in self._kept else DType.FLOAT16
            inputs = tuple(self._in(name, dtype) for name in node.inputs)
            outputs = tuple(self._out(name, dtype) for name in node.outputs)
            self._nodes.append(replace(node, inputs=inputs, outputs=outputs))
        for name in self._graph.outputs:
            self._in(name, DType.FLOAT32)
        return self._graph.replace(nodes=self._nodes, tensors=self._tensors.values())

    def _out(self, name: str, dtype: DType) -> str:
        tensor = self._graph.tensors[name]
        if tensor.dtype is not DType.FLOAT32 or dtype is DType.FLOAT32:
            self._forms[name, tensor.dtype] = name
            return name
        target = f"{name}/float16" if name in self._graph.outputs else name
        self._tensors[target] = replace(tensor, name=target, dtype=dtype)
        self._forms[name, dtype] = target
        return target

    def _in(self, name: str, dtype: DType) -> str:
        """Return the form of a tensor that a layer of ``dtype`` reads, cast once if need be."""
        if not name or self._graph.tensors[name].dtype is not DType.FLOAT32:
            return name
        if (name, dtype) not in self._forms:
            self._forms[name, dtype] = self._converted(name, dtype)
        return self._forms[name, dtype]

    def _converted(self, name: str, dtype: DType) -> str:
        tensor = self._graph.tensors[name]
        if tensor.is_constant:
            return self._constant(tensor, dtype)
        other = DType.FLOAT16 if dtype is DType.FLOAT32 else DType.FLOAT32
        is_output = name in self._graph.outputs and dtype is DType.FLOAT32
        target = name if is_output else f"{name}/{dtype.value}"
        self._tensors[target] = replace(
            tensor, name=target, dtype=dtype, kind=TensorKind.ACTIVATION
        )
        source = self._forms[name, other]
        attrs = {"dtype": dtype.value}
        self._nodes.append(Node(f"{target}/cast", "cast", (source,), (target,), attrs))
        return target

    def _constant(self, tensor: Tensor, dtype: DType) -> str:
        if dtype is DType.FLOAT32:
            return tensor.name
        data = tensor.data.astype(np.float16)
        self._tensors[f"{tensor.name}/float16"] = Tensor.constant(f"{tensor.name}/float16", data)
        return f"{tensor.name}/float16"
