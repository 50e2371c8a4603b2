"""The accuracy gate, and layers that go back to floating point until it holds.

Layers are tried in order of blame (:func:`edgekit.converters.quantization.report.culprits`): the
shortest sequence of culprits whose return to float satisfies the gate is found by doubling and
bisection, so that a model with hundreds of layers needs about ten trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar

import numpy as np

from edgekit.converters.calibration.observers import Range
from edgekit.converters.calibration.ranges import calibrate
from edgekit.converters.quantization.equalization import equalize
from edgekit.converters.quantization.report import (
    LayerError,
    QuantizedModel,
    Ratio,
    Runner,
    culprits,
    layer_report,
    model_of,
)
from edgekit.converters.quantization.static import quantize_static
from edgekit.dtypes import Array
from edgekit.errors import AccuracyError, CalibrationError
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate

Model = TypeVar("Model")

_CORRECTION_BATCHES = 32
"""More do not change a mean over samples and positions noticeably."""

Accuracy = Callable[[Runner], float]
"""From a function that runs a model to its accuracy, a share between 0 and 1."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What a quantized model must reach.

    Parameters
    ----------
    min_sqnr_db : float or None
        Least signal-to-noise ratio of every output against float.
    max_accuracy_drop : float or None
        Largest loss of accuracy, as a share. Without labels accuracy is agreement: the share of
        samples for which the largest output is the one that is largest in float.
    """

    min_sqnr_db: float | None = None
    max_accuracy_drop: float | None = None

    def holds(self, quality: Quality) -> bool:
        """Whether a model of this quality passes."""
        loud_enough = self.min_sqnr_db is None or quality.sqnr_db >= self.min_sqnr_db
        limit, drop = self.max_accuracy_drop, quality.accuracy_drop
        return loud_enough and (limit is None or drop is None or drop <= limit)

    def __str__(self) -> str:
        parts = []
        if self.min_sqnr_db is not None:
            parts.append(f"at least {self.min_sqnr_db:g} dB")
        if self.max_accuracy_drop is not None:
            parts.append(f"at most {100 * self.max_accuracy_drop:g} points lost")
        return " and ".join(parts) or "no limit"


@dataclass(frozen=True, slots=True)
class Quality:
    """How close a quantized model is to float.

    Parameters
    ----------
    sqnr_db : float
        Of the worst output, in dB.
    accuracy_drop : float or None
        Share of accuracy lost (negative where it gained); None where nothing tells it: without
        labels it is measured by agreement, for models whose output is the scores of classes.
    labelled : bool
        Whether labels decided, instead of agreement with float.
    """

    sqnr_db: float
    accuracy_drop: float | None = None
    labelled: bool = False

    def __str__(self) -> str:
        text = f"{self.sqnr_db:.1f} dB"
        if self.accuracy_drop is None:
            return text
        if self.labelled:
            points = 100 * self.accuracy_drop
            change = "gained" if points < 0 else "lost"
            return f"{text}, {abs(points):.2f} points of accuracy {change}"
        return f"{text}, another class than float for {100 * self.accuracy_drop:.2f} % of samples"


@dataclass(frozen=True, slots=True, eq=False)
class Trial(Generic[Model]):
    """A quantized model, how it looks to the report, and how good it is."""

    model: Model
    view: QuantizedModel
    quality: Quality


@dataclass(frozen=True, slots=True, eq=False)
class GateResult(Generic[Model]):
    """The decision: which layers stay in float, why, and what came of it.

    Parameters
    ----------
    graph : Graph, or bytes of an ONNX model
        The quantized model.
    report : tuple of LayerError
        Of the model with every layer quantized: it shows what the fallback cured.
    fallback_layers : tuple of str
        Layers that went back to float, the worst first.
    quality : Quality
        Of the final model.
    reasons : tuple of str
        Sentences for the user.
    """

    graph: Model
    report: tuple[LayerError, ...]
    fallback_layers: tuple[str, ...]
    quality: Quality
    reasons: tuple[str, ...]

    @property
    def sqnr_db(self) -> float:
        """Signal-to-noise ratio of the worst output, in dB."""
        return self.quality.sqnr_db

    @property
    def accuracy_drop(self) -> float | None:
        """Share of accuracy lost."""
        return self.quality.accuracy_drop


def quantize_with_gate(
    graph: Graph,
    batches: Iterable[Mapping[str, Array]],
    *,
    gate: Gate | None = None,
    observer: str = "mse",
    keep_float: Collection[str] = (),
    float_io: bool = True,
    accuracy: Accuracy | None = None,
    allow_fallback: bool = True,
) -> GateResult[Graph]:
    """Quantize to int8, with as few layers in float as the gate allows.

    Channels are equalized and biases corrected where that raises the signal-to-noise ratio.

    Parameters
    ----------
    graph : Graph
        In floating point, static shapes.
    batches : iterable of mapping
        Calibration inputs; held in memory.
    gate : Gate, optional
        Without it every layer is quantized.
    observer : {'min-max', 'percentile', 'entropy', 'mse'}
    keep_float : collection of str
        Layers that stay in float in any case.
    float_io : bool
        Whether inputs and outputs stay float32.
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
    CalibrationError, QuantizationError, UsageError
        As :func:`~edgekit.converters.quantization.static.quantize_static`.
    """
    held = [dict(batch) for batch in batches]
    judge = Judge(graph, held, accuracy)
    variants = _variants(graph, held, observer)

    def attempt(floats: frozenset[str]) -> Trial[Graph]:
        trials = [
            _trial(graph, variant, judge, held, keep_float=floats, float_io=float_io)
            for variant in variants
        ]
        best = max(range(len(trials)), key=lambda index: trials[index].quality.sqnr_db)
        # What is best with every layer in int8 is kept for the trials that follow.
        variants[:] = [variants[best]]
        return replace(trials[best], quality=judge.quality(trials[best].view.run))

    return with_fallback(
        attempt,
        lambda trial: layer_report(variants[0].graph, trial.view, held),
        gate=gate or Gate(),
        keep_float=keep_float,
        allow_fallback=allow_fallback,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Variant:
    """A float graph with its ranges, and whether biases are corrected on it."""

    graph: Graph
    ranges: Mapping[str, Range]
    corrects_biases: bool


def _variants(
    graph: Graph, batches: Sequence[Mapping[str, Array]], observer: str
) -> list[_Variant]:
    graphs = [graph]
    equal = equalize(graph, batches)
    if equal is not graph:
        graphs.append(equal)
    return [
        _Variant(candidate, ranges, corrects)
        for candidate in graphs
        for ranges in (calibrate(candidate, batches, observer=observer),)
        for corrects in (True, False)
    ]


def _trial(
    graph: Graph,
    variant: _Variant,
    judge: Judge,
    batches: Sequence[Mapping[str, Array]],
    *,
    keep_float: Collection[str],
    float_io: bool,
) -> Trial[Graph]:
    quantized = quantize_static(
        variant.graph,
        variant.ranges,
        keep_float=keep_float,
        float_io=float_io,
        batches=batches[:_CORRECTION_BATCHES] if variant.corrects_biases else None,
    )
    view = model_of(variant.graph, quantized)
    return Trial(quantized, view, judge.closeness(view.run))


class Judge:
    """Measures models against float on the same inputs.

    Parameters
    ----------
    graph : Graph
        In floating point.
    batches : sequence of mapping
    accuracy : callable, optional
        On labelled data; without it agreement with float is measured.
    run_float : callable, optional
        Runs ``graph``; the reference executor by default.
    """

    def __init__(
        self,
        graph: Graph,
        batches: Sequence[Mapping[str, Array]],
        accuracy: Accuracy | None = None,
        *,
        run_float: Runner | None = None,
    ) -> None:
        if not batches:
            raise CalibrationError("the calibration data holds no sample")
        self._graph = graph
        self._batches = batches
        reference: Runner = run_float or partial(evaluate, graph)
        self._exact = [
            {name: values[name] for name in graph.outputs} for values in map(reference, batches)
        ]
        self._accuracy = accuracy
        self._float_accuracy = 1.0 if accuracy is None else accuracy(reference)

    def closeness(self, run: Runner) -> Quality:
        """Return the signal-to-noise ratio alone: enough to compare variants of one model."""
        ratios = {name: Ratio() for name in self._graph.outputs}
        for batch, exact in zip(self._batches, self._exact, strict=True):
            values = run(batch)
            for name, ratio in ratios.items():
                ratio.update(exact[name], values[name])
        return Quality(min(ratio.db for ratio in ratios.values()))

    def quality(self, run: Runner) -> Quality:
        """Return how close to float a model is, and what accuracy it loses."""
        if self._accuracy is not None:
            near = self.closeness(run)
            return Quality(near.sqnr_db, self._float_accuracy - self._accuracy(run), labelled=True)
        if not gives_class_scores(self._graph):
            return self.closeness(run)
        agreements: list[float] = []

        def noted(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
            values = run(inputs)
            agreements.append(_agreement(self._exact[len(agreements)], values))
            return values

        near = self.closeness(noted)
        return Quality(near.sqnr_db, 1.0 - float(np.mean(agreements)))


def gives_class_scores(graph: Graph) -> bool:
    """Whether the first output looks like the scores of classes, one row a sample.

    That is what comes from softmax or from a fully connected layer, up to changes of shape or
    type; embeddings that are normalized or pooled last are told apart by it.
    """
    producers = graph.producers()
    node = producers.get(graph.outputs[0])
    while node is not None and node.op in ("identity", "reshape", "cast", "dequantize", "quantize"):
        node = producers.get(node.inputs[0])
    return node is not None and node.op in ("softmax", "fully_connected")


def _agreement(exact: Mapping[str, Array], values: Mapping[str, Array]) -> float:
    """Return the share of rows whose largest element is at the same place in every output."""
    shares = []
    for name, array in exact.items():
        if array.ndim == 0 or array.size == 0:
            continue
        rows = array.reshape(array.shape[0], -1)
        others = values[name].reshape(rows.shape)
        shares.append(float(np.mean(rows.argmax(axis=1) == others.argmax(axis=1))))
    return min(shares, default=1.0)


def with_fallback(
    attempt: Callable[[frozenset[str]], Trial[Model]],
    report_of: Callable[[Trial[Model]], tuple[LayerError, ...]],
    *,
    gate: Gate,
    keep_float: Collection[str] = (),
    allow_fallback: bool = True,
) -> GateResult[Model]:
    """Return the model with the fewest culprits in float for which the gate holds.

    Parameters
    ----------
    attempt : callable
        Quantizes with the given layers in float, and measures.
    report_of : callable
        Returns the error of each layer of a trial.
    gate : Gate
    keep_float : collection of str
        Layers that are in float in any case.
    allow_fallback : bool

    Raises
    ------
    AccuracyError
        If the gate does not hold and layers may not go back to float, or it does not hold with
        all of them in float.
    """
    always = frozenset(keep_float)
    first = attempt(always)
    report = report_of(first)
    if gate.holds(first.quality):
        reason = f"every layer that can be is int8: {first.quality} (gate: {gate})"
        return GateResult(first.model, report, (), first.quality, (reason,))
    order = culprits(report)
    if not allow_fallback or not order:
        raise _refusal(first.quality, gate, order)
    count, trial = _fewest(attempt, gate, always, [error.layer for error in order])
    if not gate.holds(trial.quality):
        raise _refusal(trial.quality, gate, order)
    reasons = (
        f"with every layer in int8: {first.quality} (gate: {gate})",
        *(
            f"{error.layer} ({error.op}) goes back to float: quantized alone it leaves "
            f"{error.output_sqnr_db:.1f} dB at the output"
            for error in order[:count]
        ),
        f"{count} of {len(order)} layers in float: {trial.quality}",
    )
    fallback = tuple(error.layer for error in order[:count])
    return GateResult(trial.model, report, fallback, trial.quality, reasons)


def _fewest(
    attempt: Callable[[frozenset[str]], Trial[Model]],
    gate: Gate,
    always: frozenset[str],
    order: Sequence[str],
) -> tuple[int, Trial[Model]]:
    """Return how many layers, from the worst on, must be in float, and that model."""
    too_few, count = 0, 1
    trial = attempt(always.union(order[:count]))
    while not gate.holds(trial.quality) and count < len(order):
        too_few, count = count, min(2 * count, len(order))
        trial = attempt(always.union(order[:count]))
    while count - too_few > 1:
        middle = (too_few + count) // 2
        candidate = attempt(always.union(order[:middle]))
        if gate.holds(candidate.quality):
            count, trial = middle, candidate
        else:
            too_few = middle
    return count, trial


def _refusal(quality: Quality, gate: Gate, order: Sequence[LayerError]) -> AccuracyError:
    worst = ", ".join(f"{error.layer} ({error.output_sqnr_db:.1f} dB)" for error in order[:3])
    too_quiet = gate.min_sqnr_db is not None and quality.sqnr_db < gate.min_sqnr_db
    measured = quality.sqnr_db if too_quiet else quality.accuracy_drop or 0.0
    limit = gate.min_sqnr_db if too_quiet else gate.max_accuracy_drop
    return AccuracyError(
        f"the accuracy gate is not met: {quality} (gate: {gate})"
        + (f"\nmost of the loss arises in: {worst}" if worst else ""),
        measured=measured,
        limit=math.nan if limit is None else limit,
    )
