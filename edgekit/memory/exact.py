"""The exact search of the native core (``csrc/memory``), and the smallest height by it.

:func:`search` answers one question: is there a plan within a capacity? :func:`minimise` asks it for
capacities between the lower bound and the height of a known plan.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import gcd

from edgekit.errors import ExecutionError
from edgekit.memory.bounds import round_up
from edgekit.memory.problem import Buffer
from edgekit.native import load_library

MAX_BUFFERS = 16384
"""``EK_MEMORY_MAX_BUFFERS``."""

MAX_WORKSPACE_BYTES = 1 << 30
"""Larger problems are left to the greedy planner."""

NOT_FIXED = -1


class Outcome(IntEnum):
    """``ek_memory_outcome``."""

    UNDECIDED = 0
    FEASIBLE = 1
    INFEASIBLE = 2


class CBuffer(ctypes.Structure):
    """``ek_memory_buffer``."""

    _fields_ = (
        ("lower", ctypes.c_int64),
        ("upper", ctypes.c_int64),
        ("size_bytes", ctypes.c_int64),
        ("alignment_bytes", ctypes.c_int64),
        ("fixed_offset_bytes", ctypes.c_int64),
    )


StopCallback = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)


class COptions(ctypes.Structure):
    """``ek_memory_options``."""

    _fields_ = (
        ("capacity_bytes", ctypes.c_int64),
        ("node_limit", ctypes.c_int64),
        ("should_stop", StopCallback),
        ("context", ctypes.c_void_p),
    )


class CResult(ctypes.Structure):
    """``ek_memory_result``."""

    _fields_ = (
        ("height_bytes", ctypes.c_int64),
        ("nodes", ctypes.c_int64),
        ("outcome", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Answer of one search.

    Parameters
    ----------
    outcome : Outcome
    height_bytes : int
        Height of the plan, 0 where there is none.
    offsets : tuple of int
        In the order of the buffers, bytes; empty where there is no plan.
    nodes : int
        Search nodes used.
    """

    outcome: Outcome
    height_bytes: int
    offsets: tuple[int, ...]
    nodes: int


@dataclass(frozen=True, slots=True)
class Minimum:
    """What :func:`minimise` found.

    Parameters
    ----------
    height_bytes : int
        Height of the best plan.
    offsets : tuple of int
        Its offsets in the order of the buffers, bytes; empty where no plan is better than the
        known one.
    lower_bound_bytes : int
        No plan is lower.
    nodes : int
        Search nodes used.
    """

    height_bytes: int
    offsets: tuple[int, ...]
    lower_bound_bytes: int
    nodes: int


class ExactSearch:
    """A problem handed over to the native core, with its workspace.

    Parameters
    ----------
    buffers : sequence of Buffer
        1 to ``MAX_BUFFERS``, none of 0 bytes.
    deadline_s : float
        ``time.perf_counter()`` value after which every search stops.

    Raises
    ------
    MissingDependencyError
        If the native core is not there.
    ExecutionError
        If it refuses the problem: too large, or sizes that sum beyond its range.
    """

    def __init__(self, buffers: Sequence[Buffer], *, deadline_s: float) -> None:
        self._library = _declare(load_library())
        self._count = len(buffers)
        self._buffers = (CBuffer * len(buffers))(*(_to_c(buffer) for buffer in buffers))
        size_bytes = self._library.ek_memory_workspace_bytes(self._buffers, self._count)
        if not 0 < size_bytes <= MAX_WORKSPACE_BYTES:
            raise ExecutionError(f"{self._count} buffers are beyond the exact memory planner")
        self._memory = ctypes.create_string_buffer(size_bytes + 16)
        self._workspace = round_up(ctypes.addressof(self._memory), 16)
        self._workspace_bytes = size_bytes
        self._should_stop = StopCallback(lambda _context: time.perf_counter() > deadline_s)

    def search(self, capacity_bytes: int, *, node_limit: int) -> SearchResult:
        """Look for a plan within a capacity.

        Parameters
        ----------
        capacity_bytes : int
            At least 1.
        node_limit : int
            Search nodes after which the answer is ``UNDECIDED``.
        """
        options = COptions(capacity_bytes, node_limit, self._should_stop, None)
        result = CResult()
        offsets = (ctypes.c_int64 * self._count)()
        status = self._library.ek_memory_solve(
            self._buffers,
            self._count,
            ctypes.byref(options),
            self._workspace,
            self._workspace_bytes,
            ctypes.byref(result),
            offsets,
        )
        if status != 0:
            raise ExecutionError(f"the exact memory planner refused: {status}", status=status)
        outcome = Outcome(result.outcome)
        found = tuple(offsets) if outcome is Outcome.FEASIBLE else ()
        return SearchResult(outcome, result.height_bytes, found, result.nodes)


def minimise(
    search: ExactSearch, *, step_bytes: int, low_bytes: int, high_bytes: int, node_limit: int
) -> Minimum:
    """Lower the height of a known plan until it is proven smallest or the nodes are used up.

    The lower bound itself is tried first, since it is often reached; then the middle of what is
    left, each with a share of the nodes.

    Parameters
    ----------
    search : ExactSearch
        The problem.
    step_bytes : int
        All heights are multiples of it (:func:`height_step`).
    low_bytes, high_bytes : int
        A lower bound, and the height of the known plan.
    node_limit : int
        Search nodes in total.
    """
    proven = untried = round_up(low_bytes, step_bytes)
    offsets: tuple[int, ...] = ()
    nodes = 0
    capacity = proven
    while proven < high_bytes and untried < high_bytes and nodes < node_limit:
        share = max((node_limit - nodes) // 4, 1)
        answer = search.search(capacity, node_limit=share)
        nodes += max(answer.nodes, 1)
        if answer.outcome is Outcome.FEASIBLE:
            high_bytes, offsets = answer.height_bytes, answer.offsets
        else:
            untried = capacity + step_bytes
            if answer.outcome is Outcome.INFEASIBLE:
                proven = untried
        middle = (untried + high_bytes - step_bytes) // 2
        capacity = max(untried, middle // step_bytes * step_bytes)
    return Minimum(high_bytes, offsets, min(proven, high_bytes), nodes)


def height_step(buffers: Sequence[Buffer]) -> int:
    """Bytes that divide every height that a plan with supported buffers can have."""
    step = gcd(*(b.size_bytes for b in buffers), *(b.fixed_offset_bytes or 0 for b in buffers))
    alignments = {b.alignment_bytes for b in buffers}
    while any(step % alignment for alignment in alignments):
        smaller = gcd(step, *(a for a in alignments if step % a))
        if smaller == step:
            break
        step = smaller
    return step


def _to_c(buffer: Buffer) -> CBuffer:
    fixed = NOT_FIXED if buffer.fixed_offset_bytes is None else buffer.fixed_offset_bytes
    return CBuffer(
        buffer.first_step, buffer.end_step, buffer.size_bytes, buffer.alignment_bytes, fixed
    )


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    library.ek_memory_workspace_bytes.argtypes = (ctypes.POINTER(CBuffer), ctypes.c_size_t)
    library.ek_memory_workspace_bytes.restype = ctypes.c_size_t
    library.ek_memory_solve.argtypes = (
        ctypes.POINTER(CBuffer),
        ctypes.c_size_t,
        ctypes.POINTER(COptions),
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.POINTER(CResult),
        ctypes.POINTER(ctypes.c_int64),
    )
    library.ek_memory_solve.restype = ctypes.c_int
    return library
