"""The choice between the precisions that a route can offer, and its record for the package.

A route says how it makes each precision (:data:`Makers`); :func:`gather` makes those that the
recipe asks for, :func:`weigh` takes one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from edgekit.converters.partitioning.placement import place
from edgekit.converters.quantization.fallback import Quality
from edgekit.converters.quantization.precision import PrecisionOption, choose_precision
from edgekit.converters.quantization.report import LayerError
from edgekit.cost.work import Precision
from edgekit.errors import AccuracyError, CalibrationError, PlacementError, UsageError
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate
from edgekit.package_files import Source
from edgekit.pipeline.job import Job, layer_errors
from edgekit.planner import ExecutorMemory


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A model in one precision, ready for an executor.

    Parameters
    ----------
    graph : Graph
        What would be planned, with static shapes.
    method : str
        How it was made, for people.
    weights_bytes : int
        As stored.
    model_file : bytes, optional
    quality : Quality or None
        Against the float model; None for the float model itself.
    report : tuple of LayerError
    kept_float : tuple of str
        Layers that went back to float.
    reasons : tuple of str
    cost_precision : str or None
        What the cost model takes float tensors of ``graph`` for; None for the graph as it is.
    memory : ExecutorMemory, optional
    """

    graph: Graph
    method: str
    weights_bytes: int
    model_file: Source | None = None
    quality: Quality | None = None
    report: tuple[LayerError, ...] = ()
    kept_float: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    cost_precision: Precision | None = None
    memory: ExecutorMemory | None = None


Makers = Mapping[str, Callable[[], Candidate]]
"""How a route makes each precision that it has."""


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The candidate that was taken, and what the manifest says about all of them."""

    candidate: Candidate
    accuracy: Mapping[str, Any]
    notes: tuple[str, ...]


def gather(job: Job, makers: Makers) -> tuple[dict[str, Candidate], tuple[str, ...]]:
    """Make the precisions that the recipe asks for.

    Returns
    -------
    candidates : dict of precision to Candidate
    notes : tuple of str
        With ``auto``: which precision could not be made, and why.

    Raises
    ------
    UsageError
        If the precision asked for does not exist on this route.
    CalibrationError
        If there is calibration data that does not suit the model, or the precision asked for needs
        data and there is none.
    AccuracyError
        If the precision asked for misses the gate.
    """
    if job.calibration is not None and not job.batches:  # reading it tells what is wrong with it
        raise CalibrationError("the calibration data holds no samples")
    wanted = job.recipe.precision
    if wanted not in ("auto", *makers):
        raise UsageError(
            f"{job.profile.name} ({job.profile.kind}) runs {', '.join(makers)}, not {wanted}"
        )
    found: dict[str, Candidate] = {}
    notes: list[str] = []
    for name, make in makers.items():
        if wanted not in ("auto", name):
            continue
        try:
            found[name] = make()
        except (AccuracyError, CalibrationError) as error:
            if wanted != "auto":
                raise
            notes.append(f"{name} was not considered: {error}")
    return found, tuple(notes)


def needs_data(what: str) -> CalibrationError:
    """Return the error that asks for calibration data."""
    return CalibrationError(
        f"{what} needs calibration data (--calibration DATA, 10 to 300 typical inputs)"
    )


def weigh(job: Job, candidates: Mapping[str, Candidate], executor: str) -> Choice:
    """Choose by predicted latency and by accuracy, and say why.

    Raises
    ------
    PlacementError
        If the device runs none of the candidates.
    AccuracyError
        If none of them passes the gate.
    """
    options: dict[str, PrecisionOption] = {}
    refusals: dict[str, str] = {}
    for name, candidate in candidates.items():
        try:
            latency_s = place(
                candidate.graph, job.profile, candidate.cost_precision, executor=executor
            ).seconds
        except PlacementError as error:
            refusals[name] = str(error)
            continue
        options[name] = PrecisionOption(latency_s, candidate.weights_bytes, candidate.quality)
    if not options:
        raise PlacementError("\n".join(dict.fromkeys(refusals.values())))
    choice = choose_precision(options, gate=job.gate)
    taken = candidates[choice.precision]
    accuracy = _record(taken, options, refusals, choice.precision, choice.reasons)
    if taken.quality is not None:
        accuracy["samples"] = len(job.batches)
    if job.accuracy is not None:
        float_accuracy = job.accuracy(partial(evaluate, job.bound))
        drop = taken.quality.accuracy_drop if taken.quality else 0.0
        accuracy |= {"float_accuracy": float_accuracy, "accuracy": float_accuracy - (drop or 0.0)}
    return Choice(taken, accuracy, (*choice.reasons, *taken.reasons))


def _record(
    taken: Candidate,
    options: Mapping[str, PrecisionOption],
    refusals: Mapping[str, str],
    chosen: str,
    reasons: tuple[str, ...],
) -> dict[str, Any]:
    order = [chosen, *(name for name in options if name != chosen)]
    sentences = dict(zip(order, reasons, strict=True))
    considered: list[dict[str, Any]] = []
    for name, option in options.items():
        entry: dict[str, Any] = {
            "precision": name,
            "latency_s": option.latency_s,
            "size_bytes": option.weights_bytes,
            "chosen": name == chosen,
            "reason": sentences.get(name, ""),
        }
        if option.quality is not None:
            entry["sqnr_db"] = option.quality.sqnr_db
        considered.append(entry)
    considered += [
        {"precision": name, "chosen": False, "reason": reason} for name, reason in refusals.items()
    ]
    record: dict[str, Any] = {
        "precision": chosen,
        "method": taken.method,
        "cost_precision": taken.cost_precision,
        "candidates": considered,
        "reason": reasons[0],
    }
    if taken.quality is not None:
        record["sqnr_db"] = taken.quality.sqnr_db
        if taken.quality.accuracy_drop is not None:
            key = "accuracy_drop" if taken.quality.labelled else "class_disagreement"
            record[key] = taken.quality.accuracy_drop
        record["layers"] = layer_errors(taken.report)
        why = dict(zip(taken.kept_float, taken.reasons[1:-1], strict=True))
        record["kept_float"] = [
            {"node": name, "reason": why.get(name, "")} for name in taken.kept_float
        ]
    return record
