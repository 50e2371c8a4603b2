"""Lower bounds on the height of any plan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import gcd

from edgekit.memory.problem import Buffer


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """Bytes below which no plan can stay: the largest sum of bytes that live at one step.

    Offsets are multiples of the greatest common divisor of all alignments and fixed offsets, so
    each buffer takes its size rounded up to it, except the topmost one of a step.

    Parameters
    ----------
    buffers : sequence of Buffer
        Any number, in any order.

    Returns
    -------
    int
        Bytes.
    """
    unit = alignment_unit(buffers)
    starts: dict[int, list[Buffer]] = defaultdict(list)
    ends: dict[int, list[Buffer]] = defaultdict(list)
    for buffer in buffers:
        starts[buffer.first_step].append(buffer)
        ends[buffer.end_step].append(buffer)
    best = max((top_of_fixed(buffer) for buffer in buffers), default=0)
    live: dict[int, int] = defaultdict(int)
    total = 0
    for step in sorted(starts.keys() | ends.keys()):
        for buffer in ends[step]:
            total -= round_up(buffer.size_bytes, unit)
            live[_padding(buffer, unit)] -= 1
        for buffer in starts[step]:
            total += round_up(buffer.size_bytes, unit)
            live[_padding(buffer, unit)] += 1
        if starts[step]:
            best = max(best, total - max(padding for padding, n in live.items() if n))
    return best


def alignment_unit(buffers: Sequence[Buffer]) -> int:
    """Greatest number of bytes that divides every alignment and every fixed offset."""
    return gcd(*(b.alignment_bytes for b in buffers), *(b.fixed_offset_bytes or 0 for b in buffers))


def round_up(value: int, multiple: int) -> int:
    """Smallest multiple that is not below a value."""
    return -(-value // multiple) * multiple


def top_of_fixed(buffer: Buffer) -> int:
    """Height that the buffer enforces alone."""
    return (buffer.fixed_offset_bytes or 0) + buffer.size_bytes


def _padding(buffer: Buffer, unit: int) -> int:
    return round_up(buffer.size_bytes, unit) - buffer.size_bytes
