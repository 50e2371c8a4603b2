"""TensorFlow Lite models, float32 and int8, as a graph.

Reads what TensorFlow Lite Micro runs, and is as tolerant: an axis of per-channel scales that does
not exist, as in ``person_detect.tflite``, is taken as axis 0 of a vector, with a warning. Float16
weights behind DEQUANTIZE, and the int8 weights of layers that compute in floating point, become
float32 constants that are converted when they are first needed. Variable tensors become states.

Sizes in these files are fixed; there are no named dimensions. Constants are views of the mapped
file.

Source: TensorFlow Lite schema, ``tensorflow/lite/schema/schema.fbs``, version 3.
"""

from __future__ import annotations

import hashlib
import math
import mmap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.converters.importers.tflite_ops.file import IDENTIFIER, RawModel, read_tflite
from edgekit.converters.importers.tflite_ops.layer import Layer, Part
from edgekit.converters.importers.tflite_ops.mapping import MAPPINGS
from edgekit.converters.importers.tflite_ops.tensors import TensorTable
from edgekit.dtypes import DType
from edgekit.errors import ModelFormatError, UnsupportedOpError, UsageError
from edgekit.graph import Graph, Node
from edgekit.ops import spec_of
from edgekit.ops.spec import OpView, TensorType

NAME = "TensorFlow Lite"

_WEIGHTED = frozenset({"conv2d", "depthwise_conv2d", "transpose_conv2d", "fully_connected", "svdf"})
"""Operators whose int8 weights are widened where x is float32."""


def matches(path: Path, head: bytes) -> bool:
    """Return whether the file is TensorFlow Lite: it says so in bytes 4 to 7."""
    return head[4:8] == IDENTIFIER and not path.is_dir()


def load(path: Path, dims: Mapping[str, int]) -> Graph:
    """Return a TensorFlow Lite file as a graph.

    Parameters
    ----------
    path : Path
    dims : mapping of str to int
        Must be empty.

    Raises
    ------
    UsageError
        If ``dims`` names a dimension.
    ModelFormatError
        If the file is damaged.
    UnsupportedOpError
        If an operator cannot be converted.
    MissingDependencyError
        If the library ``tflite`` is not installed.
    """
    if dims:
        raise UsageError(
            f"{path}: TensorFlow Lite models have fixed sizes, there is no dimension "
            f"'{next(iter(dims))}'"
        )
    return load_tflite(path)


def load_tflite(path: Path) -> Graph:
    """Return a TensorFlow Lite file as a graph (errors as :func:`load`)."""
    data = _mapped(path)
    model = read_tflite(data, str(path))
    _check_operators(model, str(path))
    metadata = {
        "format": NAME,
        "producer": model.description,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return _GraphBuilder(model, str(path)).graph(path.stem, metadata)


def _mapped(path: Path) -> Any:
    """Return the bytes of a file without reading them all."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:
        raise ModelFormatError("is empty", path=str(path)) from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error


def _check_operators(model: RawModel, path: str) -> None:
    """Raise for the first operator without mapping; the message lists the others."""
    unknown = [op for op in model.operators if op.is_custom or op.code not in MAPPINGS]
    if not unknown:
        return
    first, others = unknown[0], sorted({op.code for op in unknown[1:]} - {unknown[0].code})
    also = f"nor are {', '.join(others)}; " if others else ""
    hint = f"{also}remove what needs them from the model before export"
    kind = f"custom operator {first.index}" if first.is_custom else f"operator {first.index}"
    raise UnsupportedOpError(first.code, node=kind, where=path, hint=hint)


class _GraphBuilder:
    """Turns the operators of a file into nodes, one after the other, inferring shapes."""

    def __init__(self, model: RawModel, path: str) -> None:
        self.model = model
        self.path = path
        self.table = TensorTable(model, path)
        self.nodes: list[Node] = []
        self.node_names: set[str] = set()

    def graph(self, name: str, metadata: Mapping[str, str]) -> Graph:
        """Return the whole graph."""
        inputs = [self.table.declare_input(number) for number in self.model.inputs]
        for operator in self.model.operators:
            self.add_operator(Layer(self.model, operator, self.path))
        outputs = [self.table.declare(number) for number in self.model.outputs]
        if not inputs or not outputs:
            raise ModelFormatError("has no inputs or no outputs", path=self.path)
        self.table.warn()
        graph = Graph(
            name=name or "model",
            tensors=self.table.tensors,
            nodes=tuple(self.nodes),
            inputs=tuple(dict.fromkeys(inputs)),
            outputs=tuple(dict.fromkeys(outputs)),
            metadata=metadata,
        )
        return graph.replace()

    def add_operator(self, layer: Layer) -> None:
        parts = MAPPINGS[layer.operator.code](layer)
        if parts[0].op == "dequantize" and self.fold_dequantize(layer):
            return
        outputs = tuple(self.table.declare(number, layer) for number in layer.operator.outputs)
        if not outputs:
            raise layer.damaged("has no output")
        previous = ""
        for part in parts[:-1]:
            previous = self.add_inner(layer, part, previous, outputs[0])
        self.add_last(layer, parts[-1], previous, outputs)

    def add_inner(self, layer: Layer, part: Part, previous: str, output: str) -> str:
        """Add a node before the last one of a layer; return the tensor between."""
        node = self.node(layer, part, previous, ())
        (kind,) = self.inferred(node)
        name = self.table.intermediate(output, part.op, kind)
        self.append(node, (name,))
        return name

    def add_last(self, layer: Layer, part: Part, previous: str, outputs: tuple[str, ...]) -> None:
        """Add the node that computes the layer's outputs, if they are what the file declares.

        One output that has another shape with as many elements is given its shape by a node more,
        since TensorFlow Lite Micro looks at the declared shape only.
        """
        node = self.node(layer, part, previous, outputs)
        kinds = self.inferred(node)
        declared = [self.table.tensors[name] for name in outputs]
        if len(kinds) != len(outputs):
            raise layer.damaged(f"has {len(outputs)} outputs, not {len(kinds)}")
        for kind, tensor in zip(kinds, declared, strict=True):
            same_size = len(outputs) == 1 and _elements(kind) == tensor.elements
            if kind.dtype is not tensor.dtype or (kind.shape != tensor.shape and not same_size):
                raise layer.damaged(
                    f"gives {kind.dtype.value}{list(kind.shape)}, declared "
                    f"{tensor.dtype.value}{list(tensor.shape)}"
                )
        if kinds[0].shape == declared[0].shape:
            self.append(node, outputs)
            return
        name = self.table.intermediate(outputs[0], part.op, kinds[0])
        self.append(node, (name,))
        shape = Part("reshape", (), {"shape": declared[0].static_shape})
        self.append(self.node(layer, shape, name, outputs), outputs)

    def node(self, layer: Layer, part: Part, previous: str, outputs: tuple[str, ...]) -> Node:
        names = tuple(
            self.table.declare(number, layer) if number >= 0 else "" for number in part.inputs
        )
        inputs = self.widened(part.op, (previous, *names) if previous else names)
        return Node(layer.output.name, part.op, inputs, outputs, part.attrs, layer.operator.origin)

    def inferred(self, node: Node) -> list[TensorType]:
        tensors = tuple(self.table.tensors[name] if name else None for name in node.inputs)
        return list(spec_of(node).infer(OpView(node, tensors, ())))

    def append(self, node: Node, outputs: tuple[str, ...]) -> None:
        """Add a node, named after its first output; a damaged file may write one twice."""
        name = outputs[0]
        while name in self.node_names:
            name += "'"
        self.node_names.add(name)
        self.nodes.append(replace(node, name=name, outputs=outputs))

    def fold_dequantize(self, layer: Layer) -> bool:
        """Turn DEQUANTIZE of a constant into a float32 constant; whether there was one."""
        source = self.table.declare(layer.number(0), layer)
        tensor = self.table.tensors[source]
        if not tensor.is_constant or layer.output.shape != tensor.shape:
            return False
        self.table.alias(layer.operator.outputs[0], self.table.widen(source))
        return True

    def widened(self, op: str, inputs: tuple[str, ...]) -> tuple[str, ...]:
        """Replace int8 weights of a layer that computes in float32 by float32 constants."""
        tensors = self.table.tensors
        if op not in _WEIGHTED or not inputs[0] or not tensors[inputs[0]].dtype.is_float:
            return inputs
        return tuple(
            self.table.widen(name)
            if name and tensors[name].is_constant and tensors[name].dtype is not DType.FLOAT32
            else name
            for name in inputs
        )


def _elements(kind: TensorType) -> int:
    return math.prod(dim for dim in kind.shape if isinstance(dim, int))
