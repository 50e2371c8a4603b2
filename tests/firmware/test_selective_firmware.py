"""A choice at run time, compiled here and booted: the definition's bytes, and work left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.importers import load_model
from edgekit.converters.layout import to_layout
from edgekit.converters.partitioning.outliers import calibrate_choice, outlier_patches
from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.converters.partitioning.placement import place
from edgekit.converters.partitioning.selective_patches import Choice, split_selectively
from edgekit.converters.passes import simplify
from edgekit.converters.quantization.bit_widths import width_groups, with_bit_widths
from edgekit.converters.quantization.histograms import clip_range, observe_histograms
from edgekit.deploy.cores import kernels_of
from edgekit.deploy.host_program import host_compiler
from edgekit.dtypes import Array, DType
from edgekit.emulators.mcu import emulated_board, output_arrays, run_on_host
from edgekit.emulators.mcu_model import latency_of
from edgekit.emulators.ram_watch import watch_ram
from edgekit.estimate import estimate_graph
from edgekit.graph import Graph, Quantization, Tensor
from edgekit.native import has_library
from edgekit.ops.evaluate import evaluate
from edgekit.plan import Plan
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.native import NativeRunner
from edgekit.schedule import schedule
from edgekit.shapes import bind_dims

pytestmark = pytest.mark.toolchain

BOARD = load_profile("stm32l4r5")
VWW = "mcu/mlperf_tiny/vww/vww_96_int8.tflite"


@pytest.fixture(scope="module")
def low(assets: Path) -> Graph:
    whole = to_layout(simplify(bind_dims(load_model(assets / VWW))), "NHWC")
    return schedule(whole, kernels=kernels_of(BOARD)).graph


@pytest.fixture(scope="module")
def high(low: Graph) -> Graph:
    """The same network with other weights in its second layer, so that it can be told apart."""
    second = [node for node in low.nodes if "conv2d" in node.op][1]
    weights = low.tensors[second.inputs[1]]
    halved = (weights.data // 2).astype(np.int8)
    return low.replace(tensors=[Tensor.constant(weights.name, halved, weights.quantization)])


def image(low: Graph, wild: int, seed: int = 0) -> dict[str, Array]:
    """Return a calm image with values of any size in its first rows."""
    rng = np.random.default_rng(seed)
    name = low.inputs[0]
    pixels = rng.integers(0, 8, low.tensors[name].static_shape).astype(np.int8)
    pixels[:, :wild] = rng.integers(-128, 128, pixels[:, :wild].shape)
    return {name: pixels}


def made(low: Graph, high: Graph, *, streamed: bool) -> tuple[Graph, Plan, PatchGrid, Choice]:
    stages = patch_stages(low)
    grid = PatchGrid(stages[min(len(stages) - 1, 7)], 3, 2, streamed=streamed)
    tested = next(node.outputs[0] for node in low.nodes if "conv2d" in node.op)
    samples = [image(low, wild, seed=wild) for wild in (0, 40)]
    choice = calibrate_choice(low, grid, samples, tested=tested, tiles=(2, 1), central_mass=0.9)
    graph = split_selectively(high, low, grid, choice)
    names = graph.inputs if streamed else ()
    kernels = kernels_of(BOARD)
    plan = build_plan(graph, BOARD, executor="reference", kernels=kernels, streamed=names)
    return graph, plan, grid, choice


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("streamed", [False, True])
def test_a_board_takes_the_case_that_the_definition_says(
    low: Graph, high: Graph, streamed: bool, tmp_path: Path
) -> None:
    graph, plan, grid, choice = made(low, high, streamed=streamed)
    inputs = [image(low, 0), image(low, 40), image(low, 96)]
    taken = outlier_patches(low, grid, choice, inputs)
    assert not taken[0].any()
    assert 0 < taken[1].sum() < taken[1].size
    assert taken[2].all()
    expected = [evaluate(graph, each) for each in inputs]
    board = emulated_board(graph, plan, BOARD, tmp_path)
    assert board.image.arena_bytes == plan.memory(BOARD.working_memory).arena_bytes
    run = board.run(inputs)
    for parts, outputs in zip(run.outputs, expected, strict=True):
        for name, array in output_arrays(graph, parts).items():
            np.testing.assert_array_equal(array, outputs[name])
    calm, wild = (board.run([each]).instructions for each in (inputs[0], inputs[2]))
    assert calm < wild  # cases that are not taken do not run
    placed = place(graph, BOARD, None, executor="").placements
    estimated_s = estimate_graph(graph, BOARD, placed).latency_s
    assert estimated_s == pytest.approx(latency_of(BOARD, wild), rel=0.25)  # the worst case
    for index, each in enumerate(inputs):
        if host_compiler() is not None:
            result = run_on_host(graph, plan, BOARD, each)
            assert list(result.trace.cases.values()) == taken[index].tolist()
            for name, array in result.outputs.items():
                np.testing.assert_array_equal(array, expected[index][name])


@pytest.mark.native
@pytest.mark.skipif(not has_library(), reason="libedgekit is not built")
def test_native_runs_leave_out_the_case_that_is_not_taken(low: Graph, high: Graph) -> None:
    graph, plan, grid, choice = made(low, high, streamed=False)
    runner = NativeRunner(graph, plan)
    ran = []
    for wild in (0, 40, 96):
        given = image(low, wild)
        result, expected = runner.run(given), evaluate(graph, given)
        for name in graph.outputs:
            np.testing.assert_array_equal(result.outputs[name], expected[name])
        patches = outlier_patches(low, grid, choice, [given])[0].tolist()
        assert list(result.trace.cases.values()) == patches
        ran.append({event.name for event in result.trace.events})
    assert not any(".0" in name for name in ran[0])
    assert ran[0] < {node.name for node in graph.nodes}
    assert ran[0] != ran[1] != ran[2]


@pytest.mark.usefixtures("qemu")
def test_positions_chosen_once_need_no_test(low: Graph, high: Graph, tmp_path: Path) -> None:
    _, _, grid, choice = made(low, high, streamed=False)
    graph = split_selectively(high, low, grid, replace(choice, always=frozenset({1, 4})))
    assert not any(node.op in ("outlier_test", "blank") for node in graph.nodes)
    plan = build_plan(graph, BOARD, executor="reference", kernels=kernels_of(BOARD))
    given = image(low, 40)
    run = emulated_board(graph, plan, BOARD, tmp_path).run([given])
    for name, array in output_arrays(graph, run.outputs[0]).items():
        np.testing.assert_array_equal(array, evaluate(graph, given)[name])


def narrow(high: Graph, stage: str) -> Graph:
    """Return the network with four bits wherever the patch stage can have them."""
    count = next(i for i, node in enumerate(high.nodes) if node.name == stage) + 1
    inside = {name for node in high.nodes[: count - 1] for name in node.outputs}
    samples = [image(high, wild, seed=wild) for wild in (0, 40)]
    histograms = observe_histograms(high, samples)
    widths: dict[str, tuple[DType, Quantization]] = {}
    for group in width_groups(high):
        if group.can_narrow and inside.issuperset(group.tensors):
            first = group.tensors[0]
            range_kept = clip_range(histograms[first], high.tensors[first], 4, mass=0.95)
            widths[first] = (DType.INT4, range_kept)
    assert widths
    return with_bit_widths(high, widths)


@pytest.mark.usefixtures("qemu")
@pytest.mark.native
@pytest.mark.skipif(not has_library(), reason="libedgekit is not built")
def test_four_bits_where_values_are_ordinary_need_less_memory_and_all_executors_agree(
    low: Graph, tmp_path: Path
) -> None:
    eight = low
    stages = patch_stages(eight)
    stage = stages[min(len(stages) - 1, 7)]
    four = narrow(eight, stage)
    graph, plan, grid, choice = made(four, eight, streamed=True)
    assert grid.last == stage
    assert four.tensors[choice.tested].dtype is DType.INT4
    inputs = [image(eight, wild) for wild in (0, 40, 96)]
    expected = [evaluate(graph, each) for each in inputs]
    taken = outlier_patches(four, grid, choice, inputs)
    assert 0 < taken.sum() < taken.size
    runner = NativeRunner(graph, plan)
    board = emulated_board(graph, plan, BOARD, tmp_path)
    run = board.run(inputs)
    for each, parts, outputs, patches in zip(inputs, run.outputs, expected, taken, strict=True):
        result, found = runner.run(each), output_arrays(graph, parts)
        assert list(result.trace.cases.values()) == patches.tolist()
        for name in graph.outputs:
            np.testing.assert_array_equal(result.outputs[name], outputs[name])
            np.testing.assert_array_equal(found[name], outputs[name])
    arena_bytes = plan.memory(BOARD.working_memory).arena_bytes
    assert watch_ram(board, inputs)[".arena"].used_bytes == arena_bytes
    whole = split_into_patches(eight, grid)
    kernels = kernels_of(BOARD)
    same_patches = build_plan(
        whole, BOARD, executor="reference", kernels=kernels, streamed=whole.inputs
    )
    assert arena_bytes < same_patches.memory(BOARD.working_memory).arena_bytes
