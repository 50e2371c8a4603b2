"""Offsets for buffers: greedy first, then the exact search where greedy is not proven smallest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.errors import ExecutionError, PlanError, UsageError
from edgekit.memory.bounds import lower_bound
from edgekit.memory.exact import MAX_BUFFERS, ExactSearch, Minimum, Outcome, height_step, minimise
from edgekit.memory.greedy import Placement, best_greedy
from edgekit.memory.problem import Buffer, Solution
from edgekit.memory.verifier import find_offset_problems, verify_offsets
from edgekit.native import has_library

NODES_TIMES_BUFFERS = 30_000_000
"""Default budget: nodes times buffers, roughly two seconds of search on a laptop."""

NO_NODE_LIMIT = 1 << 62
"""Node limit that never binds; results then depend on the speed of the machine."""


@dataclass(frozen=True, slots=True)
class _Budget:
    node_limit: int
    deadline_s: float


def default_node_limit(count: int) -> int:
    """Search nodes for a number of buffers; nodes cost more the more buffers there are."""
    return NODES_TIMES_BUFFERS // max(count, 100)


def plan_offsets(
    buffers: Sequence[Buffer],
    *,
    capacity_bytes: int | None = None,
    node_limit: int | None = None,
    time_limit_s: float = 60.0,
) -> Solution:
    """Place buffers so that no two that live together overlap.

    Without a capacity the height is made as small as the budget allows; with one, the first plan
    that keeps it is returned. The same arguments give the same plan as long as the time limit,
    which is only a safety net, does not end the search before the node limit does.

    Parameters
    ----------
    buffers : sequence of Buffer
        Unique ids; may be empty.
    capacity_bytes : int, optional
        Bytes there are.
    node_limit : int, optional
        Nodes of the exact search, :func:`default_node_limit` where not given.
    time_limit_s : float
        Seconds after which the best plan so far is returned.

    Returns
    -------
    Solution
        Always a valid plan; ``feasible`` says whether it keeps the capacity.

    Raises
    ------
    UsageError
        If an id is used twice, or the capacity is not positive.
    PlanError
        If buffers with fixed offsets overlap each other.

    Notes
    -----
    Without the native core only greedy plans are made, and ``optimal`` is claimed only at the
    lower bound.
    """
    start_s = time.perf_counter()
    _check(buffers, capacity_bytes)
    real = [buffer for buffer in buffers if buffer.size_bytes > 0]
    offsets = {b.id: b.fixed_offset_bytes or 0 for b in buffers}
    bound = lower_bound(real)
    target = bound if capacity_bytes is None else max(bound, capacity_bytes)
    greedy: tuple[int, Placement] = best_greedy(real, target) if real else (0, [])
    limit = default_node_limit(len(real)) if node_limit is None else node_limit
    best = Minimum(greedy[0], (), bound, 0)
    if greedy[0] > target and limit > 0:
        budget = _Budget(limit, start_s + time_limit_s)
        best = _improve(real, capacity_bytes, bound, greedy[0], budget)
    placement = best.offsets or greedy[1]
    offsets.update(zip((b.id for b in real), placement, strict=True))
    feasible = capacity_bytes is None or best.height_bytes <= capacity_bytes
    verify_offsets(buffers, offsets, capacity_bytes=best.height_bytes)
    return Solution(
        offsets=offsets,
        height_bytes=best.height_bytes,
        lower_bound_bytes=best.lower_bound_bytes,
        greedy_height_bytes=greedy[0],
        optimal=best.height_bytes == best.lower_bound_bytes,
        feasible=feasible,
        seconds=time.perf_counter() - start_s,
        nodes=best.nodes,
        method="exact" if best.offsets else "greedy",
    )


def _improve(
    buffers: Sequence[Buffer],
    capacity_bytes: int | None,
    bound: int,
    height: int,
    budget: _Budget,
) -> Minimum:
    unchanged = Minimum(height, (), bound, 0)
    hopeless = capacity_bytes is not None and capacity_bytes < bound
    if hopeless or len(buffers) > MAX_BUFFERS or not has_library():
        return unchanged
    try:
        search = ExactSearch(buffers, deadline_s=budget.deadline_s)
    except ExecutionError:
        return unchanged
    if capacity_bytes is None:
        return minimise(
            search,
            step_bytes=height_step(buffers),
            low_bytes=bound,
            high_bytes=height,
            node_limit=budget.node_limit,
        )
    answer = search.search(capacity_bytes, node_limit=budget.node_limit)
    if answer.outcome is Outcome.FEASIBLE:
        return Minimum(answer.height_bytes, answer.offsets, bound, answer.nodes)
    proven = capacity_bytes + 1 if answer.outcome is Outcome.INFEASIBLE else bound
    return Minimum(height, (), max(proven, bound), answer.nodes)


def _check(buffers: Sequence[Buffer], capacity_bytes: int | None) -> None:
    if capacity_bytes is not None and capacity_bytes < 1:
        raise UsageError(f"capacity {capacity_bytes}: at least 1 byte expected")
    seen: set[str] = set()
    for buffer in buffers:
        if buffer.id in seen:
            raise UsageError(f"buffer {buffer.id} is given twice; ids must be unique")
        seen.add(buffer.id)
    fixed = {b.id: b.fixed_offset_bytes for b in buffers if b.fixed_offset_bytes is not None}
    for problem in find_offset_problems([b for b in buffers if b.id in fixed], fixed):
        raise PlanError(f"buffers with fixed offsets: {problem}")
