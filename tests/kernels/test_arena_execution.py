"""Plans proven by use: run in guarded arenas, every test model gives the outputs it gives without.

The plain evaluator keeps every tensor in an array of its own; the reference executor has one arena
and views at planned offsets. To add a model, put a ``.tflite`` file among the assets.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.importers import load_model
from edgekit.dtypes import Array, DType
from edgekit.errors import UnsupportedOpError
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate, initial_states
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.reference import ReferenceRunner
from edgekit.schedule import schedule
from edgekit.shapes import bind_dims

MODELS = (
    *("mcu/mlperf_tiny/ad/ad01_fp32.tflite", "mcu/mlperf_tiny/ad/ad01_int8.tflite"),
    *("mcu/mlperf_tiny/ic/pretrainedResnet.tflite", "mcu/tflm/dtln/dtln_noise_suppression.tflite"),
    *("mcu/mlperf_tiny/ic/pretrainedResnet_quant.tflite", "mcu/tinyengine/vww.tflite"),
    *("mcu/mlperf_tiny/kws/kws_ref_model.tflite", "mcu/mlperf_tiny/vww/vww_96_float.tflite"),
    *("mcu/mlperf_tiny/kws/kws_ref_model_float32.tflite", "mcu/mlperf_tiny/vww/vww_96_int8.tflite"),
    *("mcu/tflm/hello_world/hello_world_float.tflite", "mcu/tflm/mnist_lstm/trained_lstm.tflite"),
    *("mcu/tflm/hello_world/hello_world_int8.tflite", "mcu/tflm/keyword/keyword_scrambled.tflite"),
    *("mcu/tflm/keyword/keyword_scrambled_8bit.tflite",),
    *("mcu/tflm/micro_speech/micro_speech_quantized.tflite",),
    *("mcu/tflm/mnist_lstm/trained_lstm_int8.tflite",),
    *("mcu/tflm/person_detection/person_detect.tflite",),
    *("vision/landmarks-regression-retail-0009.onnx",),
)
LARGE_MODELS = (
    "mcu/tflm/xtensa_examples/mobilenet_v2_quantized_1x3x224x224.tflite",
    "mcu/tinyengine/mcunetv2_large.tflite",
    "vision/face-reidentification-retail-0095.onnx",
)
RUNS = 2
"""The second run starts from what the first left in states and arenas."""


@pytest.mark.parametrize("name", MODELS)
def test_arena_execution_leaves_outputs_unchanged(name: str, assets: Path) -> None:
    check_model(assets / name)


@pytest.mark.full
@pytest.mark.parametrize("name", LARGE_MODELS)
def test_arena_execution_leaves_outputs_of_large_models_unchanged(name: str, assets: Path) -> None:
    check_model(assets / name)


def test_every_model_of_the_assets_is_run_or_refused(assets: Path) -> None:
    for path in sorted((assets / "mcu").rglob("*.tflite")):
        if path.relative_to(assets).as_posix() in (*MODELS, *LARGE_MODELS):
            continue
        with pytest.raises(UnsupportedOpError):
            load_model(path)


def check_model(path: Path) -> None:
    graph = schedule(bind_dims(load_model(path))).graph
    plan = build_plan(graph, load_profile("stm32h743"), executor="reference")
    runner = ReferenceRunner(graph, plan)
    states = initial_states(graph)
    for run in range(RUNS):
        inputs = random_inputs(graph, seed=run)
        expected = evaluate(graph, inputs, states)
        result = runner.run(inputs)
        assert_same(result.outputs, expected)
        for use in plan.memories:
            assert result.trace.peak_bytes[use.name] == use.peak_bytes


def random_inputs(graph: Graph, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        shape = tensor.static_shape
        if tensor.dtype is DType.FLOAT32:
            inputs[name] = rng.uniform(-1, 1, shape).astype(np.float32)
        else:
            info = np.iinfo(tensor.dtype.value)
            inputs[name] = rng.integers(info.min, info.max, shape, tensor.dtype.value, True)
    return inputs


def assert_same(found: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
