"""The test for outliers: what calibration keeps, how many patches it calls, and what that costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.converters.partitioning.outliers import (
    calibrate_choice,
    fixed_choice,
    outlier_patches,
)
from edgekit.converters.partitioning.patch_search import weigh
from edgekit.converters.partitioning.patches import PatchGrid, split_into_patches
from edgekit.converters.partitioning.selective_patches import Choice, split_selectively
from edgekit.converters.partitioning.selective_search import (
    SelectiveCost,
    Work,
    macs_of,
    search_selectively,
    smallest_tiles,
    weigh_selectively,
    work_of,
)
from edgekit.dtypes import Array
from edgekit.errors import UsageError
from edgekit.graph import Graph, Node
from edgekit.ops import spec_of
from edgekit.ops.evaluate import evaluate
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.reference import ReferenceRunner
from tests.small_images import ImageBuilder

FIRST = "conv2d_0_out"
GRID = PatchGrid("conv2d_2", 2, 2)
PORTABLE = KernelSet.PORTABLE


def network() -> Graph:
    b = ImageBuilder(np.random.default_rng(5))
    x = b.image(16, 16, 3)
    for channels, stride in ((6, 1), (6, 1), (4, 2)):
        x = b.conv(x, channels, (3, 3), ((1, 1), (1, 1)), strides=(stride, stride))
    return b.graph(x)


def images(count: int, seed: int = 0) -> list[dict[str, Array]]:
    """Return calm images with values of any size in some quarters, the first more often."""
    rng = np.random.default_rng(seed)
    found: list[dict[str, Array]] = []
    for _ in range(count):
        image = rng.integers(0, 8, (1, 16, 16, 3)).astype(np.int8)
        for quarter, chance in enumerate((0.9, 0.2, 0.2, 0.1)):
            if rng.random() < chance:
                rows, columns = (slice(8 * i, 8 * i + 8) for i in divmod(quarter, 2))
                wild = rng.integers(-30, 40, image[:, rows, columns].shape)
                image[:, rows, columns] = wild
        found.append({"x": image})
    return found


def convolutions(graph: Graph, outlier_share: float) -> Work:
    def macs(node: Node) -> int:
        return spec_of(node).macs(OpView.of(graph, node)) if node.op == "conv2d" else 0

    return work_of(graph, macs, outlier_share)


@given(st.floats(0.5, 1), st.floats(0, 1), st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_the_test_keeps_the_central_mass_and_calls_no_more_patches_than_asked_for(
    central_mass: float, outlier_share: float, seed: int
) -> None:
    graph, samples = network(), images(6, seed)
    choice = calibrate_choice(
        graph,
        GRID,
        samples,
        tested=FIRST,
        central_mass=central_mass,
        outlier_share=outlier_share,
    )
    first = graph.replace(nodes=graph.nodes[:1], outputs=(FIRST,))
    values = np.concatenate([evaluate(first, sample)[FIRST].ravel() for sample in samples])
    assert np.mean((values >= choice.low) & (values <= choice.high)) >= central_mass - 1e-9
    assert outlier_patches(graph, GRID, choice, samples).mean() <= outlier_share


def test_what_calibration_foresees_is_what_a_run_takes() -> None:
    graph, samples = network(), images(5)
    choice = calibrate_choice(graph, GRID, samples, tested=FIRST, central_mass=0.9)
    chosen = split_selectively(graph, graph, GRID, choice)
    runner = ReferenceRunner(
        chosen, build_plan(chosen, load_profile("stm32h743"), executor="reference")
    )
    foreseen = outlier_patches(graph, GRID, choice, samples)
    assert 0 < foreseen.mean() <= 0.25
    for sample, patches in zip(samples, foreseen.tolist(), strict=True):
        assert list(runner.run(sample).trace.cases.values()) == patches


def test_positions_with_outliers_in_most_samples_are_fixed() -> None:
    graph, samples = network(), images(12)
    choice = calibrate_choice(
        graph, GRID, samples, tested=FIRST, central_mass=0.9, outlier_share=0.35
    )
    fixed = fixed_choice(graph, GRID, choice, samples)
    often = outlier_patches(graph, GRID, choice, samples).mean(axis=0) > 0.5
    assert often.tolist() == [True, False, False, False]
    assert fixed.always == frozenset({0})
    assert fixed_choice(graph, GRID, choice, samples, sample_share=1.0).always == frozenset()


def test_work_lies_between_that_of_all_patches_in_one_precision_and_the_other() -> None:
    graph = network()
    chosen = split_selectively(graph, graph, GRID, Choice((2, 2), FIRST))
    none, half, every = (convolutions(chosen, share) for share in (0.0, 0.5, 1.0))
    assert none.expected == none.lowest < half.expected < every.expected == every.worst
    assert none.lowest == weigh(graph, GRID, PORTABLE).macs
    assert macs_of(chosen, 0.5).worst >= every.worst  # looking for outliers is work too
    whole = macs_of(split_into_patches(graph, GRID), 0.5)
    assert whole.lowest == whole.worst == whole.expected


def test_tiles_are_taken_that_need_least_memory() -> None:
    graph = network()
    choice = Choice(tested=FIRST)
    best = smallest_tiles(graph, graph, GRID, choice, PORTABLE, outlier_share=0.2)
    for tiles in ((1, 1), (2, 2), (4, 4)):
        other = weigh_selectively(
            graph, graph, GRID, replace(choice, tiles=tiles), PORTABLE, outlier_share=0.2
        )
        assert best.peak_bytes <= other.peak_bytes


GRIDS = [replace(GRID, rows=rows, columns=2) for rows in (1, 2, 4)]


def searched(budget_bytes: int, most_macs: int) -> SelectiveCost | None:
    graph, kept = network(), replace(GRID, columns=1, cached=True)
    return search_selectively(
        graph,
        lambda _: graph,
        [*GRIDS, kept],
        Choice(tested=FIRST),
        PORTABLE,
        outlier_share=0.2,
        budget_bytes=budget_bytes,
        most_macs=most_macs,
    )


def weighed(grid: PatchGrid, tiles: tuple[int, int]) -> SelectiveCost:
    graph, choice = network(), Choice(tiles, FIRST)
    return weigh_selectively(graph, graph, grid, choice, PORTABLE, outlier_share=0.2)


def test_the_search_takes_the_least_work_that_fits() -> None:
    every = [weighed(grid, tiles) for grid in GRIDS for tiles in ((1, 1), (2, 1), (2, 2))]
    for budget in sorted({cost.peak_bytes for cost in every}):
        found = searched(budget, 10**9)
        assert found is not None
        assert found.peak_bytes <= budget
        assert not found.grid.cached
        fitting = [cost.macs.expected for cost in every if cost.peak_bytes <= budget]
        assert found.macs.expected <= min(fitting) * 1.02  # foreseen as if tiles were all alike


def test_where_nothing_fits_the_search_returns_the_smallest() -> None:
    found = searched(1, 10**9)
    assert found is not None
    assert all(found.peak_bytes <= weighed(grid, (2, 2)).peak_bytes for grid in GRIDS)


def test_bytes_are_not_bought_with_more_work_than_allowed() -> None:
    tested = spec_of(network().nodes[0]).macs(OpView.of(network(), network().nodes[0]))
    smallest = searched(1, 10**9)
    assert smallest is not None
    limit = smallest.macs.worst - 2 * tested
    cheaper = searched(1, limit)
    assert cheaper is not None
    assert cheaper.macs.worst < smallest.macs.worst
    assert searched(1, macs_of(network(), 0.0).worst - 1) is None


def test_bit_operations_at_worst_are_those_of_eight_bits_by_eight() -> None:
    for grid in GRIDS:
        cost = weighed(grid, (1, 1))
        assert cost.bit_operations.worst == 64 * convolutions(cost.graph, 0.2).worst


@pytest.mark.parametrize(
    ("samples", "tested", "mass", "problem"),
    [
        ([], FIRST, 0.9, "needs calibration data"),
        (images(1), "nothing", 0.9, "nothing is not computed"),
        (images(1), FIRST, 0.0, "between 0 and 1"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    samples: list[dict[str, Array]], tested: str, mass: float, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        calibrate_choice(network(), GRID, samples, tested=tested, central_mass=mass)
