"""The choice of patches: nothing on the front is beaten, and what fits is taken as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.converters.importers import load_model
from edgekit.converters.partitioning.patch_search import (
    PatchCost,
    by_preference,
    live_peak_bytes,
    search,
    weigh,
)
from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.converters.recipes import Recipe
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.ops.kernel_set import KernelSet
from edgekit.pipeline.job import Product
from edgekit.pipeline.patching import with_patches
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.schedule import schedule
from edgekit.shapes import bind_dims
from tests.small_images import ImageBuilder, image_graphs

BOARD = load_profile("nano33ble")
DSP = KernelSet.CORTEX_M_DSP
PUBLISHED_BYTES, PUBLISHED_EXTRA = 24_792, 0.07
"""Input streamed, 2 x 2 patches, nothing kept: input and output of each layer, no scratch."""


def numbers(cost: PatchCost) -> tuple[int, int, int]:
    patches = cost.grid.rows * cost.grid.columns if cost.grid else 0
    return cost.peak_bytes, cost.macs, patches


@given(image_graphs(largest=4), st.booleans())
@settings(max_examples=15, deadline=None)
def test_nothing_on_the_front_is_beaten(graph: Graph, streamed: bool) -> None:
    front = search(graph, DSP, streamed=streamed)
    assert front[0].grid is None
    for cost in front[1:]:
        others = [numbers(other) for other in front if other is not cost]
        assert not any(
            all(a <= b for a, b in zip(other, numbers(cost), strict=True))
            and other != numbers(cost)
            for other in others
        )


@given(image_graphs(largest=4))
@settings(max_examples=15, deadline=None)
def test_the_peak_that_is_weighed_is_the_bound_of_the_plan(graph: Graph) -> None:
    plan = build_plan(graph, BOARD, executor="reference", alignment_bytes=1, kernels=DSP)
    use = plan.memory(BOARD.working_memory)
    assert live_peak_bytes(graph, DSP) == use.lower_bound_bytes


def test_what_fits_is_left_whole_and_otherwise_the_cheapest_that_fits_is_taken() -> None:
    whole = PatchCost(None, 1000, 100)
    coarse = PatchCost(PatchGrid("a", 2), 700, 105)
    fine = PatchCost(PatchGrid("a", 8), 400, 130)
    front = [whole, coarse, fine]
    assert by_preference(front, 1000) == [whole, coarse, fine]
    assert by_preference(front, 999) == [coarse, fine]
    assert by_preference(front, 500) == [fine]
    assert by_preference(front, 100) == [fine]


def fits(_: Product) -> bool:
    return True


def network() -> Graph:
    b = ImageBuilder(np.random.default_rng(3))
    x = b.image(32, 32, 3)
    for channels, stride in ((8, 1), (8, 2), (4, 2)):
        x = b.conv(x, channels, (3, 3), ((1, 1), (1, 1)), strides=(stride, stride))
    return b.graph(x)


@pytest.mark.parametrize("patch", ["auto", "off"])
def test_networks_that_fit_run_layer_by_layer(patch: str) -> None:
    product = Product("reference", network())
    assert with_patches(product, Recipe(patch=patch), BOARD, fits) == (product, None)


def test_patches_whose_placed_arena_does_not_fit_give_way_to_the_next_choice() -> None:
    product = Product("reference", network())
    made: list[Product] = []

    def fits_the_third_time(one: Product) -> bool:
        made.append(one)
        return len(made) > 2

    chosen, patching = with_patches(product, Recipe(), BOARD, fits_the_third_time)
    assert patching is not None
    assert made[0] == product
    assert [chosen.graph is one.graph for one in made] == [False, False, True]


@pytest.mark.parametrize(("patch", "kept"), [("2x2", False), ("4x1", True)])
def test_the_grid_that_is_asked_for_is_taken(patch: str, kept: bool) -> None:
    recipe = Recipe(patch=patch, stream_input=True)
    product, patching = with_patches(Product("reference", network()), recipe, BOARD, fits)
    assert patching is not None
    assert patching.to_json()["rows_kept"] is kept
    assert product.streamed == ("x",)
    assert patching.chosen.peak_bytes < patching.whole.peak_bytes
    assert any("patches" in note for note in product.notes)


@pytest.mark.parametrize(
    ("recipe", "device", "problem"),
    [
        (Recipe(patch="2by2"), "nano33ble", "RxC"),
        (Recipe(patch="99x99"), "nano33ble", "no layer"),
        (Recipe(patch="2x2"), "pixel8", "for firmware"),
        (Recipe(patch="off", stream_input=True), "nano33ble", "off"),
    ],
)
def test_what_cannot_be_is_refused(recipe: Recipe, device: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        with_patches(Product("reference", network()), recipe, load_profile(device), fits)


def test_networks_without_a_stage_are_refused() -> None:
    b = ImageBuilder(np.random.default_rng(3))
    mean = b.node("reduce_mean", b.image(8, 8, 2), axes=(1, 2), keep_dims=True)
    with pytest.raises(UsageError, match="part by part"):
        with_patches(Product("reference", b.graph(mean)), Recipe(patch="2x2"), BOARD, fits)


def test_wake_word_images_need_less_than_published(assets: Path) -> None:
    path = assets / "mcu/mlperf_tiny/vww/vww_96_int8.tflite"
    graph = schedule(bind_dims(load_model(path)), kernels=DSP).graph
    whole = weigh(graph, None, DSP)
    grid = PatchGrid(patch_stages(graph)[7], 2, 2, streamed=True)
    apart = weigh(graph, grid, DSP)
    assert apart.peak_bytes <= PUBLISHED_BYTES
    assert apart.macs <= (1 + PUBLISHED_EXTRA) * whole.macs
    kept = weigh(graph, replace(grid, rows=12, columns=1, cached=True), DSP)
    assert kept.peak_bytes < apart.peak_bytes
    assert kept.macs <= 1.01 * whole.macs
    patched = split_into_patches(graph, grid)
    assert patched.weights_bytes == graph.weights_bytes
