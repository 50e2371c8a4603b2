"""Run float and quantized ONNX models in memory, with a look at the tensors inside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from edgekit.converters.emitters.onnx import emit_onnx
from edgekit.converters.quantization.report import Runner
from edgekit.dtypes import Array
from edgekit.errors import MissingDependencyError
from edgekit.graph import Graph

_DEQUANTIZED = "_DequantizeLinear_Output"
"""Onnxruntime's quantizer gives the values that a quantized tensor's readers see this suffix."""


def session_of(model: bytes, *, optimized: bool = True) -> Any:
    """Return an onnxruntime session on one thread of the CPU.

    Parameters
    ----------
    model : bytes
    optimized : bool
        Without optimization the session is there sooner, and QDQ models are computed in float
        between rounded values.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnx", library="onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def session_runner(model: bytes, *, optimized: bool = True) -> Runner:
    """Return a function from a model's inputs to all its outputs by name.

    Outputs that stand for the rounded form of a tensor have the tensor's name.
    """
    session = session_of(model, optimized=optimized)
    names = [output.name for output in session.get_outputs()]
    labels = [name.removesuffix(_DEQUANTIZED) for name in names]

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(labels, session.run(names, dict(inputs)), strict=True))

    return run


class OnnxTracer:
    """A :data:`~edgekit.converters.calibration.ranges.Tracer` that runs graphs by onnxruntime.

    The tensors shown are the graph's, and those between an operator and its fused activation.
    """

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._run: Runner | None = None

    def __call__(
        self, graph: Graph, batch: Mapping[str, Array], observe: Callable[[str, Array], None]
    ) -> None:
        """Run ``graph`` on one batch and show each input and computed float tensor."""
        if self._run is None or self._graph is not graph:
            self._graph, self._run = graph, session_runner(exposed(emit_onnx(graph)))
        for name, array in (*batch.items(), *self._run(batch).items()):
            observe(name, array)


def exposed(model: bytes) -> bytes:
    """Return a model that gives out every float tensor that it computes."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model))
    given = {output.name for output in inferred.graph.output}
    computed = {name for node in inferred.graph.node for name in node.output}
    inferred.graph.output.extend(
        info
        for info in inferred.graph.value_info
        if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        and info.name in computed - given
    )
    return bytes(inferred.SerializeToString(deterministic=True))


def exposed_layers(model: bytes, tensors: Collection[str]) -> bytes:
    """Return a quantized model that gives out some float tensors too, rounded where they are.

    Parameters
    ----------
    model : bytes
    tensors : collection of str
        Names in the float model.
    """
    import onnx

    parsed = onnx.load_model_from_string(model)
    computed = {name for node in parsed.graph.node for name in node.output}
    given = {output.name for output in parsed.graph.output}
    for name in tensors:
        found = name + _DEQUANTIZED if name + _DEQUANTIZED in computed else name
        if found in computed - given:
            info = onnx.helper.make_tensor_value_info(found, onnx.TensorProto.FLOAT, None)
            parsed.graph.output.append(info)
    return bytes(parsed.SerializeToString(deterministic=True))
