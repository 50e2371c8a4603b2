"""Patches of two precisions: which case a patch takes, and that leaving the other out is sound."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from msgspec import structs

from edgekit.converters.partitioning.patches import PatchGrid, patch_stages
from edgekit.converters.partitioning.selective_patches import Choice, split_selectively
from edgekit.dtypes import Array
from edgekit.errors import UnsupportedOpError, UsageError
from edgekit.graph import Graph, Node, Quantization, Tensor
from edgekit.ops.evaluate import evaluate
from edgekit.plan import Plan, Select
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.reference import ReferenceRunner
from edgekit.schedule import schedule
from edgekit.selects import cases_of, guard_of, selects_of
from edgekit.shapes import infer_shapes
from edgekit.verify import find_problems
from tests.small_images import ImageBuilder, image_graphs, image_of

BOARD = load_profile("stm32h743")


@st.composite
def grids(draw: st.DrawFn, graph: Graph) -> PatchGrid:
    stages = patch_stages(graph)
    assume(stages)
    stage = draw(st.sampled_from(stages))
    output = next(node.outputs[0] for node in graph.nodes if node.name == stage)
    _, height, width, _ = graph.tensors[output].static_shape
    rows, columns = (draw(st.integers(1, min(size, 3))) for size in (height, width))
    return PatchGrid(stage, rows, columns, streamed=draw(st.booleans()))


@st.composite
def choices(draw: st.DrawFn, graph: Graph, grid: PatchGrid) -> Choice:
    tiles = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    if draw(st.booleans()):
        positions = st.frozensets(st.integers(0, grid.rows * grid.columns - 1))
        return Choice(tiles, always=draw(positions))
    last = [node.name for node in graph.nodes].index(grid.last)
    tested = draw(st.sampled_from([node.outputs[0] for node in graph.nodes[: last + 1]]))
    low, high = draw(st.integers(-128, 20)), draw(st.integers(-20, 127))
    return Choice(tiles, tested, low, high, draw(st.floats(0, 1)))


def split(high: Graph, low: Graph, grid: PatchGrid, choice: Choice) -> Graph:
    """Return the graph in patches; the few that have a patch of nothing but padding are redrawn."""
    try:
        return split_selectively(high, low, grid, choice)
    except UnsupportedOpError as error:
        if "nothing but padding" in str(error):
            reject()
        raise


def streamed_of(graph: Graph, grid: PatchGrid) -> tuple[str, ...]:
    return graph.inputs if grid.streamed else ()


@given(st.data(), image_graphs())
@settings(max_examples=50, deadline=None)
def test_two_equal_precisions_give_the_bytes_of_whole_layers(
    data: st.DataObject, graph: Graph
) -> None:
    grid = data.draw(grids(graph))
    choice = data.draw(choices(graph, grid))
    chosen = split(graph, graph, grid, choice)
    inferred = infer_shapes(chosen)
    assert {name: t.shape for name, t in chosen.tensors.items()} == {
        name: t.shape for name, t in inferred.tensors.items()
    }
    plan = build_plan(chosen, BOARD, executor="reference", streamed=streamed_of(graph, grid))
    image = image_of(graph)
    result, expected = ReferenceRunner(chosen, plan).run(image), evaluate(graph, image)
    for name in graph.outputs:
        np.testing.assert_array_equal(result.outputs[name], expected[name])
    patches = grid.rows * grid.columns if choice.always is None else 0
    assert len(result.trace.cases) == patches
    assert len(cases_of(plan)) == 2 * patches


def deep(side: int = 24) -> Graph:
    b = ImageBuilder(np.random.default_rng(1))
    x = b.image(side, side, 3)
    for channels, stride in ((8, 1), (8, 1), (8, 2), (4, 2)):
        x = b.conv(x, channels, (3, 3), ((1, 1), (1, 1)), strides=(stride, stride))
    return b.graph(x)


def calm_but_for(corner: slice) -> dict[str, Array]:
    """Return an image of small values, but for the rows and columns of a corner."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 8, (1, 24, 24, 3)).astype(np.int8)
    image[:, corner, corner] = rng.integers(-128, 128, image[:, corner, corner].shape)
    return {"x": image}


def other_weights(graph: Graph) -> Graph:
    """Return the same network with other weights in its first layer: it can be told apart."""
    name = graph.nodes[0].inputs[1]
    tensor = graph.tensors[name]
    changed = Tensor.constant(name, (tensor.data // 2).astype(np.int8), tensor.quantization)
    return graph.replace(tensors=[changed])


GRID = PatchGrid("conv2d_3", 3, 2)
FIRST = "conv2d_0_out"


def chosen_graph(choice: Choice) -> tuple[Graph, Graph, Graph]:
    low = deep()
    high = other_weights(low)
    return high, low, split_selectively(high, low, GRID, choice)


def parts(array: Array) -> list[Array]:
    return [part for rows in np.split(array, 3, axis=1) for part in np.split(rows, 2, axis=2)]


def test_a_map_that_no_patch_computes_cannot_be_tested() -> None:
    b = ImageBuilder(np.random.default_rng(1))
    image = b.image(8, 8, 3)
    unread, x = (b.conv(image, 4, (3, 3), ((1, 1), (1, 1))) for _ in range(2))
    graph = b.graph(b.conv(x, 4, (1, 1), ((0, 0), (0, 0))))
    grid = PatchGrid(graph.nodes[-1].name, 2, 2)
    with pytest.raises(UsageError, match="not computed in patch 0"):
        split_selectively(graph, graph, grid, Choice(tested=unread))


@pytest.mark.parametrize("positions", [frozenset(), frozenset({0, 5}), frozenset(range(6))])
def test_fixed_positions_are_computed_in_high_precision_and_no_others(
    positions: frozenset[int],
) -> None:
    high, low, chosen = chosen_graph(Choice((2, 1), always=positions))
    image = image_of(low)
    results = [parts(evaluate(graph, image)[low.outputs[0]]) for graph in (high, low, chosen)]
    for index, (as_high, as_low, found) in enumerate(zip(*results, strict=True)):
        assert not np.array_equal(as_high, as_low)
        np.testing.assert_array_equal(found, as_high if index in positions else as_low)
    assert all(guard_of(node) is None for node in chosen.nodes)


def test_a_patch_with_more_elements_outside_than_allowed_is_computed_in_high_precision() -> None:
    image = calm_but_for(slice(8))
    high, low, chosen = chosen_graph(Choice((2, 2), FIRST, low=-90, high=90, most_share=0.1))
    plan = build_plan(chosen, BOARD, executor="reference")
    result = ReferenceRunner(chosen, plan).run(image)
    values: dict[str, Array] = {}
    evaluate(chosen, image, observe=values.__setitem__)
    tested = [values[f"{FIRST}@{i}"] for i in range(6)]
    outside = [np.abs(array.astype(int)) > 90 for array in tested]
    outlying = [np.count_nonzero(there) > int(0.1 * there.size) for there in outside]
    assert list(result.trace.cases.values()) == outlying
    assert 0 < sum(outlying) < 6
    as_high, as_low = (parts(evaluate(g, image)[low.outputs[0]]) for g in (high, low))
    for index, part in enumerate(parts(result.outputs[low.outputs[0]])):
        np.testing.assert_array_equal(part, (as_high if outlying[index] else as_low)[index])


def test_both_cases_are_placed_and_the_arena_is_that_of_the_larger() -> None:
    def arena_bytes(graph: Graph) -> int:
        plan = build_plan(graph, BOARD, executor="reference")
        return plan.memory(BOARD.working_memory).arena_bytes

    graph = deep()
    low_only, high_only, either = (
        arena_bytes(split_selectively(graph, graph, GRID, Choice((3, 2), FIRST, always=always)))
        if always is not None
        else arena_bytes(split_selectively(graph, graph, GRID, Choice((3, 2), FIRST)))
        for always in (frozenset[int](), frozenset(range(6)), None)
    )
    flag_bytes = 16  # one byte, aligned
    assert high_only < low_only <= either <= max(low_only, high_only) + flag_bytes


def test_high_precision_in_tiles_needs_less_memory() -> None:
    def peak_bytes(tiles: tuple[int, int]) -> int:
        choice = Choice(tiles, always=frozenset(range(6)))
        graph = split_selectively(deep(), deep(), GRID, choice)
        return (
            build_plan(graph, BOARD, executor="reference").memory(BOARD.working_memory).arena_bytes
        )

    assert peak_bytes((2, 2)) < peak_bytes((1, 1))


def by_depth(graph: Graph) -> list[Node]:
    """Return the nodes in an order that mixes the cases of a choice."""
    depth: dict[str, int] = {}
    for node in graph.nodes:
        deepest = max((depth.get(name, 0) for name in node.inputs), default=0)
        depth |= dict.fromkeys(node.outputs, deepest + 1)
    return sorted(graph.nodes, key=lambda node: depth[node.outputs[0]])


def test_scheduling_leaves_the_cases_of_a_choice_together() -> None:
    _, _, chosen = chosen_graph(Choice((2, 1), FIRST))
    assert cases_of(build_plan(chosen, BOARD, executor="reference"))
    assert schedule(chosen, with_scratch=False).graph.nodes == chosen.nodes


def test_a_choice_in_another_order_is_still_computed() -> None:
    choice = Choice((2, 1), FIRST, low=-90, high=90, most_share=0.22)
    _, low, chosen = chosen_graph(choice)
    ordered = chosen.replace(nodes=by_depth(chosen))
    plan = build_plan(ordered, BOARD, executor="reference")
    given = build_plan(chosen, BOARD, executor="reference")
    skipped, left_out = (
        sum(case.last - case.first + 1 for case in cases_of(one)) for one in (given, plan)
    )
    assert left_out < skipped
    expected = evaluate(chosen, image_of(low))
    found = ReferenceRunner(ordered, plan).run(image_of(low)).outputs
    np.testing.assert_array_equal(found[low.outputs[0]], expected[low.outputs[0]])


def test_cases_are_runs_of_nodes_that_end_in_a_guarded_paste() -> None:
    _, _, chosen = chosen_graph(Choice((2, 1), FIRST))
    plan = build_plan(chosen, BOARD, executor="reference")
    nodes = chosen.nodes
    assert [step for step in plan.steps if isinstance(step, Select)] == list(
        selects_of(chosen, plan.steps[: len(nodes)])
    )
    for case in cases_of(plan):
        assert guard_of(nodes[case.last]) == (case.flag, case.when)
        guards = {guard_of(node) for node in nodes[case.first : case.last + 1]}
        assert guards == {None, (case.flag, case.when)}
        ops = [node.op for node in nodes[case.first : case.last + 1]]
        assert ops.count("paste") == (2 if case.when else 1)


def test_choices_that_would_lose_something_are_found() -> None:
    _, _, chosen = chosen_graph(Choice((2, 1), FIRST))
    plan = build_plan(chosen, BOARD, executor="reference")
    assert list(find_problems(plan, chosen)) == []
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
    *computes, first = plan.steps[: len(chosen.nodes) + 1]
    assert isinstance(first, Select)
    (low, high), flag = first.cases, first.predicate

    def problems(select: Select) -> str:
        rest = plan.steps[len(computes) + 1 :]
        changed = structs.replace(plan, steps=(*computes, select, *rest))
        return " ".join(find_problems(changed, chosen))

    assert "is read elsewhere" in problems(Select(((low[0], low[1] - 1), high), flag))
    assert "cannot be left out" in problems(Select(((low[0] - 2, low[1]), high), flag))
    assert "another case" in problems(Select((high, low), flag))
    assert "is no flag" in problems(Select(first.cases, FIRST))
    assert "overlaps another" in problems(Select((low, low), flag))
    assert "two can be" in problems(Select((low,), flag))
    assert "has a case from step" in problems(Select((low, (9, 10**6)), flag))


@pytest.mark.parametrize(
    ("grid", "choice", "problem"),
    [
        (GRID, Choice(tested="nothing"), "nothing is not computed"),
        (GRID, Choice((0, 1), FIRST), "at least 1 x 1"),
        (GRID, Choice(always=frozenset({6})), "no position 6"),
        (GRID, Choice(tested=FIRST, most_share=2.0), "from 0 to 1"),
        (replace(GRID, columns=1, cached=True), Choice(tested=FIRST), "rows are kept"),
        (PatchGrid("nowhere", 2, 2), Choice(tested=FIRST), "do not make a patch stage"),
    ],
)
def test_what_cannot_be_chosen_is_refused(grid: PatchGrid, choice: Choice, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        split_selectively(deep(), deep(), grid, choice)


def test_other_networks_and_other_outputs_of_the_stage_are_refused() -> None:
    graph = deep()
    others = [replace(node, name=f"{node.name}_of_another") for node in graph.nodes]
    with pytest.raises(UsageError, match="not the same network"):
        split_selectively(graph.replace(nodes=others), graph, GRID, Choice())
    output = graph.tensors["conv2d_3_out"]
    coarse = replace(output, quantization=Quantization.per_tensor(0.5, 0))
    with pytest.raises(UsageError, match="one type and quantization"):
        split_selectively(graph.replace(tensors=[coarse]), graph, GRID, Choice(tested=FIRST))
