"""Networks whose weights have four bits: half the flash, and the outputs of the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.importers import load_model
from edgekit.converters.layout import to_layout
from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.converters.passes import simplify
from edgekit.converters.quantization.bit_widths import NARROW_WEIGHTS, with_bit_widths
from edgekit.deploy.cores import kernels_of
from edgekit.deploy.host_program import host_compiler
from edgekit.emulators.mcu import emulated_board, output_arrays, run_on_host
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
ANOMALY = "mcu/mlperf_tiny/ad/ad01_int8.tflite"
MOBILENET = "mcu/tflm/xtensa_examples/mobilenet_v2_quantized_1x3x224x224.tflite"


def read(path: Path, profile: DeviceProfile) -> Graph:
    graph = to_layout(simplify(bind_dims(load_model(path))), "NHWC")
    return schedule(graph, kernels=kernels_of(profile)).graph


def with_narrow_weights(graph: Graph) -> Graph:
    layers = {node.name: 4 for node in graph.nodes if node.op in NARROW_WEIGHTS}
    return with_bit_widths(graph, {}, layers)


def planned(graph: Graph, profile: DeviceProfile, streamed: tuple[str, ...] = ()) -> Plan:
    return build_plan(
        graph, profile, executor="reference", kernels=kernels_of(profile), streamed=streamed
    )


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("model", [VWW, ANOMALY])
def test_a_board_gives_the_outputs_of_the_reference_from_half_the_flash(
    model: str, assets: Path, tmp_path: Path
) -> None:
    profile = load_profile("stm32l4r5")
    wide = read(assets / model, profile)
    narrow = with_narrow_weights(wide)
    layers = [node for node in wide.nodes if node.op in NARROW_WEIGHTS]
    weights_bytes = sum(wide.tensors[node.inputs[1]].size_bytes for node in layers)
    images = {}
    for name, graph in (("wide", wide), ("narrow", narrow)):
        folder = tmp_path / name
        folder.mkdir()
        images[name] = emulated_board(graph, planned(graph, profile), profile, folder)
    saved = images["wide"].image.flash_bytes - images["narrow"].image.flash_bytes
    assert saved > 0.45 * weights_bytes
    inputs = [random_inputs(narrow, seed) for seed in range(2)]
    for each, parts in zip(inputs, images["narrow"].run(inputs).outputs, strict=True):
        expected = evaluate(narrow, each)
        for name, array in output_arrays(narrow, parts).items():
            np.testing.assert_array_equal(array, expected[name])
    if host_compiler() is not None:
        found = run_on_host(narrow, planned(narrow, profile), profile, inputs[0]).outputs
        for name, array in evaluate(narrow, inputs[0]).items():
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.full
@pytest.mark.usefixtures("qemu")
def test_weights_that_flash_cannot_hold_by_the_byte_run_from_it(
    assets: Path, tmp_path: Path
) -> None:
    profile = load_profile("stm32h743")
    capacity = profile.memory(profile.constants_memory).available_bytes.value
    wide = read(assets / MOBILENET, profile)
    narrow = with_narrow_weights(wide)
    assert wide.weights_bytes > capacity
    cut = split_into_patches(narrow, PatchGrid(patch_stages(narrow)[12], 7, 1, True, True))
    plan = planned(cut, profile, streamed=narrow.inputs)
    board = emulated_board(cut, plan, profile, tmp_path)
    assert board.image.flash_bytes < capacity
    inputs = [random_inputs(narrow, 0)]
    (parts,) = board.run(inputs).outputs
    expected = evaluate(narrow, inputs[0])
    for name, array in output_arrays(cut, parts).items():
        np.testing.assert_array_equal(array, expected[name])
