"""Networks whose first layers run patch by patch: the same bytes, compiled here and booted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.importers import load_model
from edgekit.converters.layout import to_layout
from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.converters.partitioning.placement import place
from edgekit.converters.passes import simplify
from edgekit.deploy.cores import kernels_of
from edgekit.deploy.host_program import host_compiler
from edgekit.emulators.mcu import emulated_board, output_arrays, run_on_host
from edgekit.emulators.mcu_model import latency_of
from edgekit.estimate import estimate_graph
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate
from edgekit.plan import Plan
from edgekit.planner import build_plan
from edgekit.profiles import DeviceProfile, load_profile
from edgekit.schedule import schedule
from edgekit.shapes import bind_dims
from tests.mcu_models import random_inputs

pytestmark = pytest.mark.toolchain

VWW = "mcu/mlperf_tiny/vww/vww_96_int8.tflite"
PERSON = "mcu/tflm/person_detection/person_detect.tflite"
LARGE = "mcu/tinyengine/mcunetv2_large.tflite"
CASES = [
    (VWW, "stm32l4r5", (2, 2, False, False)),
    (VWW, "stm32l4r5", (12, 1, True, True)),
    (PERSON, "stm32l4r5", (3, 2, False, True)),
    pytest.param(LARGE, "stm32h743", (14, 1, True, True), marks=pytest.mark.full),
]


def patched(
    path: Path, device: str, mode: tuple[int, int, bool, bool]
) -> tuple[Graph, Graph, Plan]:
    profile = load_profile(device)
    kernels = kernels_of(profile)
    whole = to_layout(simplify(bind_dims(load_model(path))), "NHWC")
    whole = schedule(whole, kernels=kernels).graph
    rows, columns, cached, streamed = mode
    stages = patch_stages(whole)
    grid = PatchGrid(stages[min(len(stages) - 1, 7)], rows, columns, cached, streamed)
    graph = split_into_patches(whole, grid)
    inputs = whole.inputs if streamed else ()
    return (
        whole,
        graph,
        build_plan(graph, profile, executor="reference", kernels=kernels, streamed=inputs),
    )


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize(("model", "device", "mode"), CASES)
def test_patches_on_a_board_give_the_bytes_of_whole_layers(
    model: str, device: str, mode: tuple[int, int, bool, bool], assets: Path, tmp_path: Path
) -> None:
    whole, graph, plan = patched(assets / model, device, mode)
    profile: DeviceProfile = load_profile(device)
    inputs = [random_inputs(whole, seed) for seed in range(2)]
    expected = [evaluate(whole, each) for each in inputs]
    board = emulated_board(graph, plan, profile, tmp_path)
    run = board.run(inputs)
    assert board.image.arena_bytes == plan.memory(profile.working_memory).arena_bytes
    for parts, outputs in zip(run.outputs, expected, strict=True):
        for name, array in output_arrays(graph, parts).items():
            np.testing.assert_array_equal(array, outputs[name])
    placed = place(graph, profile, None, executor="").placements
    estimated_s = estimate_graph(graph, profile, placed).latency_s
    if device == "stm32l4r5":  # whose model of time was compared with measurements
        assert estimated_s == pytest.approx(latency_of(profile, run.instructions), rel=0.25)
    if host_compiler() is not None:
        found = run_on_host(graph, plan, profile, inputs[0]).outputs
        for name, array in found.items():
            np.testing.assert_array_equal(array, expected[0][name])
