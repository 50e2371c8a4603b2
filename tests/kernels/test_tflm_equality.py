"""The reference computes what TensorFlow Lite Micro computes: int8 bit for bit, float32 closely.

TensorFlow Lite Micro runs in a child process, on every test case of an operator that it has, and on
the public models of the assets with random inputs. To add a case, add it to ``cases`` of the
operator; to add an operator, teach ``tflite_writer`` its form.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.importers.tflite import load_tflite
from edgekit.dtypes import Array
from edgekit.errors import UnsupportedOpError
from edgekit.graph import Graph
from edgekit.ops import registry
from edgekit.ops.evaluate import evaluate
from edgekit.ops.spec import OpCase
from tests.kernels.run_case import run_reference
from tests.kernels.tflite_writer import NoFormError, given_inputs, write_case
from tests.mcu_models import INT8_MODELS, LARGE_MODELS
from tests.tflm import Answer, ask_tflm

pytest.importorskip("tflite_micro")

RUNS = 20
"""Random inputs for each model."""

REFUSED = {
    "concat-int8_mixed_channels": "needs one scale",
    "concat-int8_mixed_first": "needs one scale",
    "gather-float_rows": "refuses negative indices",
    "gather-int8_rows": "refuses negative indices",
    "gather-float_columns": "refuses negative indices",
    "gather-int8_columns": "refuses negative indices",
    "relu6-int8_other_scale0.05": "ignores the output's scale",
    "relu6-int8_other_scale0.11": "ignores the output's scale",
    "relu6-int8_other_scale0.4": "ignores the output's scale",
    "tile-float_0": "has no such operator",
    "tile-int8_0": "has no such operator",
}
"""Cases in which TensorFlow Lite Micro is narrower than the reference."""

FLOAT_MODELS = (
    "mlperf_tiny/ad/ad01_fp32.tflite",
    "mlperf_tiny/ic/pretrainedResnet.tflite",
    "mlperf_tiny/vww/vww_96_float.tflite",
    "tflm/hello_world/hello_world_float.tflite",
    "tflm/mnist_lstm/trained_lstm.tflite",
)
UNSUPPORTED_MODELS = (
    "tflm/micro_speech/audio_preprocessor_float.tflite",
    "tflm/micro_speech/audio_preprocessor_int8.tflite",
)
HYBRID_MODELS = ("mlperf_tiny/kws/kws_ref_model_float32.tflite",)
"""Float activations and int8 weights, which TensorFlow Lite Micro refuses."""


def writable_cases() -> Iterator[tuple[str, str, OpCase, bytes]]:
    for op, spec in registry().items():
        for case in spec.cases():
            try:
                yield f"{op}-{case.id}", op, case, write_case(op, case)
            except NoFormError:
                continue


CASES = {name: (op, case, data) for name, op, case, data in writable_cases()}
INT8_OPERATORS = frozenset(
    op
    for op, spec in registry().items()
    if any(tensor.dtype.value == "int8" for case in spec.cases() for tensor in case.outputs)
)


@pytest.fixture(scope="module")
def case_answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    folder = tmp_path_factory.mktemp("cases")
    for name, (_, case, data) in CASES.items():
        (folder / f"{name}.tflite").write_bytes(data)
        given = {f"0_{place}": array for place, array in enumerate(given_inputs(case))}
        np.savez(folder / f"{name}.in.npz", **given)
    return ask_tflm(folder)


@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED])
def test_operator_equals_tflm(name: str, case_answers: dict[str, Answer]) -> None:
    op, case, _ = CASES[name]
    answer = case_answers[name]
    assert not answer.error
    for place, ours in enumerate(run_reference(op, case, zero_states=True)):
        theirs = answer.outputs[f"0_{place}"].reshape(ours.shape)
        assert theirs.dtype == ours.dtype
        if ours.dtype.kind == "f":
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=max(case.tolerance, 1e-6))
        else:
            np.testing.assert_array_equal(ours, theirs)


def test_every_int8_operator_is_compared() -> None:
    compared = {op for name, (op, _, _) in CASES.items() if name not in REFUSED}
    # Not in TensorFlow Lite Micro: copies, zeros, a repetition, and a clamp to [-1, 1].
    assert INT8_OPERATORS - compared == {"blank", "identity", "paste", "tile", "relu_n1_1"}


def random_inputs(graph: Graph, seed: int) -> list[dict[str, Array]]:
    generator = np.random.default_rng(seed)
    runs = []
    for _ in range(RUNS):
        inputs: dict[str, Array] = {}
        for name in graph.inputs:
            tensor = graph.tensors[name]
            shape, kind = tensor.static_shape, tensor.dtype.numpy
            if kind.kind == "f":
                inputs[name] = generator.standard_normal(shape).astype(np.float32)
            else:
                info = np.iinfo(kind.name)
                inputs[name] = generator.integers(info.min, info.max + 1, shape).astype(kind)
        runs.append(inputs)
    return runs


def compare_runs(path: Path, folder: Path) -> Iterator[tuple[Array, Array]]:
    """Yield each output of ours and of TensorFlow Lite Micro, states kept from run to run."""
    graph = load_tflite(path)
    runs = random_inputs(graph, seed=7)
    shutil.copyfile(path, folder / "model.tflite")
    given = {
        f"{index}_{place}": array
        for index, inputs in enumerate(runs)
        for place, array in enumerate(inputs.values())
    }
    np.savez(folder / "model.in.npz", **given)
    answer = ask_tflm(folder)["model"]
    assert not answer.error
    states: dict[str, Array] = {}
    for index, inputs in enumerate(runs):
        for place, ours in enumerate(evaluate(graph, inputs, states).values()):
            yield ours, answer.outputs[f"{index}_{place}"].reshape(ours.shape)


def check_equal(path: Path, folder: Path) -> None:
    compared = list(compare_runs(path, folder))
    assert len(compared) >= RUNS
    for ours, theirs in compared:
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("model", INT8_MODELS)
@pytest.mark.filterwarnings("ignore")
def test_int8_model_equals_tflm(model: str, assets: Path, tmp_path: Path) -> None:
    check_equal(assets / "mcu" / model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", LARGE_MODELS)
def test_large_int8_model_equals_tflm(model: str, assets: Path, tmp_path: Path) -> None:
    check_equal(assets / "mcu" / model, tmp_path)


@pytest.mark.parametrize("model", FLOAT_MODELS)
def test_float_model_is_close_to_tflm(model: str, assets: Path, tmp_path: Path) -> None:
    for ours, theirs in compare_runs(assets / "mcu" / model, tmp_path):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("model", UNSUPPORTED_MODELS)
def test_model_with_custom_operators_is_refused_by_name(model: str, assets: Path) -> None:
    with pytest.raises(UnsupportedOpError, match=r"(?s)SignalWindow.*SignalRfft") as error:
        load_tflite(assets / "mcu" / model)
    assert error.value.op == "SignalWindow"
    assert error.value.exit_code == 5


def test_every_model_of_the_assets_is_in_a_list(assets: Path) -> None:
    known = {*FLOAT_MODELS, *INT8_MODELS, *LARGE_MODELS, *UNSUPPORTED_MODELS, *HYBRID_MODELS}
    found = {str(path.relative_to(assets / "mcu")) for path in (assets / "mcu").rglob("*.tflite")}
    assert found == known
