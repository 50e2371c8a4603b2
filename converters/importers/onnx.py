"""ONNX models: protobuf files, opset 7 to the newest whose operators are mapped.

Every dimension gets a value here (named ones from the caller, the batch 1), so that all that the
model computes about shapes becomes constant; see :mod:`.onnx_ops.layer`. Half and double precision
become float32. Sizes are checked before memory is taken, and nothing outside the folder of the
model is read.

Source: the ONNX IR specification (onnx/docs/IR.md) and operator reference (onnx/docs/Operators.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.converters.importers.onnx_ops import mappers
from edgekit.converters.importers.onnx_ops.layer import (
    FOLD_BUDGET_BYTES,
    GraphBuilder,
    Layer,
    OnnxAttr,
    dtype_of,
)
from edgekit.converters.importers.onnx_ops.tensors import TensorSource, printable
from edgekit.converters.passes.dead_nodes import remove_dead_nodes
from edgekit.errors import (
    EdgekitError,
    MissingDependencyError,
    ModelFormatError,
    UnsupportedOpError,
    UsageError,
)
from edgekit.graph import Graph, Node, Tensor, TensorKind

NAME = "ONNX"

OLDEST_OPSET = 7
_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
_PROTOBUF_LIMIT_BYTES = 2**31 - 1
_NAME_SCOPES = "pkg.torch.onnx.name_scopes"


def matches(path: Path, head: bytes) -> bool:
    """Return whether the file starts like an ONNX ``ModelProto``.

    Field 1 (``ir_version``, a small varint) comes first in every file that a known writer made.
    """
    return len(head) > 4 and head[0] == 0x08 and 1 <= head[1] < 0x40 and not path.is_dir()


def load(path: Path, dims: Mapping[str, int]) -> Graph:
    """Return an ONNX file as a graph.

    Parameters
    ----------
    path : Path
    dims : mapping of str to int
        Values of named dimensions. The first axis of an input is 1 where it has no value.

    Raises
    ------
    ModelFormatError
        If the file is damaged or contradicts the standard.
    UnsupportedOpError
        If an operator cannot be converted.
    UsageError
        If a named dimension needs a value.
    MissingDependencyError
        If onnx is not installed.
    """
    if path.stat().st_size > _PROTOBUF_LIMIT_BYTES:
        raise ModelFormatError(
            "is larger than 2 GB, which ONNX does not allow: keep weights as external data",
            path=str(path),
        )
    return load_bytes(path.read_bytes(), path, dims)


def load_bytes(data: bytes, path: Path, dims: Mapping[str, int] | None = None) -> Graph:
    """Return a serialized ``ModelProto`` as a graph; ``path`` is for messages and external data."""
    source = TensorSource(path)
    model = _parsed(data, source)
    builder = GraphBuilder(source, FOLD_BUDGET_BYTES + len(data))
    try:
        # Folded constants may be infinite or not a number, as in masks; that is no event.
        with np.errstate(all="ignore"):
            graph = _Importer(model, builder, dict(dims or {})).graph(path.stem)
    except EdgekitError:
        raise
    except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise source.fail(f"is damaged ({type(error).__name__}: {error})") from error
    metadata = {
        "format": NAME,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return replace(graph, metadata=metadata)


def _parsed(data: bytes, source: TensorSource) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingDependencyError("onnx", library="onnx") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        raise source.fail("is no ONNX model, or is truncated or damaged") from error
    if not model.HasField("graph") or not model.graph.output:
        raise source.fail("is an ONNX file without a graph")
    # protobuf hands out text that is not UTF-8 as bytes.
    if not all(isinstance(text, str) for text in _texts(model)):
        raise source.fail("is damaged: it has names that are not UTF-8")
    return model


def _texts(model: Any) -> Iterator[object]:
    graph = model.graph
    yield from (model.producer_name, model.producer_version, graph.name)
    yield from (entry.domain for entry in model.opset_import)
    yield from (tensor.name for tensor in graph.initializer)
    for tensor in graph.initializer:
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)
    for value in (*graph.input, *graph.output):
        yield value.name
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
        for entry in node.metadata_props:
            yield from (entry.key, entry.value)


class _Importer:
    """Maps one ``ModelProto``."""

    def __init__(self, model: Any, builder: GraphBuilder, dims: Mapping[str, int]) -> None:
        self._model = model
        self._builder = builder
        self._dims = dims
        self._names: dict[str, str] = {}
        self._dim_names: set[str] = set()
        self._opset = self._opset_version()

    def graph(self, name: str) -> Graph:
        proto = self._model.graph
        self._refuse_sparse()
        for initializer in proto.initializer:
            self._add_initializer(initializer)
        inputs = [self._add_input(v) for v in proto.input if v.name not in self._names]
        self._refuse_unknown_dims()
        for index, node in enumerate(proto.node):
            self._map_node(index, node)
        outputs = self._outputs()
        graph = Graph(
            name,
            self._builder.tensors,
            tuple(self._builder.nodes),
            tuple(inputs),
            tuple(outputs),
        )
        return remove_dead_nodes(graph)

    def _opset_version(self) -> int:
        versions = [i.version for i in self._model.opset_import if i.domain in {"", "ai.onnx"}]
        if not versions or versions[0] < OLDEST_OPSET:
            found = versions[0] if versions else "none"
            raise self._builder.source.fail(
                f"uses ONNX operator set {found}; {OLDEST_OPSET} is the oldest that is read "
                "(export the model again, or use onnx.version_converter)"
            )
        return int(versions[0])

    def _refuse_sparse(self) -> None:
        for sparse in self._model.graph.sparse_initializer:
            raise self._builder.source.fail(
                f"tensor {sparse.values.name} is stored sparse, which is not supported"
            )

    def _add_initializer(self, proto: Any) -> None:
        if not proto.name or proto.name in self._names:
            raise self._builder.source.fail(f"tensor {proto.name!r} is defined twice or unnamed")
        shape, dtype, loader = self._builder.source.reader(proto)
        self._names[proto.name] = self._builder.add_lazy_constant(proto.name, shape, dtype, loader)
        proto.ClearField("raw_data")

    def _add_input(self, value: Any) -> str:
        kind = value.type.tensor_type
        if value.type.WhichOneof("value") != "tensor_type" or not kind.HasField("shape"):
            raise self._builder.source.fail(f"input {value.name} has no tensor type with a shape")
        if not value.name or value.name in self._names:
            raise self._builder.source.fail(f"input {value.name!r} is defined twice or unnamed")
        dtype = dtype_of(self._builder.source, kind.elem_type, f"input {value.name}")
        shape = tuple(self._dim(value.name, axis, dim) for axis, dim in enumerate(kind.shape.dim))
        self._builder.check_shape(shape, f"input {value.name}")
        self._builder.tensors[value.name] = Tensor(value.name, shape, dtype, TensorKind.INPUT)
        self._names[value.name] = value.name
        return str(value.name)

    def _dim(self, tensor: str, axis: int, dim: Any) -> int:
        if dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0:
            return int(dim.dim_value)
        wanted = str(dim.dim_param) or f"{tensor}.{axis}"
        self._dim_names.add(wanted)
        if wanted in self._dims:
            return self._dims[wanted]
        if axis == 0:
            return 1
        raise UsageError(
            f"input {tensor} has a dimension '{wanted}' that varies: give its value with "
            f"--dim {wanted}=NUMBER"
        )

    def _refuse_unknown_dims(self) -> None:
        unknown = sorted(set(self._dims) - self._dim_names)
        if unknown:
            known = ", ".join(sorted(self._dim_names)) or "no dimension that varies"
            raise UsageError(f"there is no dimension '{unknown[0]}': the model has {known}")

    def _map_node(self, index: int, proto: Any) -> None:
        builder = self._builder
        op = printable(proto.op_type)
        name = printable(proto.name) or f"{op}_{index}"
        origin = f"{printable(self._scope(proto)) or name} {op}"
        mapper = mappers().get(proto.op_type) if proto.domain in _DOMAINS else None
        if mapper is None:
            op = f"{printable(proto.domain)}.{op}" if proto.domain else op
            raise UnsupportedOpError(op, node=origin, where=str(builder.source.path))
        layer = Layer(
            builder,
            op,
            name,
            origin,
            self._opset,
            tuple(self._names_of_inputs(proto, origin)),
            tuple(str(output) for output in proto.output),
            {a.name: _attribute(a, builder.source, origin) for a in proto.attribute},
        )
        first_node = len(builder.nodes)
        first_tensor = len(builder.tensors)
        try:
            results = mapper(layer)
        except EdgekitError:
            raise
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            raise layer.fail(f"{type(error).__name__}: {error}") from error
        fresh = set(list(builder.tensors)[first_tensor:])
        self._name_outputs(layer, results, fresh, first_node)

    def _names_of_inputs(self, proto: Any, origin: str) -> Iterator[str]:
        for name in proto.input:
            if name and name not in self._names:
                raise self._builder.source.fail(
                    f"layer {origin} reads {name}, which nothing before it computes"
                )
            yield self._names[name] if name else ""

    def _name_outputs(
        self, layer: Layer, results: tuple[str, ...], fresh: set[str], first_node: int
    ) -> None:
        """Bind the ONNX names of a node's outputs, and give new tensors these names."""
        for index, wanted in enumerate(layer.outputs):
            if not wanted:
                continue
            if wanted in self._names:
                raise layer.fail(f"writes {wanted}, which has a value already")
            if index >= len(results):
                raise layer.refuse(f"output {index} ({wanted}) is not available")
            found = results[index]
            if found in fresh and wanted not in self._builder.tensors:
                self._builder.rename(found, wanted, first_node)
                found = wanted
            self._names[wanted] = found

    def _outputs(self) -> list[str]:
        """Return the outputs under their own names; a copy where two names mean one tensor."""
        builder = self._builder
        outputs: list[str] = []
        for value in self._model.graph.output:
            found = self._names.get(value.name)
            if found is None:
                raise builder.source.fail(f"output {value.name} is computed by nothing")
            if builder.tensors[found].is_constant and found == value.name:
                found = builder.free_name(f"{found}/value")
                builder.rename(value.name, found, 0)
            if found != value.name or found in outputs or builder.tensors[found].is_constant:
                node = Node(
                    builder.node_name(f"{value.name}/output"), "identity", (found,), (value.name,)
                )
                found = builder.add_node(node, [None], fold=False)[0]
            outputs.append(found)
        return outputs

    @staticmethod
    def _scope(proto: Any) -> str:
        """Return the path of the torch module that a node came from, where the exporter says so."""
        for entry in proto.metadata_props:
            if entry.key == _NAME_SCOPES:
                names = [part.strip(" '\"[]") for part in str(entry.value).split(",")]
                return next((part for part in reversed(names[:-1]) if part), "")
        return ""


def _attribute(proto: Any, source: TensorSource, origin: str) -> OnnxAttr:
    """Return the value of an ``AttributeProto``; its ``type`` says which field holds it."""
    kind = proto.type
    if kind == 1:
        return float(proto.f)
    if kind == 2:
        return int(proto.i)
    if kind == 3:
        return str(proto.s.decode("utf-8", "replace"))
    if kind == 4:
        return source.array(proto.t)
    if kind == 6:
        return tuple(float(value) for value in proto.floats)
    if kind == 7:
        return tuple(int(value) for value in proto.ints)
    if kind == 8:
        return tuple(str(value.decode("utf-8", "replace")) for value in proto.strings)
    raise UnsupportedOpError(
        f"with attribute {printable(proto.name)}",
        node=origin,
        where=str(source.path),
        hint="attributes that hold graphs (control flow) are not supported",
    )
