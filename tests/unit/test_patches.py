"""Patches give the bytes that whole layers give, whatever the network, the grid and the mode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from msgspec import structs

from edgekit.converters.partitioning.patches import (
    PatchGrid,
    parse_grid,
    patch_stages,
    split_into_patches,
)
from edgekit.errors import UnsupportedOpError, UsageError
from edgekit.graph import Graph
from edgekit.ops import spec_of
from edgekit.ops.evaluate import evaluate
from edgekit.ops.spec import OpView
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.reference import ReferenceRunner
from edgekit.shapes import infer_shapes
from edgekit.verify import find_problems
from tests.small_images import ImageBuilder, image_graphs, image_of

BOARD = load_profile("stm32h743")


def macs(graph: Graph) -> int:
    return sum(spec_of(node).macs(OpView.of(graph, node)) for node in graph.nodes)


def split(graph: Graph, grid: PatchGrid) -> Graph:
    """Return the graph in patches; the few that have a patch of nothing but padding are redrawn."""
    try:
        return split_into_patches(graph, grid)
    except UnsupportedOpError as error:
        if "nothing but padding" in str(error):
            reject()
        raise


def rows_of(graph: Graph, stage: str) -> tuple[int, int]:
    node = next(node for node in graph.nodes if node.name == stage)
    _, height, width, _ = graph.tensors[node.outputs[0]].static_shape
    return height, width


@st.composite
def grids(draw: st.DrawFn, graph: Graph) -> PatchGrid:
    stages = patch_stages(graph)
    assume(stages)
    stage = draw(st.sampled_from(stages))
    height, width = rows_of(graph, stage)
    cached, streamed = draw(st.booleans()), draw(st.booleans())
    rows = draw(st.integers(1, min(height, 5)))
    columns = 1 if cached else draw(st.integers(1, min(width, 4)))
    return PatchGrid(stage, rows, columns, cached, streamed)


@given(st.data(), image_graphs())
@settings(max_examples=60, deadline=None)
def test_patches_give_the_bytes_of_whole_layers(data: st.DataObject, graph: Graph) -> None:
    grid = data.draw(grids(graph))
    patched = split(graph, grid)
    shapes = {name: tensor.shape for name, tensor in patched.tensors.items()}
    inferred = infer_shapes(patched)
    assert shapes == {name: tensor.shape for name, tensor in inferred.tensors.items()}
    image = image_of(graph)
    expected = evaluate(graph, image)
    plan = build_plan(
        patched, BOARD, executor="reference", streamed=graph.inputs if grid.streamed else ()
    )
    found = ReferenceRunner(patched, plan).run(image).outputs
    for name in graph.outputs:
        np.testing.assert_array_equal(found[name], expected[name])


@given(st.data(), image_graphs())
@settings(max_examples=40, deadline=None)
def test_kept_rows_are_never_computed_twice(data: st.DataObject, graph: Graph) -> None:
    grid = data.draw(grids(graph))
    grid = replace(grid, columns=1, cached=True)
    patched = split(graph, grid)
    assert macs(patched) <= macs(graph)


def deep(side: int = 24) -> Graph:
    b = ImageBuilder(np.random.default_rng(1))
    x = b.image(side, side, 3)
    for channels, stride in ((8, 1), (8, 1), (8, 2), (4, 2)):
        x = b.conv(x, channels, (3, 3), ((1, 1), (1, 1)), strides=(stride, stride))
    return b.graph(x)


def peak_bytes(graph: Graph, grid: PatchGrid | None) -> int:
    patched = graph if grid is None else split_into_patches(graph, grid)
    streamed = graph.inputs if grid is not None and grid.streamed else ()
    plan = build_plan(patched, BOARD, executor="reference", streamed=streamed)
    return plan.memory(BOARD.working_memory).arena_bytes


def test_patches_need_less_memory_and_more_work() -> None:
    graph = deep()
    grid = PatchGrid(graph.nodes[-1].name, 2, 2)
    assert peak_bytes(graph, grid) < peak_bytes(graph, None)
    assert peak_bytes(graph, replace(grid, streamed=True)) < peak_bytes(graph, grid)
    assert macs(split_into_patches(graph, grid)) > macs(graph)


def test_streamed_inputs_have_no_buffer_and_are_read_by_cuts_alone() -> None:
    graph = deep()
    patched = split_into_patches(graph, PatchGrid(graph.nodes[-1].name, 3, 2, streamed=True))
    plan = build_plan(patched, BOARD, executor="reference", streamed=("x",))
    assert all(buffer.tensor != "x" for buffer in plan.buffers)
    assert {n.op for n in patched.nodes if "x" in n.inputs} == {"slice"}
    whole = build_plan(graph, BOARD, executor="reference")
    assert list(find_problems(whole, graph)) == []
    wrong = structs.replace(whole, streamed=("x",))
    problems = " ".join(find_problems(wrong, graph))
    assert "has a buffer" in problems
    assert "reads x" in problems


@pytest.mark.parametrize(
    ("grid", "problem"),
    [
        (PatchGrid("nowhere", 2, 2), "do not make a patch stage"),
        (PatchGrid("conv2d_3", 9, 9), "at most 6x6"),
        (PatchGrid("conv2d_3", 2, 2, cached=True), "whole rows"),
    ],
)
def test_grids_that_cannot_be_are_refused(grid: PatchGrid, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        split_into_patches(deep(), grid)


def test_layers_that_need_the_whole_image_end_the_stage() -> None:
    b = ImageBuilder(np.random.default_rng(0))
    first = b.conv(b.image(8, 8, 2), 2, (3, 3), ((1, 1), (1, 1)))
    mean = b.node("reduce_mean", first, axes=(1, 2), keep_dims=True, scale_of=first)
    graph = b.graph(b.conv(mean, 2, (1, 1), ((0, 0), (0, 0))))
    assert patch_stages(graph) == [graph.nodes[0].name]


def test_axes_that_change_their_order_end_the_stage() -> None:
    b = ImageBuilder(np.random.default_rng(0))
    first = b.conv(b.image(8, 8, 8), 8, (3, 3), ((1, 1), (1, 1)))
    turned = b.node("transpose", first, perm=(0, 2, 3, 1), scale_of=first)
    graph = b.graph(b.conv(turned, 2, (1, 1), ((0, 0), (0, 0))))
    assert patch_stages(graph) == [graph.nodes[0].name]


@pytest.mark.parametrize(("rows", "columns", "cached"), [(2, 2, False), (4, 1, True)])
@pytest.mark.parametrize("streamed", [False, True])
def test_images_with_channels_first_are_cut_before_their_elements_are_converted(
    rows: int, columns: int, cached: bool, streamed: bool
) -> None:
    b = ImageBuilder(np.random.default_rng(0))
    stored = b.node("quantize", b.image(3, 12, 10))
    x = b.node("transpose", stored, perm=(0, 2, 3, 1), scale_of=stored)
    for stride in (1, 2):
        x = b.conv(x, 4, (3, 3), ((1, 1), (1, 1)), strides=(stride, stride))
    graph = b.graph(x)
    assert patch_stages(graph) == [node.name for node in graph.nodes[1:]]
    for last in patch_stages(graph):
        patched = split_into_patches(graph, PatchGrid(last, rows, columns, cached, streamed))
        whole, apart = evaluate(graph, image_of(graph)), evaluate(patched, image_of(graph))
        assert np.array_equal(apart[x], whole[x])


@pytest.mark.parametrize("text", ["2", "0x2", "2x", "x", "2x2x2", "-1x2", "auto2"])
def test_other_forms_of_grids_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="RxC"):
        parse_grid(text)


def test_a_grid_is_rows_times_columns() -> None:
    assert parse_grid("3x2") == (3, 2)
    assert PatchGrid("last", 3, 2).text == "3x2"
