"""ONNX files from float graphs: operator set 17, IR version 8, readable by onnxruntime >= 1.12.

The bytes depend on the graph alone: constants in order of first use, no time stamps. Named
dimensions stay named. Constants are inline, so a model stays below protobuf's limit of 2 GB.

Source: the ONNX IR specification (onnx/docs/IR.md) and operator reference (onnx/docs/Operators.md).
"""

from __future__ import annotations

from typing import Any

from edgekit import __version__
from edgekit.converters.emitters.onnx_nodes import EMITTERS
from edgekit.converters.emitters.onnx_writer import Emission, OnnxWriter
from edgekit.converters.layout import to_layout
from edgekit.dtypes import DType
from edgekit.errors import ModelError, UnsupportedOpError
from edgekit.graph import Graph, Node

OPSET = 17
IR_VERSION = 8
MAX_BYTES = 2**31 - 1

_QUANTIZED_OPS = frozenset({"quantize", "dequantize"})


def emit_onnx(graph: Graph, *, float16: bool = False) -> bytes:
    """Return a graph as a serialized ONNX ``ModelProto``.

    Parameters
    ----------
    graph : Graph
        Floating point, in either layout; ``quantize`` and ``dequantize`` nodes are written, other
        quantized nodes are not.
    float16 : bool
        Compute in float16 and keep constants so (values beyond its range become the largest);
        inputs and outputs stay float32.

    Raises
    ------
    UnsupportedOpError
        If ONNX has no such operator.
    ModelError
        If the constants exceed 2 GB.
    MissingDependencyError
        If onnx is not installed.
    """
    if graph.weights_bytes > MAX_BYTES:
        raise ModelError(
            f"{graph.weights_bytes:,} bytes of constants do not fit one ONNX file ({MAX_BYTES:,})"
        )
    graph = to_layout(graph, "NCHW")
    writer = OnnxWriter(graph, float16=float16)
    for node in graph.nodes:
        _emit_node(writer, node)
    initializers = writer.initializers()
    if float16:
        _convert_at_borders(writer)
    return _serialized(writer, initializers)


def _emit_node(writer: OnnxWriter, node: Node) -> None:
    emitter = EMITTERS.get(node.op)
    if emitter is None:
        raise UnsupportedOpError(node.op, node=node.where, where="ONNX output")
    tensors = [writer.graph.tensors[name] for name in (*node.inputs, *node.outputs) if name]
    quantized = [t.name for t in tensors if t.quantization is not None]
    if quantized and node.op not in _QUANTIZED_OPS:
        raise UnsupportedOpError(
            node.op,
            node=node.where,
            where="ONNX output",
            hint=f"tensor {quantized[0]} is quantized; only float graphs are written as ONNX",
        )
    emitter(Emission(writer, node))


def _convert_at_borders(writer: OnnxWriter) -> None:
    """Put casts between float32 inputs and outputs and the float16 tensors inside."""
    graph = writer.graph
    is_float = {n for n in graph.tensors if graph.tensors[n].dtype is DType.FLOAT32}
    inputs = [name for name in graph.inputs if name in is_float]
    outputs = [name for name in graph.outputs if name in is_float and name not in inputs]
    inner = {name: writer.free_name(f"{name}/float16") for name in (*inputs, *outputs)}
    for node in writer.nodes:
        node.input[:] = [inner.get(name, name) for name in node.input]
        node.output[:] = [inner.get(name, name) for name in node.output]
    body, writer.nodes = writer.nodes, []
    for name in inputs:
        writer.add("Cast", [name], [inner[name]], to=writer.onnx_type(DType.FLOAT32))
    writer.nodes += body
    for name in outputs:
        writer.add("Cast", [inner[name]], [name], to=writer.onnx_type(DType.FLOAT32, border=True))


def _serialized(writer: OnnxWriter, initializers: list[Any]) -> bytes:
    from onnx import checker, helper

    graph = writer.graph
    model = helper.make_model(
        helper.make_graph(
            writer.nodes,
            graph.name or "model",
            [writer.value_info(graph.tensors[name]) for name in graph.inputs],
            [writer.value_info(graph.tensors[name]) for name in graph.outputs],
            initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="edgekit",
        producer_version=__version__,
    )
    checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
