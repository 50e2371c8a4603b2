"""Memory plans: valid always, smallest where claimed, the same every time."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import PlanError, UsageError
from edgekit.memory import Buffer, merge_aliases, plan_offsets
from edgekit.memory.bounds import lower_bound, round_up
from edgekit.memory.verifier import find_offset_problems, verify_offsets
from edgekit.native import has_library

needs_native = pytest.mark.skipif(not has_library(), reason="libedgekit is not built")


def brute_force_height(buffers: Sequence[Buffer]) -> int:
    """Smallest height over all orders, each buffer into the first gap that holds it.

    Some order finds the optimum: that of the offsets of an optimal plan.
    """
    bound = lower_bound(buffers)
    fixed = [b for b in buffers if b.fixed_offset_bytes is not None]
    best = [1 << 60]

    def first_gap(buffer: Buffer, placed: list[tuple[Buffer, int]]) -> int:
        offset = 0
        for other, bottom in sorted(placed, key=lambda item: item[1]):
            if other.overlaps(buffer) and bottom < offset + buffer.size_bytes:
                offset = max(offset, round_up(bottom + other.size_bytes, buffer.alignment_bytes))
        return offset

    def place(left: list[Buffer], placed: list[tuple[Buffer, int]], height: int) -> None:
        if height >= best[0] or best[0] == bound:
            return
        if not left:
            best[0] = height
        for i, buffer in enumerate(left):
            offset = first_gap(buffer, placed)
            top = max(height, offset + buffer.size_bytes)
            place(left[:i] + left[i + 1 :], [*placed, (buffer, offset)], top)

    tops = [(b, b.fixed_offset_bytes or 0) for b in fixed]
    free = [b for b in buffers if b.fixed_offset_bytes is None]
    place(free, tops, max((b.size_bytes + offset for b, offset in tops), default=0))
    return best[0]


def small_problem(seed: int) -> list[Buffer]:
    draw = random.Random(seed)
    steps, largest = draw.randint(2, 9), draw.choice([3, 10, 1000])
    alignments = draw.choice([[1], [1], [16], [1, 2, 4], [4, 6], [3, 64]])
    buffers = []
    for i in range(draw.randint(1, 7)):
        first = draw.randrange(steps)
        buffers.append(
            Buffer(
                id=str(i),
                first_step=first,
                end_step=draw.randint(first + 1, steps),
                size_bytes=draw.randint(1, largest),
                alignment_bytes=draw.choice(alignments),
            )
        )
    return buffers


@needs_native
@pytest.mark.native
@pytest.mark.parametrize("block", range(10))
def test_plan_offsets_equals_brute_force(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        buffers = small_problem(seed)
        solution = plan_offsets(buffers)
        verify_offsets(buffers, solution.offsets, capacity_bytes=solution.height_bytes)
        assert solution.height_bytes == brute_force_height(buffers), f"seed {seed}"
        assert solution.optimal, f"seed {seed}"


@needs_native
@pytest.mark.native
def test_plan_offsets_with_fixed_offsets_equals_brute_force() -> None:
    compared = 0
    for seed in range(300):
        draw = random.Random(seed)
        buffers = small_problem(seed)[:6]
        chosen = draw.randrange(len(buffers))
        b = buffers[chosen]
        fixed = b.alignment_bytes * draw.randrange(0, 1 + 2 * b.size_bytes)
        buffers[chosen] = Buffer(
            b.id, b.first_step, b.end_step, b.size_bytes, b.alignment_bytes, fixed
        )
        solution = plan_offsets(buffers)
        verify_offsets(buffers, solution.offsets, capacity_bytes=solution.height_bytes)
        assert solution.height_bytes == brute_force_height(buffers), f"seed {seed}"
        compared += solution.optimal
    assert compared == 300


buffer_lists = st.lists(
    st.tuples(
        st.integers(0, 30), st.integers(1, 12), st.integers(0, 500), st.sampled_from([1, 4, 16, 24])
    ),
    max_size=40,
).map(
    lambda rows: [
        Buffer(str(i), first, first + length, size, alignment)
        for i, (first, length, size, alignment) in enumerate(rows)
    ]
)


@given(buffer_lists)
@settings(max_examples=60, deadline=None)
def test_plan_offsets_is_valid_and_between_its_bounds(buffers: list[Buffer]) -> None:
    solution = plan_offsets(buffers, node_limit=2000)
    verify_offsets(buffers, solution.offsets, capacity_bytes=solution.height_bytes)
    assert lower_bound(buffers) <= solution.lower_bound_bytes <= solution.height_bytes
    assert solution.height_bytes <= solution.greedy_height_bytes
    assert solution.optimal == (solution.height_bytes == solution.lower_bound_bytes)
    assert solution.feasible


@given(buffer_lists)
@settings(max_examples=30, deadline=None)
def test_plan_offsets_is_repeatable(buffers: list[Buffer]) -> None:
    first = plan_offsets(buffers, node_limit=500)
    second = plan_offsets(buffers, node_limit=500)
    assert first.offsets == second.offsets
    assert first.nodes == second.nodes


@given(buffer_lists, st.integers(1, 3000))
@settings(max_examples=40, deadline=None)
def test_plan_offsets_tells_whether_the_capacity_is_kept(
    buffers: list[Buffer], capacity_bytes: int
) -> None:
    solution = plan_offsets(buffers, capacity_bytes=capacity_bytes, node_limit=2000)
    assert solution.feasible == (solution.height_bytes <= capacity_bytes)
    if lower_bound(buffers) > capacity_bytes:
        assert not solution.feasible


@needs_native
@pytest.mark.native
def test_plan_offsets_proves_that_a_capacity_is_too_small() -> None:
    # Live sums never exceed 4, yet no plan of height 4 exists.
    rows = [(0, 2, 2), (1, 3, 1), (0, 1, 2), (2, 4, 3), (3, 5, 1), (1, 2, 1), (4, 6, 2), (4, 5, 1)]
    buffers = [Buffer(str(i), *row) for i, row in enumerate(rows)]
    best = brute_force_height(buffers)
    solution = plan_offsets(buffers, capacity_bytes=max(best - 1, 1))
    assert not solution.feasible
    assert solution.lower_bound_bytes == best == solution.height_bytes


def test_plan_offsets_without_native_core_is_greedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgekit.memory.planner.has_library", lambda: False)
    for seed in range(50):
        buffers = small_problem(seed)
        solution = plan_offsets(buffers)
        verify_offsets(buffers, solution.offsets, capacity_bytes=solution.height_bytes)
        assert solution.method == "greedy"
        assert solution.nodes == 0


def test_plan_offsets_of_nothing_is_empty() -> None:
    solution = plan_offsets([])
    assert solution.offsets == {}
    assert (solution.height_bytes, solution.optimal, solution.feasible) == (0, True, True)


def test_plan_offsets_refuses_an_id_given_twice() -> None:
    with pytest.raises(UsageError, match="twice"):
        plan_offsets([Buffer("a", 0, 1, 1), Buffer("a", 1, 2, 1)])


def test_plan_offsets_refuses_a_capacity_of_nothing() -> None:
    with pytest.raises(UsageError, match="capacity"):
        plan_offsets([Buffer("a", 0, 1, 1)], capacity_bytes=0)


def test_plan_offsets_refuses_fixed_buffers_that_overlap() -> None:
    pair = [
        Buffer("a", 0, 2, 8, fixed_offset_bytes=0),
        Buffer("b", 1, 3, 8, fixed_offset_bytes=4),
    ]
    with pytest.raises(PlanError, match="a and b overlap"):
        plan_offsets(pair)


@pytest.mark.parametrize(
    "arguments",
    [
        {"first_step": -1},
        {"end_step": 0},
        {"size_bytes": -1},
        {"size_bytes": 1 << 60},
        {"alignment_bytes": 0},
        {"alignment_bytes": 16, "fixed_offset_bytes": 8},
        {"fixed_offset_bytes": -8},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_buffer_refuses_numbers_out_of_range(arguments: dict[str, int]) -> None:
    valid = {"first_step": 0, "end_step": 1, "size_bytes": 8}
    with pytest.raises(ValueError, match="buffer a"):
        Buffer(id="a", **{**valid, **arguments})


def test_lower_bound_rounds_all_but_the_topmost_buffer() -> None:
    assert lower_bound([Buffer("a", 0, 1, 10, 16), Buffer("b", 0, 1, 3, 16)]) == 19
    assert plan_offsets([Buffer("a", 0, 1, 10, 16), Buffer("b", 0, 1, 3, 16)]).height_bytes == 19


def test_merge_aliases_covers_every_member() -> None:
    merged = merge_aliases("ab", [Buffer("a", 1, 3, 10, 4), Buffer("b", 2, 6, 7, 6)])
    assert merged == Buffer("ab", 1, 6, 10, 12)
    with pytest.raises(ValueError, match="several offsets"):
        merge_aliases("ab", [Buffer("a", 0, 1, 1, 1, 0), Buffer("b", 0, 1, 1, 1, 1)])


def test_find_offset_problems_names_every_fault() -> None:
    buffers = [
        Buffer("a", 0, 2, 8),
        Buffer("b", 1, 3, 8, 4),
        Buffer("c", 2, 3, 8),
        Buffer("d", 0, 1, 1),
    ]
    offsets = {"a": 0, "b": 6, "c": -1}
    problems = "\n".join(find_offset_problems(buffers, offsets, capacity_bytes=10))
    for part in (
        "d has no offset",
        "b at 6",
        "b ends at 14",
        "c has the negative",
        "a and b overlap",
    ):
        assert part in problems


@given(buffer_lists, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_find_offset_problems_agrees_with_all_pairs(
    buffers: list[Buffer], draw: random.Random
) -> None:
    offsets = {b.id: draw.randrange(0, 1200) * b.alignment_bytes for b in buffers}
    overlap = any(
        a.overlaps(b)
        and offsets[a.id] < offsets[b.id] + b.size_bytes
        and offsets[b.id] < offsets[a.id] + a.size_bytes
        and a.size_bytes * b.size_bytes > 0
        for i, a in enumerate(buffers)
        for b in buffers[:i]
    )
    assert any(find_offset_problems(buffers, offsets)) == overlap
