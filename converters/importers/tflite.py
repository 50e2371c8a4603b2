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
import logging
import math
import mmap
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.converters.importers.tflite_ops.file import (
    IDENTIFIER,
    RawModel,
    RawOperator,
    RawTensor,
    read_tflite,
)
from edgekit.converters.importers.tflite_ops.layer import Layer
from edgekit.converters.importers.tflite_ops.mapping import MAPPINGS
from edgekit.dtypes import Array, DType
from edgekit.errors import ModelFormatError, UnsupportedOpError, UsageError
from edgekit.graph import Graph, Node, Quantization, Tensor, TensorKind
from edgekit.ops.int8 import integer_range, real_from_stored
from edgekit.shapes import infer_shapes

NAME = "TensorFlow Lite"

_LOGGER = logging.getLogger(__name__)
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
    if model.subgraphs > 1:
        _LOGGER.warning("%s: only the first of %d subgraphs is read", path, model.subgraphs)
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
    """Turns records of the file into tensors and nodes, one operator after the other."""

    def __init__(self, model: RawModel, path: str) -> None:
        self.model = model
        self.path = path
        self.names = _unique_names(model)
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.node_names: set[str] = set()
        self.folded: dict[str, str] = {}
        self.misplaced_axes: list[str] = []

    def graph(self, name: str, metadata: Mapping[str, str]) -> Graph:
        """Return the graph, with every shape inferred and compared with the file's."""
        inputs = [self.declare(number) for number in self.model.inputs]
        for tensor in inputs:
            self.tensors[tensor] = replace(self.tensors[tensor], kind=TensorKind.INPUT, load=None)
        for operator in self.model.operators:
            self.add_operator(operator)
        outputs = tuple(self.declare(number) for number in self.model.outputs)
        if not inputs or not outputs:
            raise ModelFormatError("has no inputs or no outputs", path=self.path)
        graph = Graph(
            name=name or "model",
            tensors=self.tensors,
            nodes=tuple(self.nodes),
            inputs=tuple(dict.fromkeys(inputs)),
            outputs=tuple(dict.fromkeys(outputs)),
            metadata=metadata,
        )
        if self.misplaced_axes:
            _LOGGER.warning(
                "%s: %d tensors (first %s) have scales along an axis that they do not have; "
                "read as axis 0",
                self.path,
                len(self.misplaced_axes),
                self.misplaced_axes[0],
            )
        return self.checked(infer_shapes(graph)).replace()

    def checked(self, graph: Graph) -> Graph:
        """Return the graph, after comparing inferred shapes and types with the declared ones."""
        for number, name in enumerate(self.names):
            tensor, raw = graph.tensors.get(name), self.model.tensors[number]
            if tensor is None or name in self.folded:
                continue
            if tensor.shape != raw.shape or tensor.dtype.value != raw.type_name.lower():
                raise ModelFormatError(
                    f"declares {raw.type_name}{list(raw.shape)} for tensor {name}, which is "
                    f"{tensor.dtype.value}{list(tensor.shape)}",
                    path=self.path,
                )
        return graph

    def add_operator(self, operator: RawOperator) -> None:
        layer = Layer(self.model, operator, self.path)
        parts = MAPPINGS[operator.code](layer)
        if parts[0].op == "dequantize" and self.fold_dequantize(layer):
            return
        outputs = tuple(self.declare(number, layer) for number in operator.outputs)
        if not outputs:
            raise layer.damaged("has no output")
        previous = ""
        for position, part in enumerate(parts):
            is_last = position == len(parts) - 1
            given = outputs if is_last else (self.intermediate(outputs[0], part.op),)
            names = tuple(
                self.declare(number, layer) if number >= 0 else "" for number in part.inputs
            )
            inputs = self.widened(part.op, (previous, *names) if previous else names)
            node = Node(self.node_name(given[0]), part.op, inputs, given, part.attrs)
            self.nodes.append(replace(node, origin=operator.origin))
            previous = given[0]

    def node_name(self, output: str) -> str:
        """Return a node name from its first output; a damaged file may write one twice."""
        name = output
        while name in self.node_names:
            name += "'"
        self.node_names.add(name)
        return name

    def intermediate(self, output: str, op: str) -> str:
        """Declare a tensor between two parts of a layer, like the output except in shape."""
        name = self.fresh(f"{output}/{op}")
        self.tensors[name] = replace(self.tensors[output], name=name, kind=TensorKind.ACTIVATION)
        return name

    def fresh(self, name: str) -> str:
        while name in self.tensors or name in self.names:
            name += "'"
        return name

    def declare(self, number: int, layer: Layer | None = None) -> str:
        """Return the name of a tensor of the file, after adding it to the graph."""
        if number < 0:
            raise ModelFormatError("an output has no tensor", path=self.path)
        name = self.names[number]
        if name in self.folded:
            return self.folded[name]
        if name not in self.tensors:
            self.tensors[name] = self.converted(number, name, layer)
        return name

    def converted(self, number: int, name: str, layer: Layer | None) -> Tensor:
        raw = self.model.tensors[number]
        dtype = self.dtype_of(raw, layer)
        if 0 in raw.shape:
            raise ModelFormatError(f"tensor {name} is empty: {list(raw.shape)}", path=self.path)
        if raw.is_sparse:
            raise ModelFormatError(
                f"tensor {name} is sparse; export the model with dense weights", path=self.path
            )
        kind = TensorKind.STATE if raw.is_variable else TensorKind.ACTIVATION
        load: Callable[[], Array] | None = None
        if raw.data is not None and not raw.is_variable:
            kind, load = TensorKind.CONSTANT, self.loader(raw, dtype, name)
        quantization = None if dtype.is_float else self.quantization(raw, dtype, name)
        return Tensor(name, raw.shape, dtype, kind, quantization, load)

    def dtype_of(self, raw: RawTensor, layer: Layer | None) -> DType:
        if layer is not None:
            return layer.dtype_of(raw)
        try:
            return DType(raw.type_name.lower())
        except ValueError:
            raise ModelFormatError(
                f"tensor '{raw.name}' is {raw.type_name}, which edgekit does not compute",
                path=self.path,
            ) from None

    def loader(self, raw: RawTensor, dtype: DType, name: str) -> Callable[[], Array]:
        """Return what gives the data of a constant, a view of the file."""
        data = raw.data
        wanted = math.prod(raw.shape) * dtype.item_bytes
        if data is None or data.size != wanted:
            held = 0 if data is None else data.size
            raise ModelFormatError(
                f"tensor {name} holds {held} bytes, its shape {list(raw.shape)} needs {wanted}",
                path=self.path,
            )
        stored = data
        return lambda: stored.view(dtype.numpy).reshape(raw.shape)

    def quantization(self, raw: RawTensor, dtype: DType, name: str) -> Quantization | None:
        given = raw.quantization
        if given is None or dtype is DType.BOOL:
            return None
        if not (given.scale > 0).all():
            raise ModelFormatError(f"tensor {name} has a scale of 0", path=self.path)
        zero_point = given.zero_point if given.zero_point.size else np.zeros(1, np.int64)
        low, high = integer_range(dtype)
        if (
            zero_point.size not in (1, given.scale.size)
            or not ((zero_point >= max(low, -(2**31))) & (zero_point <= min(high, 2**31 - 1))).all()
        ):
            raise ModelFormatError(f"tensor {name} has zero points out of range", path=self.path)
        points = np.broadcast_to(zero_point, given.scale.shape).astype(np.int32)
        if given.scale.size == 1:
            return Quantization(given.scale, points)
        return Quantization(given.scale, points, self.scale_axis(raw, name))

    def scale_axis(self, raw: RawTensor, name: str) -> int:
        """Return the axis that per-channel scales belong to."""
        given = raw.quantization
        channels = 0 if given is None else given.scale.size
        axis = -1 if given is None else given.axis
        if 0 <= axis < len(raw.shape) and raw.shape[axis] == channels:
            return axis
        if raw.shape == (channels,):
            self.misplaced_axes.append(name)
            return 0
        raise ModelFormatError(
            f"tensor {name} {list(raw.shape)} has {channels} scales along axis {axis}",
            path=self.path,
        )

    def fold_dequantize(self, layer: Layer) -> bool:
        """Turn DEQUANTIZE of a constant into a float32 constant; whether there was one."""
        source = self.declare(layer.number(0), layer)
        tensor = self.tensors[source]
        output = layer.operator.outputs[0] if layer.operator.outputs else -1
        if not tensor.is_constant or output < 0 or layer.output.shape != tensor.shape:
            return False
        self.folded[self.names[output]] = self.widen(tensor)
        return True

    def widened(self, op: str, inputs: tuple[str, ...]) -> tuple[str, ...]:
        """Replace int8 weights of a layer that computes in float32 by float32 constants."""
        tensors = [self.tensors[name] if name else None for name in inputs]
        first = tensors[0] if tensors else None
        if op not in _WEIGHTED or first is None or first.dtype is not DType.FLOAT32:
            return inputs
        return tuple(
            self.widen(tensor)
            if tensor is not None and tensor.is_constant and tensor.dtype is not DType.FLOAT32
            else name
            for name, tensor in zip(inputs, tensors, strict=True)
        )

    def widen(self, tensor: Tensor) -> str:
        """Declare the float32 form of a constant and return its name."""
        name = f"{tensor.name}/float32"
        if name in self.tensors:
            return name
        if not tensor.dtype.is_float and tensor.quantization is None:
            raise ModelFormatError(
                f"tensor {tensor.name} is {tensor.dtype.value} without scale", path=self.path
            )

        def load() -> Array:
            data = tensor.data
            return (
                data.astype(np.float32) if tensor.dtype.is_float else real_from_stored(data, tensor)
            )

        self.tensors[name] = Tensor(
            name, tensor.shape, DType.FLOAT32, TensorKind.CONSTANT, None, load
        )
        return name


def _unique_names(model: RawModel) -> list[str]:
    """Return a name for each tensor: its own, with its number where that is empty or taken."""
    names: list[str] = []
    taken: set[str] = set()
    for number, tensor in enumerate(model.tensors):
        name = tensor.name or f"tensor_{number}"
        while name in taken:
            name = f"{name}_{number}"
        taken.add(name)
        names.append(name)
    return names
