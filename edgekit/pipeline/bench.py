"""Latency of a package on this computer."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from edgekit.runtime.session import load

WARM_UP_RUNS = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """Latency over a number of runs, in seconds."""

    executor: str
    runs: int
    min_s: float
    median_s: float
    p90_s: float


def bench(package: Path, *, runs: int, executor: str | None = None, threads: int = 1) -> Timing:
    """Run a package ``runs`` times on zeros of the planned shapes, after three runs of warm-up."""
    with load(package, executor=executor, threads=threads) as session:
        inputs = session.zeros()
        for _ in range(WARM_UP_RUNS):
            session.run(inputs)
        times = sorted(session.run(inputs).trace.latency_s for _ in range(runs))
        name = session.executor
    return Timing(
        executor=name,
        runs=runs,
        min_s=times[0],
        median_s=statistics.median(times),
        p90_s=times[min(len(times) - 1, round(0.9 * (len(times) - 1)))],
    )
