"""A graph on disk: ``graph.json`` for its structure, ``weights.safetensors`` for its constants.

The reference and native executors run packages from these two files. The same graph always gives
the same bytes. Reading treats both files as untrusted: whatever does not fit the schema, or a
constant whose declared shape is not the one in the weights file, is a ``PackageError``.

JSON has no infinities, so that an attribute such as ``min = -inf`` of a clip is written as
``{"real": "-inf"}``; all other attributes are plain JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_safetensors

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError, PackageError
from edgekit.graph import Attr, Dim, Graph, Node, Quantization, Tensor, TensorKind

_LONGEST_SHAPE = 16
"""No operator has more axes; a longer shape in a file is damage."""


class QuantizationRecord(msgspec.Struct, frozen=True):
    """``Quantization`` as stored."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None


class TensorRecord(msgspec.Struct, frozen=True):
    """``Tensor`` as stored; the data of constants is in the weights file under the same name."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    kind: str
    quantization: QuantizationRecord | None = None


class NodeRecord(msgspec.Struct, frozen=True):
    """``Node`` as stored."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Any] = {}
    origin: str = ""


class GraphRecord(msgspec.Struct, frozen=True):
    """``Graph`` as stored."""

    name: str
    tensors: tuple[TensorRecord, ...]
    nodes: tuple[NodeRecord, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dims: dict[str, int] = {}
    metadata: dict[str, str] = {}


def graph_to_json(graph: Graph) -> bytes:
    """Return the structure of a graph as JSON, UTF-8 encoded, the same bytes every time."""
    record = GraphRecord(
        name=graph.name,
        tensors=tuple(_tensor_record(tensor) for tensor in graph.tensors.values()),
        nodes=tuple(
            NodeRecord(
                node.name,
                node.op,
                node.inputs,
                node.outputs,
                {key: _attr_to_json(value) for key, value in sorted(node.attrs.items())},
                node.origin,
            )
            for node in graph.nodes
        ),
        inputs=graph.inputs,
        outputs=graph.outputs,
        dims=dict(sorted(graph.dims.items())),
        metadata=dict(sorted(graph.metadata.items())),
    )
    return msgspec.json.format(msgspec.json.encode(record), indent=1)


def weights_to_safetensors(graph: Graph) -> bytes:
    """Return the constants of a graph in safetensors format, the same bytes every time."""
    arrays = {tensor.name: np.asarray(tensor.data, order="C") for tensor in graph.constants()}
    return bytes(save_safetensors({name: arrays[name] for name in sorted(arrays)}))


def graph_from_files(graph_path: Path, weights_path: Path | None) -> Graph:
    """Read a graph; the data of constants is read when it is used.

    Without a weights file the graph has its structure only: shapes and types of its constants,
    not their data.

    Raises
    ------
    PackageError
        If a file is missing, damaged, or the two do not fit together.
    """
    record = _decode(graph_path)
    weights = None if weights_path is None else _Weights(weights_path)
    try:
        tensors = {item.name: _tensor(item, weights) for item in record.tensors}
        if len(tensors) != len(record.tensors):
            raise ModelError("two tensors have the same name")
        nodes = tuple(
            Node(n.name, n.op, n.inputs, n.outputs, _attrs(n), n.origin) for n in record.nodes
        )
        return Graph(
            record.name,
            tensors,
            nodes,
            record.inputs,
            record.outputs,
            record.dims,
            record.metadata,
        )
    except (ModelError, KeyError, ValueError) as error:
        raise PackageError(f"{graph_path}: {error}; convert the model again") from error


class _Weights:
    """The weights file: declared shapes now, data on demand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, framework="numpy") as file:
                self.shapes = {
                    key: tuple(file.get_slice(key).get_shape())
                    for key in file.keys()  # noqa: SIM118 - safe_open is not iterable
                }
        except (SafetensorError, OSError) as error:
            raise PackageError(f"{path}: {error}; convert the model again") from error

    def loader(self, name: str, shape: tuple[Dim, ...]) -> Callable[[], Array]:
        if self.shapes.get(name) != shape:
            raise ModelError(
                f"constant {name} is declared {list(shape)}, "
                f"{self.path.name} holds {self.shapes.get(name, 'none')}"
            )
        return partial(_read_array, self.path, name)


def _read_array(path: Path, name: str) -> Array:
    try:
        with safe_open(path, framework="numpy") as file:
            array: Array = file.get_tensor(name)
            return array
    except (SafetensorError, OSError) as error:
        raise PackageError(f"{path}: {error}; convert the model again") from error


def _decode(path: Path) -> GraphRecord:
    try:
        return msgspec.json.decode(path.read_bytes(), type=GraphRecord)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, OSError) as error:
        raise PackageError(f"{path}: {error}; convert the model again") from error


def _tensor_record(tensor: Tensor) -> TensorRecord:
    quantization = None
    if tensor.quantization is not None:
        quantization = QuantizationRecord(
            tuple(float(value) for value in tensor.quantization.scale),
            tuple(int(value) for value in tensor.quantization.zero_point),
            tensor.quantization.axis,
        )
    return TensorRecord(
        tensor.name, tensor.shape, tensor.dtype.value, tensor.kind.value, quantization
    )


def _tensor(record: TensorRecord, weights: _Weights | None) -> Tensor:
    if len(record.shape) > _LONGEST_SHAPE:
        raise ModelError(f"tensor {record.name} has {len(record.shape)} axes")
    if any(isinstance(dim, int) and dim < 0 for dim in record.shape):
        raise ModelError(f"tensor {record.name} has a negative dimension")
    kind = TensorKind(record.kind)
    load = None
    if weights is not None and kind is TensorKind.CONSTANT:
        load = weights.loader(record.name, record.shape)
    return Tensor(
        record.name,
        record.shape,
        DType(record.dtype),
        kind,
        _quantization(record),
        load,
    )


def _quantization(record: TensorRecord) -> Quantization | None:
    stored = record.quantization
    if stored is None:
        return None
    if len(stored.scale) != len(stored.zero_point):
        raise ModelError(f"tensor {record.name}: scales and zero points differ in number")
    if not all(math.isfinite(scale) and scale > 0 for scale in stored.scale):
        raise ModelError(f"tensor {record.name}: a scale is not finite and positive")
    if stored.axis is not None and not 0 <= stored.axis < len(record.shape):
        raise ModelError(f"tensor {record.name}: quantization axis {stored.axis} does not exist")
    if any(abs(zero_point) >= 2**31 for zero_point in stored.zero_point):
        raise ModelError(f"tensor {record.name}: a zero point does not fit 32 bits")
    return Quantization(
        np.array(stored.scale, np.float32), np.array(stored.zero_point, np.int32), stored.axis
    )


def _attrs(record: NodeRecord) -> Mapping[str, Attr]:
    return {key: _attr_from_json(value) for key, value in record.attrs.items()}


def _attr_to_json(value: Attr) -> object:
    if isinstance(value, tuple):
        return [_attr_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"real": str(value)}
    return value


def _attr_from_json(value: object) -> Attr:
    if isinstance(value, list):
        return tuple(_attr_from_json(item) for item in value)
    if isinstance(value, dict) and set(value) == {"real"}:
        return float(value["real"])
    if isinstance(value, bool | int | float | str):
        return value
    raise ModelError(f"{value!r} is no attribute value")
