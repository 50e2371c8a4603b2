"""Predicted and measured growth of resident memory of onnxruntime sessions.

``bench_resident_memory.py`` compares more models; here are those that a user is told about.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.emitters.onnx import emit_onnx
from edgekit.converters.importers import load_model
from edgekit.errors import ExecutionError, ModelFormatError
from edgekit.graph import Graph
from edgekit.plan import MemoryUse
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.memory_model import onnxruntime_file_memory, onnxruntime_memory
from edgekit.runtime.resident import measure_growth_bytes
from edgekit.shapes import bind_dims
from tests.small_graphs import Builder, chain

PHONE = load_profile("pixel8")
TOLERANCE = 0.15
LIBRARY_SPREAD_BYTES = 2_200_000
"""By which the pages of the library's own file that are mapped differ from machine to machine."""


def predicted(graph: Graph, model: bytes) -> MemoryUse:
    plan = build_plan(
        bind_dims(graph),
        PHONE,
        executor="onnxruntime",
        executor_memory=onnxruntime_file_memory(model),
    )
    return plan.memory(PHONE.working_memory)


def check_growth(folder: Path, graph: Graph) -> None:
    pytest.importorskip("onnxruntime")
    path = folder / "model.onnx"
    path.write_bytes(emit_onnx(graph))
    tensors = [bind_dims(graph).tensors[name] for name in graph.inputs]
    inputs = {t.name: np.ones(t.static_shape, t.dtype.numpy) for t in tensors}
    measured = measure_growth_bytes(path, inputs)
    error = predicted(graph, path.read_bytes()).peak_bytes - measured
    assert abs(error) <= TOLERANCE * measured + LIBRARY_SPREAD_BYTES


def heavy_weights() -> Graph:
    b = Builder("weights")
    x = b.input("x", 1, 1024)
    for seed in range(4):
        x = b.node("abs", b.dense(x, 1024, 1024, seed=seed))
    return b.graph(x)


def heavy_activations() -> Graph:
    b = Builder("activations")
    x = b.input("x", 4096, 64)
    for seed in range(6):
        x = b.dense(b.node("square", b.dense(x, 64, 512, seed=seed)), 512, 64, seed=seed)
    return b.graph(x)


@pytest.mark.parametrize(
    "graph", [chain(), heavy_weights(), heavy_activations()], ids=lambda g: g.name
)
def test_prediction_is_near_what_is_measured(tmp_path: Path, graph: Graph) -> None:
    check_growth(tmp_path, graph)


@pytest.mark.parametrize(
    "name",
    [
        "face-reidentification-retail-0095",
        "landmarks-regression-retail-0009",
    ],
)
def test_prediction_holds_for_vision_models(tmp_path: Path, assets: Path, name: str) -> None:
    check_growth(tmp_path, load_model(assets / "vision" / f"{name}.onnx"))


def test_graph_and_file_give_the_same_weights() -> None:
    pytest.importorskip("onnx")
    graph = heavy_weights()
    by_graph, by_file = onnxruntime_memory(graph), onnxruntime_file_memory(emit_onnx(graph))
    assert by_graph.weights_bytes == by_file.weights_bytes == graph.weights_bytes
    assert by_graph.load_bytes == by_file.load_bytes


def test_no_onnx_model_is_named() -> None:
    pytest.importorskip("onnx")
    with pytest.raises(ModelFormatError, match="no ONNX model"):
        onnxruntime_file_memory(b"\xff\xff\xff")


def test_a_model_that_cannot_be_loaded_cannot_be_measured(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(ExecutionError, match="measuring"):
        measure_growth_bytes(tmp_path / "nothing.onnx", {})
