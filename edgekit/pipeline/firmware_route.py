"""From a graph to what a microcontroller runs: channels last, int8 where data allows it."""

from __future__ import annotations

from edgekit.converters.layout import to_layout
from edgekit.converters.quantization.fallback import quantize_with_gate
from edgekit.graph import Graph
from edgekit.pipeline.job import Job, Product
from edgekit.pipeline.kept_source import is_quantized, kept_accuracy, kept_note
from edgekit.pipeline.weigh import Candidate, Makers, gather, needs_data, weigh

EXECUTOR = "reference"


def convert_for_firmware(job: Job) -> Product:
    """Return the graph for a microcontroller in the precision that suits it.

    A model that is quantized already stays as it is, bit for bit. A float model is offered in
    float32, and in int8 where there is calibration data.

    Raises
    ------
    UsageError
        If a quantized model was asked for in a float precision, or a float one in float16.
    CalibrationError, AccuracyError
        As :func:`~edgekit.pipeline.weigh.gather` and :func:`~edgekit.pipeline.weigh.weigh`.
    """
    graph = to_layout(job.bound, "NHWC")
    if is_quantized(graph):
        return Product(EXECUTOR, graph, accuracy=kept_accuracy(job), notes=(kept_note(job),))
    makers: Makers = {
        "float32": lambda: Candidate(graph, "as it is", graph.weights_bytes),
        "int8": lambda: _int8(job, graph),
    }
    candidates, notes = gather(job, makers)
    choice = weigh(job, candidates, "")
    return Product(
        EXECUTOR,
        choice.candidate.graph,
        accuracy=choice.accuracy,
        notes=(*choice.notes, *notes),
    )


def _int8(job: Job, graph: Graph) -> Candidate:
    """Quantize statically, culprit layers in float where the gate asks for it."""
    if not job.batches:
        raise needs_data("it")
    result = quantize_with_gate(
        graph,
        job.batches,
        gate=job.gate,
        observer=job.recipe.observer,
        keep_float=job.recipe.keep_float,
        accuracy=job.accuracy,
    )
    return Candidate(
        result.graph,
        f"static int8, weights per channel, {job.recipe.observer} ranges",
        result.graph.weights_bytes,
        quality=result.quality,
        report=result.report,
        kept_float=result.fallback_layers,
        reasons=result.reasons,
    )
