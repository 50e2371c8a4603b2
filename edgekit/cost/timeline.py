"""A list scheduler over resources, in integer nanoseconds.

Each resource (a processor, a link) has a time at which it is free. A task starts at the latest of
the ends of what it waits for and of the free times of its resources. Tasks are taken in the order
given, so that equal input gives equal time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Task:
    """Work that occupies resources for a time.

    Parameters
    ----------
    name : str
    resources : tuple of str
        All are held for the whole duration.
    duration_ns : int
    after : tuple of int
        Earlier tasks that must have ended.
    energy_j : float
    """

    name: str
    resources: tuple[str, ...]
    duration_ns: int
    after: tuple[int, ...] = ()
    energy_j: float = 0.0


@dataclass(frozen=True, slots=True)
class Timeline:
    """When each task starts; ``end_ns`` is when the last one ends."""

    start_ns: tuple[int, ...]
    end_ns: int


def run_tasks(tasks: Sequence[Task]) -> Timeline:
    """Return the start of every task.

    Raises
    ------
    ValueError
        If a task waits for itself or for a later one, or lasts less than nothing.
    """
    free_ns: dict[str, int] = {}
    starts: list[int] = []
    ends: list[int] = []
    for index, task in enumerate(tasks):
        if task.duration_ns < 0 or any(not 0 <= before < index for before in task.after):
            raise ValueError(f"task {index} ({task.name}) cannot be placed in time")
        ready = [ends[before] for before in task.after]
        ready += [free_ns.get(resource, 0) for resource in task.resources]
        start = max(ready, default=0)
        starts.append(start)
        ends.append(start + task.duration_ns)
        for resource in task.resources:
            free_ns[resource] = ends[-1]
    return Timeline(tuple(starts), max(ends, default=0))


def to_ns(seconds: float) -> int:
    """Return a duration in whole nanoseconds."""
    return round(seconds * 1e9)
