"""Predicted instructions against those that an emulated board counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.converters.importers import load_model
from edgekit.converters.layout import to_layout
from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.converters.passes import simplify
from edgekit.converters.quantization.bit_widths import WIDTHS, width_groups, with_bit_widths
from edgekit.cost.instructions import instructions
from edgekit.deploy.cores import kernels_of
from edgekit.emulators.mcu import emulated_board
from edgekit.graph import Graph
from edgekit.ops import int8
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.shapes import bind_dims
from tests.mcu_models import random_inputs

pytestmark = pytest.mark.toolchain

PROFILE = load_profile("stm32l4r5")
LARGEST_ERROR = 0.15


def narrow(graph: Graph) -> Graph:
    names = [group.tensors[0] for group in width_groups(graph) if 4 in group.narrow_bits]
    widths = {name: (WIDTHS[4], int8.quantization_of(graph.tensors[name])) for name in names}
    return with_bit_widths(graph, widths)


def in_patches(graph: Graph) -> Graph:
    return split_into_patches(graph, PatchGrid(patch_stages(graph)[4], 2, 2))


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("name", ["int8", "4 bits", "patches", "patches of 4 bits"])
def test_instructions_are_foreseen(name: str, assets: Path, tmp_path: Path) -> None:
    model = load_model(assets / "mcu/mlperf_tiny/vww/vww_96_int8.tflite")
    graph = to_layout(simplify(bind_dims(model)), "NHWC")
    graph = narrow(graph) if "4 bits" in name else graph
    graph = in_patches(graph) if "patches" in name else graph
    kernels = kernels_of(PROFILE)
    plan = build_plan(graph, PROFILE, executor="reference", kernels=kernels)
    board = emulated_board(graph, plan, PROFILE, tmp_path)
    counted = board.run([random_inputs(graph, 0)]).instructions
    foreseen = sum(instructions(graph, kernels).values())
    assert abs(foreseen / counted - 1) < LARGEST_ERROR
