"""The choice between float32, float16 and int8: by predicted latency and by accuracy.

Of the precisions that pass the gate the fastest is taken; where two are within 5 %, the more
accurate one. Every precision gets a sentence that says why it was taken or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.converters.quantization.fallback import Gate, Quality
from edgekit.errors import AccuracyError, UsageError
from edgekit.units import format_seconds

_SAME_SPEED = 1.05
"""Predicted latencies closer than this factor are not told apart."""


@dataclass(frozen=True, slots=True)
class PrecisionOption:
    """One precision that the device can run.

    Parameters
    ----------
    latency_s : float
        Predicted for the device.
    weights_bytes : int
    quality : Quality or None
        Against float32; None for float32 itself.
    """

    latency_s: float
    weights_bytes: int
    quality: Quality | None = None


@dataclass(frozen=True, slots=True)
class PrecisionChoice:
    """The precision chosen, and a sentence for each precision considered."""

    precision: str
    reasons: tuple[str, ...]


def choose_precision(
    options: Mapping[str, PrecisionOption], *, gate: Gate | None = None
) -> PrecisionChoice:
    """Return the fastest precision that passes the gate.

    Parameters
    ----------
    options : mapping of precision to PrecisionOption
        For instance ``float32``, ``float16``, ``int8``; the order decides between equals.
    gate : Gate, optional

    Raises
    ------
    UsageError
        If there are no options.
    AccuracyError
        If no option passes the gate.
    """
    if not options:
        raise UsageError("the device runs none of float32, float16 and int8")
    limit = gate or Gate()
    passing = {
        name: option
        for name, option in options.items()
        if option.quality is None or limit.holds(option.quality)
    }
    if not passing:
        raise _refusal(options, limit)
    fastest_s = min(option.latency_s for option in passing.values())
    near = [name for name in passing if passing[name].latency_s <= _SAME_SPEED * fastest_s]
    chosen = max(near, key=lambda name: _closeness(passing[name]))
    return PrecisionChoice(chosen, _reasons(options, passing, chosen, limit))


def _closeness(option: PrecisionOption) -> float:
    return float("inf") if option.quality is None else option.quality.sqnr_db


def _reasons(
    options: Mapping[str, PrecisionOption],
    passing: Mapping[str, PrecisionOption],
    chosen: str,
    gate: Gate,
) -> tuple[str, ...]:
    best = options[chosen]
    sentences = [f"{chosen} is chosen: {_described(best)}."]
    for name, option in options.items():
        if name == chosen:
            continue
        ratio = option.latency_s / best.latency_s if best.latency_s > 0 else 1.0
        if name not in passing:
            why = f"it misses the gate ({gate})"
        elif ratio > _SAME_SPEED:
            why = f"it is predicted to take {ratio:.2f} times as long"
        else:
            why = f"it is no faster than {chosen}, as far as the model can tell"
        sentences.append(f"{name} is not chosen, {why}: {_described(option)}.")
    return tuple(sentences)


def _described(option: PrecisionOption) -> str:
    quality = "exact" if option.quality is None else str(option.quality)
    return (
        f"{format_seconds(option.latency_s)} predicted, {option.weights_bytes:,} bytes of weights, "
        f"{quality}"
    )


def _refusal(options: Mapping[str, PrecisionOption], gate: Gate) -> AccuracyError:
    qualities = {name: option.quality for name, option in options.items() if option.quality}
    name, best = max(qualities.items(), key=lambda item: item[1].sqnr_db)
    too_quiet = gate.min_sqnr_db is not None and best.sqnr_db < gate.min_sqnr_db
    limit = gate.min_sqnr_db if too_quiet else gate.max_accuracy_drop
    return AccuracyError(
        f"no precision of the device meets the accuracy gate ({gate}); the best is {name}: {best}",
        measured=best.sqnr_db if too_quiet else best.accuracy_drop or 0.0,
        limit=0.0 if limit is None else limit,
    )
