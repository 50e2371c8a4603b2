"""Real networks whose first layers run patch by patch give the bytes of whole layers (native)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit import native
from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.graph import Graph
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.native import NativeRunner
from tests.mcu_models import INT8_MODELS, LARGE_MODELS, planned, random_inputs

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not native.has_library(), reason="libedgekit is not built"),
]

CONVOLUTIONAL = (
    *("mlperf_tiny/kws/kws_ref_model.tflite", "mlperf_tiny/ic/pretrainedResnet_quant.tflite"),
    *("mlperf_tiny/vww/vww_96_int8.tflite", "tflm/person_detection/person_detect.tflite"),
    "tinyengine/vww.tflite",
)
MODES = {"computed again": (3, 2, False), "kept": (5, 1, True)}
DEPTHS = {"early": 0.25, "middle": 0.5, "late": 1.0}


def outputs_of(graph: Graph, seed: int, streamed: tuple[str, ...] = ()) -> list[bytes]:
    plan = build_plan(graph, load_profile("stm32h743"), executor="native", streamed=streamed)
    result = NativeRunner(graph, plan).run(random_inputs(graph, seed))
    return [np.ascontiguousarray(result.outputs[name]).tobytes() for name in graph.outputs]


def pairs(
    path: Path, depth: float, mode: tuple[int, int, bool]
) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Yield the outputs in patches and whole, input resident and streamed, of two inputs."""
    graph, _ = planned(path)
    rows, columns, cached = mode
    stages = patch_stages(graph)
    assert stages
    stage = stages[round(depth * (len(stages) - 1))]
    _, height, width, _ = next(
        graph.tensors[node.outputs[0]].static_shape for node in graph.nodes if node.name == stage
    )
    for streamed in (False, True):
        grid = PatchGrid(stage, min(rows, height), min(columns, width), cached, streamed)
        cut = split_into_patches(graph, grid)
        names = graph.inputs if streamed else ()
        for seed in range(2):
            yield outputs_of(cut, seed, names), outputs_of(graph, seed)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("model", CONVOLUTIONAL)
def test_patches_give_the_bytes_of_whole_layers(
    assets: Path, model: str, depth: str, mode: str
) -> None:
    for patched, whole in pairs(assets / "mcu" / model, DEPTHS[depth], MODES[mode]):
        assert patched == whole


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", LARGE_MODELS)
def test_patches_of_large_networks_give_the_bytes_of_whole_layers(
    assets: Path, model: str, mode: str
) -> None:
    for patched, whole in pairs(assets / "mcu" / model, 0.3, MODES[mode]):
        assert patched == whole


@pytest.mark.parametrize("model", sorted(set(INT8_MODELS) - set(CONVOLUTIONAL)))
def test_other_networks_have_nothing_to_cut_behind_their_first_layer(
    assets: Path, model: str
) -> None:
    graph, _ = planned(assets / "mcu" / model)
    assert len(patch_stages(graph)) <= 1
