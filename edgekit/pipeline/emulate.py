"""Run a package for real, with the time, energy and memory limits of its device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgekit.converters.partitioning.placement import place
from edgekit.deploy.cores import kernels_of
from edgekit.dtypes import Array
from edgekit.emulators import emulator_modules, stated_error
from edgekit.errors import EmulatorError
from edgekit.package import MODEL_NAMES, Package, open_package
from edgekit.plan import Plan
from edgekit.planner import ExecutorMemory, build_plan
from edgekit.profiles import DeviceProfile, load_profile
from edgekit.runtime.memory_model import POLICIES
from edgekit.runtime.trace import RunResult


def emulate_package(
    path: Path, inputs: Mapping[str, Array], *, device: str | None = None
) -> RunResult:
    """Run a package once on an emulator.

    Parameters
    ----------
    path : Path
    inputs : mapping of name to array
    device : str, optional
        Another device than the one the package was made for; it is planned again for it.

    Returns
    -------
    RunResult
        Real outputs; the trace is modelled.

    Raises
    ------
    EmulatorError
        If no emulator reproduces the kind of device.
    MemoryBudgetError
        If the package does not fit the device.
    """
    package = open_package(path)
    profile = package.profile() if device is None else load_profile(device)
    emulator = next(
        (m for _, m in emulator_modules() if profile.kind in getattr(m, "EMULATES", ())), None
    )
    if emulator is None:
        raise EmulatorError(f"no emulator reproduces {profile.name} ({profile.kind})")
    plan = package.plan if device is None else replan(package, profile)
    result: RunResult = emulator.emulate_package(package, plan, profile, inputs)
    trace = replace(result.trace, stated_error=stated_error(profile))
    return replace(result, trace=trace)


def replan(package: Package, profile: DeviceProfile) -> Plan:
    """Plan a package's graph for another device, with the same executor."""
    graph, executor = package.structure(), package.manifest.executor
    reach = executor if executor in MODEL_NAMES else ""
    placed = place(graph, profile, package.cost_precision, executor=reach)
    old = package.plan.memories
    memory = None
    if executor in MODEL_NAMES:
        weights_bytes = sum(use.weights_bytes for use in old)
        overhead_bytes = sum(use.overhead_bytes for use in old)
        memory = ExecutorMemory(weights_bytes, overhead_bytes, policy=POLICIES[executor])
    return build_plan(
        graph,
        profile,
        executor=executor,
        placement=placed.placements,
        executor_memory=memory,
        kernels=kernels_of(profile),
    )
