"""The records of dynamic storage allocation: buffers go in, a solution comes out.

A buffer is a rectangle: time to the right, bytes upwards. Its place in time is given, and its
offset is to be found, so that no two rectangles overlap and the highest top is as low as can be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import lcm

MAX_BYTES = 1 << 56
"""Largest size, offset, alignment or time step, so that no sum of 64 buffers leaves int64."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """Bytes that must exist from one step to another.

    Parameters
    ----------
    id : str
        Unique name.
    first_step, end_step : int
        Half-open lifetime ``[first_step, end_step)``.
    size_bytes : int
        At least 0; a buffer of no bytes overlaps nothing.
    alignment_bytes : int
        The offset is a multiple of it; at least 1, any integer.
    fixed_offset_bytes : int, optional
        The offset, where it is not free.

    Raises
    ------
    ValueError
        If a number is out of range or the fixed offset is not aligned.
    """

    id: str
    first_step: int
    end_step: int
    size_bytes: int
    alignment_bytes: int = 1
    fixed_offset_bytes: int | None = None

    def __post_init__(self) -> None:
        fixed = self.fixed_offset_bytes or 0
        if not 0 <= self.first_step < self.end_step <= MAX_BYTES:
            raise ValueError(
                f"buffer {self.id}: lifetime [{self.first_step}, {self.end_step}) is empty, "
                f"negative or beyond {MAX_BYTES}"
            )
        if not 0 <= self.size_bytes <= MAX_BYTES:
            raise ValueError(f"buffer {self.id}: size {self.size_bytes} not in 0..{MAX_BYTES}")
        if not 1 <= self.alignment_bytes <= MAX_BYTES:
            raise ValueError(
                f"buffer {self.id}: alignment {self.alignment_bytes} not in 1..{MAX_BYTES}"
            )
        if not 0 <= fixed <= MAX_BYTES or fixed % self.alignment_bytes:
            raise ValueError(
                f"buffer {self.id}: fixed offset {fixed} not in 0..{MAX_BYTES} or not a multiple "
                f"of {self.alignment_bytes}"
            )

    def overlaps(self, other: Buffer) -> bool:
        """Whether both exist at some step."""
        return self.first_step < other.end_step and other.first_step < self.end_step


@dataclass(frozen=True, slots=True)
class Solution:
    """Where each buffer lies.

    Parameters
    ----------
    offsets : mapping of str to int
        Offset of each buffer by id, bytes; a valid plan also where ``feasible`` is False.
    height_bytes : int
        Highest ``offset + size``.
    lower_bound_bytes : int
        No plan is lower: the largest sum of live bytes, alignment considered, raised by proofs.
    greedy_height_bytes : int
        Height of the best greedy plan, never below ``height_bytes``.
    optimal : bool
        Whether the height is proven smallest.
    feasible : bool
        Whether the plan keeps the capacity (always True without one).
    seconds : float
        Time spent.
    nodes : int
        Nodes of the exact search, 0 where greedy was enough.
    method : str
        ``greedy`` or ``exact``: what found the plan.
    """

    offsets: Mapping[str, int]
    height_bytes: int
    lower_bound_bytes: int
    greedy_height_bytes: int
    optimal: bool
    feasible: bool
    seconds: float
    nodes: int
    method: str


def merge_aliases(id: str, buffers: Iterable[Buffer]) -> Buffer:
    """One buffer that covers a group whose members use the same bytes one after another.

    An operator that writes its output over its input makes such a group. Every member then lies
    at the offset of the merged buffer.

    Parameters
    ----------
    id : str
        Name of the merged buffer.
    buffers : iterable of Buffer
        At least one.

    Returns
    -------
    Buffer
        Lifetime from the first to the last step of any member, the largest size, and an alignment
        that all alignments divide.

    Raises
    ------
    ValueError
        If the group is empty or its members are fixed at different offsets.
    """
    group = list(buffers)
    fixed = {b.fixed_offset_bytes for b in group if b.fixed_offset_bytes is not None}
    if not group or len(fixed) > 1:
        raise ValueError(f"alias group {id}: empty, or fixed at several offsets {sorted(fixed)}")
    return Buffer(
        id=id,
        first_step=min(b.first_step for b in group),
        end_step=max(b.end_step for b in group),
        size_bytes=max(b.size_bytes for b in group),
        alignment_bytes=lcm(*(b.alignment_bytes for b in group)),
        fixed_offset_bytes=next(iter(fixed), None),
    )
