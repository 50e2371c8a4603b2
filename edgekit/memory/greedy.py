"""Greedy plans: buffers one after another into the first or the tightest gap, in several orders.

Each is quadratic at worst, needs no native library, and gives the exact search its first height.

References
----------
Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", MLSys 2020 workshop
on resource-constrained ML, section 5 (greedy by size and by breadth).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from edgekit.memory.bounds import round_up
from edgekit.memory.problem import Buffer

Placement = list[int]
"""Offset of each buffer, in the order of the problem, bytes."""

_MANY = 2000
"""Buffers above which only the two orders that win most often are tried."""


def best_greedy(buffers: Sequence[Buffer], target_bytes: int) -> tuple[int, Placement]:
    """Lowest plan over several orders and both gap rules.

    Parameters
    ----------
    buffers : sequence of Buffer
        Buffers with fixed offsets go first; those of no bytes are not supported here.
    target_bytes : int
        The search stops as soon as a plan is this low.

    Returns
    -------
    height_bytes : int
    placement : list of int
        Offsets in the order of ``buffers``.
    """
    neighbours = overlap_lists(buffers)
    best: tuple[int, Placement] | None = None
    orders = _orders(buffers, neighbours)
    for order in orders if len(buffers) <= _MANY else orders[:2]:
        for tightest in (False, True):
            found = _place(buffers, neighbours, order, tightest=tightest)
            if best is None or found[0] < best[0]:
                best = found
            if best[0] <= target_bytes:
                return best
    assert best is not None
    return best


def overlap_lists(buffers: Sequence[Buffer]) -> list[list[int]]:
    """For each buffer the indices of those that live at one of its steps."""
    by_start = sorted(range(len(buffers)), key=lambda i: buffers[i].first_step)
    starts = [buffers[i].first_step for i in by_start]
    result: list[list[int]] = [[] for _ in buffers]
    for position, i in enumerate(by_start):
        stop = bisect_left(starts, buffers[i].end_step, lo=position + 1)
        for j in by_start[position + 1 : stop]:
            result[i].append(j)
            result[j].append(i)
    return result


def _orders(buffers: Sequence[Buffer], neighbours: list[list[int]]) -> list[list[int]]:
    """Orders to place in; ties by start, then by position, so that results are repeatable."""

    def duration(i: int) -> int:
        return buffers[i].end_step - buffers[i].first_step

    def pressure(i: int) -> int:
        return buffers[i].size_bytes + sum(buffers[j].size_bytes for j in neighbours[i])

    keys: list[Callable[[int], int]] = [
        lambda i: -buffers[i].size_bytes,
        lambda i: -buffers[i].size_bytes * duration(i),
        lambda i: -duration(i),
        lambda i: -pressure(i),
        lambda i: buffers[i].first_step,
        lambda i: -buffers[i].end_step,
    ]
    return [
        sorted(
            range(len(buffers)),
            key=lambda i: (
                buffers[i].fixed_offset_bytes is None,
                key(i),
                buffers[i].first_step,
                i,
            ),
        )
        for key in keys
    ]


def _place(
    buffers: Sequence[Buffer], neighbours: list[list[int]], order: Sequence[int], *, tightest: bool
) -> tuple[int, Placement]:
    offsets = [-1] * len(buffers)
    height = 0
    for i in order:
        buffer = buffers[i]
        if buffer.fixed_offset_bytes is not None:
            offsets[i] = buffer.fixed_offset_bytes
        else:
            taken = sorted(
                (offsets[j], offsets[j] + buffers[j].size_bytes)
                for j in neighbours[i]
                if offsets[j] >= 0
            )
            offsets[i] = _gap(taken, buffer, tightest=tightest)
        height = max(height, offsets[i] + buffer.size_bytes)
    return height, offsets


def _gap(taken: Sequence[tuple[int, int]], buffer: Buffer, *, tightest: bool) -> int:
    """Offset of the first, or of the tightest, gap between taken ranges that holds the buffer."""
    candidate = 0
    best_offset, best_waste = -1, -1
    for bottom, top in taken:
        waste = bottom - candidate - buffer.size_bytes
        if waste >= 0 and (best_offset < 0 or waste < best_waste):
            best_offset, best_waste = candidate, waste
            if not tightest:
                return best_offset
        candidate = max(candidate, round_up(top, buffer.alignment_bytes))
    return candidate if best_offset < 0 else best_offset
