"""The smartphone emulator: real outputs, with the time and energy of a phone.

The outputs come from an executor that the caller passes in. Time is modelled: each node by the
roofline of its processor with measured efficiency (:mod:`edgekit.cost.roofline`), each tensor that
changes processor by a hand-over or a link, all on a timeline of processors and links in integer
nanoseconds. Heat is a first-order model: a run that goes on long enough slows down. Energy is the
active power of the processors over their time, the bytes moved, and the idle power of the device.

Peak bytes are those of the plan, which :mod:`edgekit.verify` has proven.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from edgekit.cost.timeline import Task, run_tasks
from edgekit.cost.work import Precision
from edgekit.dtypes import Array
from edgekit.emulators.smartphone_rows import published_rows
from edgekit.emulators.thermal import ThermalState
from edgekit.emulators.validation import ValidationRow
from edgekit.errors import EmulatorError
from edgekit.estimate import idle_power_w, placed_tasks
from edgekit.fit import check_fit
from edgekit.graph import Graph
from edgekit.package import Package
from edgekit.plan import Plan
from edgekit.profiles import DeviceProfile
from edgekit.runtime.session import load
from edgekit.runtime.trace import Event, RunResult, Trace

EMULATES = ("phone", "sbc")
"""Kinds of device."""


@dataclass(frozen=True, slots=True)
class Sustained:
    """Runs back to back.

    Parameters
    ----------
    latency_s : tuple of float
        Of each run.
    celsius : tuple of float
        Temperature after each run.
    energy_j : float
        Of all runs.
    """

    latency_s: tuple[float, ...]
    celsius: tuple[float, ...]
    energy_j: float


def emulate_package(
    package: Package, plan: Plan, profile: DeviceProfile, inputs: Mapping[str, Array]
) -> RunResult:
    """Run a package once with its own executor; time and energy are those of the device.

    Parameters
    ----------
    package : Package
    plan : Plan
        Of the package's graph on the device.
    profile : DeviceProfile
    inputs : mapping of name to array

    Raises
    ------
    EdgekitError
        As :func:`emulate`, and as loading and running the package.
    """
    with load(package) as session:
        return emulate(
            profile,
            package.structure(),
            plan,
            lambda: session.run(inputs),
            precision=package.cost_precision,
        )


def emulate(
    profile: DeviceProfile,
    graph: Graph,
    plan: Plan,
    run: Callable[[], RunResult],
    *,
    precision: Precision | None = None,
    thermal: ThermalState | None = None,
) -> RunResult:
    """Run once for real, and say what the run would take on the phone.

    Parameters
    ----------
    profile : DeviceProfile
    graph : Graph
        What the plan is of, with static shapes.
    plan : Plan
        Its placement and its memories are used.
    run : callable
        Runs an executor on the inputs; its outputs are returned unchanged.
    precision : str or None
        What the float tensors of ``graph`` are on the device; None for the graph as it is.
    thermal : ThermalState, optional
        Temperature at the start; cold without it.

    Returns
    -------
    RunResult
        Real outputs; the trace is ``modelled``, its events are in nanoseconds from the start.

    Raises
    ------
    EmulatorError
        If the emulator does not reproduce this kind of device.
    MemoryBudgetError
        If the plan needs more than an app may use: the phone would end the app.
    PlacementError
        If the plan has a node where it cannot run.
    """
    trace = model_run(profile, graph, plan, precision=precision, thermal=thermal)
    return RunResult(run().outputs, trace)


def model_run(
    profile: DeviceProfile,
    graph: Graph,
    plan: Plan,
    *,
    precision: Precision | None = None,
    thermal: ThermalState | None = None,
) -> Trace:
    """Return the trace that :func:`emulate` gives, without running anything."""
    if profile.kind not in EMULATES or not profile.capabilities.emulate:
        raise EmulatorError(
            f"{profile.name} is not a device that the smartphone emulator reproduces "
            f"({', '.join(EMULATES)}). {profile.capabilities.note}".rstrip()
        )
    check_fit(plan)
    state = thermal or ThermalState.cold(profile)
    tasks, costs = placed_tasks(graph, profile, plan.placement, precision, executor=plan.executor)
    tasks = _slowed(tasks, state.clock_fraction)
    timeline = run_tasks(tasks)
    latency_s = timeline.end_ns * 1e-9
    events = tuple(
        Event(cost.step, task.name, cost.processor, start, task.duration_ns)
        for task, cost, start in zip(tasks, costs, timeline.start_ns, strict=True)
    )
    energy_j = sum(task.energy_j for task in tasks) + idle_power_w(profile) * latency_s
    peaks = {use.name: use.peak_bytes for use in plan.memories}
    return Trace("modelled", "smartphone", latency_s, peaks, events, energy_j)


def sustained(
    profile: DeviceProfile,
    graph: Graph,
    plan: Plan,
    runs: int,
    *,
    precision: Precision | None = None,
) -> Sustained:
    """Model runs back to back on a phone that starts cold."""
    state = ThermalState.cold(profile)
    latencies: list[float] = []
    celsius: list[float] = []
    energy_j = 0.0
    for _ in range(runs):
        trace = model_run(profile, graph, plan, precision=precision, thermal=state)
        run_j = trace.energy_j or 0.0
        power_w = run_j / trace.latency_s if trace.latency_s else 0.0
        state = state.after(power_w, trace.latency_s)
        latencies.append(trace.latency_s)
        celsius.append(state.celsius)
        energy_j += run_j
    return Sustained(tuple(latencies), tuple(celsius), energy_j)


def validation_rows() -> list[ValidationRow]:
    """Return every published row that this emulator claims."""
    return published_rows()


def _slowed(tasks: list[Task], clock_fraction: float) -> list[Task]:
    """Stretch all tasks; the energy of each stays: less power for longer."""
    if clock_fraction >= 1.0:
        return tasks
    return [replace(task, duration_ns=round(task.duration_ns / clock_fraction)) for task in tasks]
