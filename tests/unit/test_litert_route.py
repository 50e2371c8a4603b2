"""Quantized TensorFlow Lite files on phones: the file itself goes into the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.converters.importers import load_model
from edgekit.dtypes import Array
from edgekit.errors import UsageError
from edgekit.ops import registry
from edgekit.ops.evaluate import evaluate
from edgekit.pipeline.emulate import replan
from edgekit.plan import Plan
from edgekit.profiles import load_profile
from edgekit.runtime.memory_model import LITERT_COST
from edgekit.runtime.session import load

pytest.importorskip("ai_edge_litert")

from tests.kernels.tflite_writer import write_case


def written(folder: Path, op: str = "conv2d", case_id: str = "int8_channel_same3x3") -> Path:
    case = next(case for case in registry()[op].cases() if case.id == case_id)
    path = folder / "model.tflite"
    path.write_bytes(write_case(op, case))
    return path


def random_int8(model: Path) -> Mapping[str, Array]:
    graph = load_model(model)
    rng = np.random.default_rng(0)
    shapes = {name: graph.tensors[name].static_shape for name in graph.inputs}
    return {name: rng.integers(-128, 128, shape, np.int8) for name, shape in shapes.items()}


def test_the_file_is_kept_and_litert_runs_it(tmp_path: Path) -> None:
    model = written(tmp_path)
    package = edgekit.convert(model, device="pixel8", out=str(tmp_path / "out.edgekit")).package
    assert package is not None
    assert package.manifest.executor == "litert"
    assert package.model_path.read_bytes() == model.read_bytes()
    inputs = random_int8(model)
    with load(package) as session:
        outputs = session.run(inputs).outputs
    for name, expected in evaluate(load_model(model), inputs).items():
        assert np.abs(outputs[name].astype(int) - expected.astype(int)).max() <= 1


def test_float_layers_that_onnx_has_no_form_for_go_to_litert(tmp_path: Path) -> None:
    model = written(tmp_path, "unidirectional_lstm", "float_batch")
    done = edgekit.convert(model, device="pixel8", out=str(tmp_path / "out.edgekit"))
    assert done.package is not None
    assert done.package.manifest.executor == "litert"
    assert done.accuracy["precision"] == "float32"
    assert any("unidirectional_lstm" in note for note in done.notes)
    with load(done.package) as session:
        assert session.run(session.zeros()).outputs


def test_what_litert_dies_of_at_the_end_the_reference_runs(assets: Path) -> None:
    model = assets / "mcu/tflm/keyword/keyword_scrambled_8bit.tflite"
    done = edgekit.convert(model, device="pixel8", dry_run=True)
    assert done.plan.executor == "reference"
    assert any("LiteRT refuses" in note for note in done.notes)


def test_memory_is_the_file_the_arena_and_a_stated_overhead(tmp_path: Path) -> None:
    model = written(tmp_path)
    plan = edgekit.convert(model, device="pixel8", dry_run=True).plan
    use = plan.memory("dram")
    assert use.weights_bytes == model.stat().st_size
    assert use.overhead_bytes > LITERT_COST.base_bytes
    assert use.peak_bytes == use.weights_bytes + use.arena_bytes + use.overhead_bytes


def test_what_litert_refuses_the_reference_runs(tmp_path: Path, assets: Path) -> None:
    model = assets / "mcu/tflm/person_detection/person_detect.tflite"
    done = edgekit.convert(model, device="pixel8", out=str(tmp_path / "out.edgekit"))
    assert done.package is not None
    assert done.package.manifest.executor == "reference"
    assert any("LiteRT refuses" in note for note in done.notes)
    inputs = random_int8(model)
    with load(done.package) as session:
        outputs = session.run(inputs).outputs
    for name, expected in evaluate(load_model(model), inputs).items():
        np.testing.assert_array_equal(outputs[name], expected)


@pytest.mark.parametrize("device", ["pixel8", "nano33ble"])
def test_a_quantized_model_does_not_become_float(tmp_path: Path, device: str) -> None:
    with pytest.raises(UsageError, match="quantized to int8 already"):
        edgekit.convert(written(tmp_path), device=device, precision="float32", dry_run=True)


@pytest.mark.parametrize("executor", ["litert", "onnxruntime"])
def test_planning_again_keeps_the_rules_of_the_executor(tmp_path: Path, executor: str) -> None:
    model = str(written(tmp_path)) if executor == "litert" else ""
    package = edgekit.convert(model, device="pixel8", out=str(tmp_path / "out.edgekit")).package
    assert package is not None
    assert package.manifest.executor == executor
    assert heights(replan(package, load_profile("pixel8"))) == heights(package.plan)


def heights(plan: Plan) -> dict[str, int]:
    return {use.name: use.peak_bytes for use in plan.memories}
