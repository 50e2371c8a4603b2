"""What happened during a run, and whether it was measured or modelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.dtypes import Array
from edgekit.plan import EstimateKind


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a run.

    Parameters
    ----------
    step : int
        Index into ``Plan.steps``, or a running number where the executor has steps of its own.
    name : str
        Node or tensor.
    processor : str
        Where it ran; empty where the executor does not say.
    start_ns, duration_ns : int
        From the begin of the run.
    """

    step: int
    name: str
    processor: str
    start_ns: int
    duration_ns: int


@dataclass(frozen=True, slots=True)
class Trace:
    """One run.

    Parameters
    ----------
    kind : "measured" or "modelled"
    executor : str
        What ran.
    latency_s : float
    peak_bytes : mapping of memory name to int
        Largest use; empty where the executor cannot observe it.
    events : tuple of Event
    energy_j : float or None
        None where nothing measured or modelled it.
    instructions : int or None
        Executed by the core; None where they were not counted.
    stated_error : str
        What is known of the error of modelled time and energy; empty where nothing is.
    cases : mapping of flag to int
        Which case of each choice was taken; empty where the executor does not say.
    """

    kind: EstimateKind
    executor: str
    latency_s: float
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    energy_j: float | None = None
    instructions: int | None = None
    stated_error: str = ""
    cases: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunResult:
    """Outputs of a run (mapping of name to array, in the model's order), and its trace."""

    outputs: Mapping[str, Array]
    trace: Trace
