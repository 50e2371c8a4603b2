"""Proof that offsets are sound, written apart from everything that finds them.

A sweep over time: at each step the live buffers are kept sorted by offset, and a buffer that
arrives is compared with its two neighbours.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence

from edgekit.errors import InternalError
from edgekit.memory.problem import Buffer


def verify_offsets(
    buffers: Sequence[Buffer], offsets: Mapping[str, int], *, capacity_bytes: int | None = None
) -> None:
    """Check a placement that edgekit itself made.

    Raises
    ------
    InternalError
        Naming the first problem that :func:`find_offset_problems` finds.
    """
    for problem in find_offset_problems(buffers, offsets, capacity_bytes=capacity_bytes):
        raise InternalError(f"the memory plan is wrong: {problem}")


def find_offset_problems(
    buffers: Sequence[Buffer], offsets: Mapping[str, int], *, capacity_bytes: int | None = None
) -> Iterator[str]:
    """Yield everything that is wrong with a placement; nothing where it is sound.

    Parameters
    ----------
    buffers : sequence of Buffer
        What must be placed.
    offsets : mapping of str to int
        Offset of each buffer by id, bytes.
    capacity_bytes : int, optional
        No buffer may end above it.
    """
    missing = [buffer.id for buffer in buffers if buffer.id not in offsets]
    yield from (f"buffer {name} has no offset" for name in missing)
    placed = [buffer for buffer in buffers if buffer.id in offsets]
    for buffer in placed:
        yield from _own_problems(buffer, offsets[buffer.id], capacity_bytes)
    yield from _overlaps([b for b in placed if b.size_bytes > 0], offsets)


def _own_problems(buffer: Buffer, offset: int, capacity_bytes: int | None) -> Iterator[str]:
    if offset < 0:
        yield f"buffer {buffer.id} has the negative offset {offset}"
    if offset % buffer.alignment_bytes:
        yield f"buffer {buffer.id} at {offset} is not aligned to {buffer.alignment_bytes}"
    if buffer.fixed_offset_bytes not in (None, offset):
        yield f"buffer {buffer.id} is at {offset}, fixed at {buffer.fixed_offset_bytes}"
    if capacity_bytes is not None and offset + buffer.size_bytes > capacity_bytes:
        yield f"buffer {buffer.id} ends at {offset + buffer.size_bytes}, above {capacity_bytes}"


def _overlaps(buffers: Sequence[Buffer], offsets: Mapping[str, int]) -> Iterator[str]:
    events = [(b.first_step, 1, i) for i, b in enumerate(buffers)]
    events += [(b.end_step, 0, i) for i, b in enumerate(buffers)]
    live: list[tuple[int, int, int]] = []
    for _, arrives, i in sorted(events):
        bottom = offsets[buffers[i].id]
        entry = (bottom, bottom + buffers[i].size_bytes, i)
        position = bisect_left(live, entry)
        if not arrives:
            del live[position]
            continue
        for other in live[max(position - 1, 0) : position + 1]:
            if other[0] < entry[1] and entry[0] < other[1]:
                yield f"buffers {buffers[other[2]].id} and {buffers[i].id} overlap"
        insort(live, entry)
