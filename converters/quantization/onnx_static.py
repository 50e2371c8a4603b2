"""Static int8 for onnxruntime: a float graph and calibration data in, a QDQ model out.

Onnxruntime's own quantizer writes the model; ranges come from our observers, channels are
equalized before, and the gate with its fallback is ours.

Activations and weights are both uint8, weights per channel with the zero point 128, which is
int8 symmetric in other clothes. The reason is that a package must compute the same everywhere: on
x86 processors without VNNI onnxruntime multiplies int8 weights, whatever the activations' type, by
an instruction that adds pairs of products in 16 bits and saturates. Products of uint8 with uint8
are widened first, and native on Arm (``UDOT``). On a face embedding network the signal-to-noise
ratio on such a processor is 10.5 dB with uint8 activations and int8 weights, 14.1 dB with both
int8, 18.5 dB with 7-bit weights (``reduce_range``) and 19.9 dB with both uint8.

The bytes depend on the graph and the ranges alone.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.converters.calibration.observers import Range
from edgekit.converters.calibration.ranges import calibrate
from edgekit.converters.emitters.onnx import emit_onnx
from edgekit.converters.layout import to_layout
from edgekit.converters.quantization.equalization import equalize
from edgekit.converters.quantization.fallback import (
    Accuracy,
    Gate,
    GateResult,
    Judge,
    Trial,
    with_fallback,
)
from edgekit.converters.quantization.onnx_runs import (
    OnnxTracer,
    exposed,
    exposed_layers,
    session_runner,
)
from edgekit.converters.quantization.report import LayerError, QuantizedModel, Ratio, Runner
from edgekit.converters.quantization.selection import (
    check_layer_names,
    inputs_of,
    quantizable_layers,
)
from edgekit.converters.quantization.static import quantize_static
from edgekit.dtypes import Array
from edgekit.errors import CalibrationError, MissingDependencyError, QuantizationError
from edgekit.graph import Graph

MAX_BYTES = 2**31 - 1

_OPERATORS = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Conv",
    "Gemm",
    "MatMul",
    "MaxPool",
    "Mul",
    "Relu",
    "Reshape",
    "Transpose",
)
"""Operators that onnxruntime's CPU provider computes in int8 (or absorbs into one that it does)."""

_ELEMENTWISE = frozenset({"add", "mul"})


@dataclass(frozen=True, slots=True, eq=False)
class OnnxInt8:
    """A quantized ONNX model and what it is in edgekit's terms.

    Parameters
    ----------
    model : bytes
        With QuantizeLinear and DequantizeLinear nodes.
    graph : Graph
        The same layers in int8, for planning.
    """

    model: bytes
    graph: Graph


def quantize_onnx_with_gate(
    graph: Graph,
    batches: Iterable[Mapping[str, Array]],
    *,
    gate: Gate | None = None,
    observer: str = "mse",
    keep_float: Collection[str] = (),
    accuracy: Accuracy | None = None,
    allow_fallback: bool = True,
) -> GateResult[OnnxInt8]:
    """Quantize for onnxruntime, with as few layers in float as the gate allows.

    Parameters
    ----------
    graph : Graph
        In floating point, simplified, static shapes.
    batches : iterable of mapping
        Calibration inputs; held in memory.
    gate : Gate, optional
        Without it every layer is quantized.
    observer : {'min-max', 'percentile', 'entropy', 'mse'}
    keep_float : collection of str
        Layers that stay in float in any case.
    accuracy : callable, optional
        Accuracy of a model on labelled data; without it, agreement with float on ``batches``.
    allow_fallback : bool
        Whether layers may go back to float at all.

    Returns
    -------
    GateResult

    Raises
    ------
    AccuracyError
        If the gate does not hold and layers may not go back to float.
    CalibrationError
        If there is no batch.
    QuantizationError
        If the model is too large for one ONNX file.
    MissingDependencyError
        If onnx or onnxruntime is not installed.
    """
    held = [dict(batch) for batch in batches]
    if not held:
        raise CalibrationError("the calibration data holds no sample")
    check_layer_names(graph, keep_float)
    equal = equalize(to_layout(graph, "NCHW"), held, trace=OnnxTracer())
    tracer = OnnxTracer()
    ranges = calibrate(equal, held, observer=observer, trace=tracer)
    quantizer = OnnxQuantizer(equal, ranges)
    judge = Judge(equal, held, accuracy, run_float=quantizer.run_float)

    def attempt(floats: frozenset[str]) -> Trial[OnnxInt8]:
        layers = quantizer.layers(floats)
        model = quantizer.quantized(layers)
        run = session_runner(model)
        view = QuantizedModel(run, layers, {})
        return Trial(OnnxInt8(model, quantizer.planned(layers)), view, judge.quality(run))

    def report(trial: Trial[OnnxInt8]) -> tuple[LayerError, ...]:
        return onnx_layer_report(quantizer, trial.model.model, trial.view.layers, held)

    return with_fallback(
        attempt,
        report,
        gate=gate or Gate(),
        keep_float=keep_float,
        allow_fallback=allow_fallback,
    )


class OnnxQuantizer:
    """Quantizes chosen layers of one float model.

    Parameters
    ----------
    graph : Graph
        In floating point, NCHW.
    ranges : mapping of tensor name to Range
        Of every float tensor of the emitted model.
    """

    def __init__(self, graph: Graph, ranges: Mapping[str, Range]) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingDependencyError("onnx", library="onnx") from error
        self.graph = graph
        self._ranges = ranges
        model = emit_onnx(graph)
        self.run_float = session_runner(model)
        self._model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model))
        self._layer_of = _layers_of_nodes(self._model, graph)
        self._unsupported = frozenset(node.name for node in graph.nodes) - {
            self._layer_of[node.name]
            for node in self._model.graph.node
            if node.op_type in _OPERATORS and node.name in self._layer_of
        }

    def layers(self, floats: Collection[str] = ()) -> frozenset[str]:
        """Return the layers that become int8 when ``floats`` do not.

        Element-wise layers stay in float where an input is in float: rounding it first would cost
        accuracy, and no time is won on so little arithmetic.
        """
        able = quantizable_layers(self.graph, self._unsupported.union(floats))
        producers = self.graph.producers()
        late: set[str] = set()
        for node in self.graph.nodes:
            if node.op in _ELEMENTWISE and node.name in able:
                makers = (producers.get(tensor.name) for tensor in inputs_of(self.graph, node))
                if any(maker is None or maker.name not in able - late for maker in makers):
                    late.add(node.name)
        return quantizable_layers(self.graph, self._unsupported.union(floats, late))

    def quantized(self, layers: Collection[str]) -> bytes:
        """Return the model with ``layers`` in int8.

        Raises
        ------
        QuantizationError
            If it is too large for one ONNX file.
        """
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        extremes = {
            name: (np.float32(limits.minimum), np.float32(limits.maximum))
            for name, limits in self._ranges.items()
        }
        chosen = [name for name, layer in self._layer_of.items() if layer in layers]
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        if not chosen:
            return bytes(model.SerializeToString(deterministic=True))
        with _without_advice():
            quantizer = QDQQuantizer(
                model,
                per_channel=True,
                reduce_range=False,
                weight_qType=QuantType.QUInt8,
                activation_qType=QuantType.QUInt8,
                tensors_range=TensorsData(CalibrationMethod.MinMax, extremes),
                nodes_to_quantize=chosen,
                nodes_to_exclude=[],
                op_types_to_quantize=list(_OPERATORS),
                extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
            )
            quantizer.quantize_model()
        quantizer.model.topological_sort()  # ONNX demands it; the quantizer appends its nodes
        result = quantizer.model.model
        if result.ByteSize() > MAX_BYTES:
            raise QuantizationError(f"{result.ByteSize():,} bytes do not fit one ONNX file")
        return bytes(result.SerializeToString(deterministic=True))

    def planned(self, layers: Collection[str]) -> Graph:
        """Return the graph with ``layers`` in int8, in edgekit's own operators."""
        floats = [node.name for node in self.graph.nodes if node.name not in layers]
        return quantize_static(self.graph, self._ranges, keep_float=floats)


def _layers_of_nodes(model: Any, graph: Graph) -> dict[str, str]:
    """Return the graph's layer that each ONNX node was written for, by the names of its outputs."""
    layers = {name: node.name for node in graph.nodes for name in node.outputs}
    found: dict[str, str] = {}
    for node in model.graph.node:
        name = node.output[0]
        while name and name not in layers:
            name = name.rpartition("/")[0]
        if name:
            found[node.name] = layers[name]
    return found


def onnx_layer_report(
    quantizer: OnnxQuantizer,
    model: bytes,
    layers: Collection[str],
    batches: Sequence[Mapping[str, Array]],
    *,
    isolated_batches: int = 2,
) -> tuple[LayerError, ...]:
    """Return the errors of every int8 layer, as :func:`.report.layer_report` defines them.

    Parameters
    ----------
    quantizer : OnnxQuantizer
    model : bytes
        With all of ``layers`` in int8.
    layers : collection of str
    batches : sequence of mapping
    isolated_batches : int
        How many batches are used to quantize layers one at a time.
    """
    graph = quantizer.graph
    nodes = [node for node in graph.nodes if node.name in layers]
    tensors = [node.outputs[0] for node in nodes]
    few = batches[:isolated_batches]
    inside = session_runner(exposed(emit_onnx(graph)))
    exact = [inside(batch) for batch in few]
    together = _ratios(session_runner(exposed_layers(model, tensors), optimized=False), few, exact)
    errors = []
    for node in nodes:
        tensor = node.outputs[0]
        alone = exposed_layers(quantizer.quantized({node.name}), [tensor])
        ratios = _ratios(session_runner(alone, optimized=False), few, exact)
        errors.append(
            LayerError(
                layer=node.name,
                op=node.op,
                origin=node.origin,
                tensor=tensor,
                sqnr_db=together[tensor].db,
                own_sqnr_db=ratios[tensor].db,
                output_sqnr_db=min(ratios[name].db for name in graph.outputs),
            )
        )
    return tuple(errors)


def _ratios(
    run: Runner, batches: Sequence[Mapping[str, Array]], exact: Sequence[Mapping[str, Array]]
) -> dict[str, Ratio]:
    ratios: dict[str, Ratio] = {}
    for batch, reference in zip(batches, exact, strict=True):
        for name, array in run(batch).items():
            ratios.setdefault(name, Ratio()).update(reference[name], array)
    return ratios


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence the quantizer's advice on the root logger to preprocess, which has been done."""
    previous = logging.root.manager.disable
    logging.disable(max(previous, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(previous)
