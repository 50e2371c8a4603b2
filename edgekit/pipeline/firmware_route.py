"""From a graph to what a microcontroller runs: channels last, int8 where data allows it."""

from __future__ import annotations

from edgekit.converters.layout import to_layout
from edgekit.converters.quantization.fallback import quantize_with_gate
from edgekit.errors import CalibrationError
from edgekit.graph import Graph
from edgekit.pipeline.job import Job, Product
from edgekit.pipeline.kept_source import is_quantized, kept_accuracy, kept_note
from edgekit.pipeline.weigh import Candidate, weigh

EXECUTOR = "reference"


def convert_for_firmware(job: Job) -> Product:
    """Return the graph for a microcontroller in the precision that suits it.

    A model that is quantized already stays as it is, bit for bit. A float model is offered in
    float32, and in int8 where there is calibration data.

    Raises
    ------
    CalibrationError
        If int8 was asked for and there is no calibration data.
    AccuracyError
        If the gate does not hold.
    UsageError
        If a quantized model was asked for in a float precision.
    """
    graph = to_layout(job.bound, "NHWC")
    if is_quantized(graph):
        return Product(
            EXECUTOR, graph, "int8", accuracy=kept_accuracy(job), notes=(kept_note(job),)
        )
    wanted = job.recipe.precision
    candidates: dict[str, Candidate] = {}
    notes: tuple[str, ...] = ()
    if wanted in ("auto", "float32"):
        candidates["float32"] = Candidate("float32", graph, "as it is", graph.weights_bytes)
    if wanted in ("auto", "int8"):
        if job.batches:
            candidates["int8"] = int8_candidate(job, graph)
        elif wanted == "int8":
            raise CalibrationError(needs_data("int8"))
        else:
            notes = (f"int8 was not considered: {needs_data('it')}.",)
    if wanted == "float16":
        raise CalibrationError("microcontrollers run float32 or int8; choose one of them")
    choice = weigh(job, candidates, "")
    taken = choice.candidate
    return Product(
        EXECUTOR,
        taken.graph,
        taken.precision,
        accuracy=choice.accuracy,
        notes=(*choice.notes, *notes),
    )


def needs_data(what: str) -> str:
    """Return the sentence that asks for calibration data."""
    return f"{what} needs calibration data (--calibration DATA, 10 to 300 typical inputs)"


def int8_candidate(job: Job, graph: Graph) -> Candidate:
    """Quantize statically, culprit layers in float where the gate asks for it."""
    result = quantize_with_gate(
        graph,
        job.batches,
        gate=job.gate,
        observer=job.recipe.observer,
        keep_float=job.recipe.keep_float,
        accuracy=job.accuracy,
    )
    return Candidate(
        "int8",
        result.graph,
        f"static int8, weights per channel, {job.recipe.observer} ranges",
        result.graph.weights_bytes,
        quality=result.quality,
        report=result.report,
        kept_float=result.fallback_layers,
        reasons=result.reasons,
    )
