"""Public models quantized by edgekit: as close to float as the publishers' own files, or closer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.converters.importers.onnx import load
from edgekit.converters.passes import simplify
from edgekit.converters.quantization.fallback import Gate, quantize_with_gate
from edgekit.converters.quantization.onnx_runs import session_runner
from edgekit.converters.quantization.onnx_static import quantize_onnx_with_gate
from edgekit.converters.quantization.report import Runner, sqnr_db
from edgekit.dtypes import Array
from tests.public_data import (
    Faces,
    Floats,
    PublishedPair,
    keyword_samples,
    output,
    photograph_crops,
    spectrogram_rows,
)

pytest.importorskip("tflite")
pytest.importorskip("onnxruntime")
pytest.importorskip("skimage")
pytestmark = pytest.mark.slow


def test_keyword_model_is_as_accurate_as_the_publishers(assets: Path) -> None:
    """Calibrated on 100 of the labelled samples, scored on the other 300."""
    folder = assets / "mcu" / "mlperf_tiny" / "kws"
    pair = PublishedPair.load(folder, "kws_ref_model_float32.tflite", "kws_ref_model.tflite")
    samples = keyword_samples(folder / "samples", pair.int8_graph)
    order = np.random.default_rng(0).permutation(len(samples))
    name = pair.float_graph.inputs[0]
    ours = quantize_with_gate(
        pair.float_graph, [{name: samples[index][0]} for index in order[:100]]
    ).graph

    def accuracy(run: Callable[[Floats], Floats]) -> float:
        right = [run(samples[index][0]).argmax() == samples[index][1] for index in order[100:]]
        return float(np.mean(right))

    assert accuracy(lambda x: output(ours, x)) >= accuracy(pair.published_output) - 0.007
    assert accuracy(lambda x: output(ours, x)) >= accuracy(pair.float_output) - 0.02


def anomaly_rows(assets: Path, count: int, seed: int) -> list[Floats]:
    return spectrogram_rows(
        assets / "mcu" / "tflm" / "micro_speech" / "noise_1000ms.wav", count, seed
    )


def unit_crops(_: Path, count: int, seed: int) -> list[Floats]:
    """Pixels from 0 to 1, as the int8 model's input (scale 1/255, zero point -128) says."""
    return [crop / np.float32(255) for crop in photograph_crops(96, count, seed)]


def byte_crops(_: Path, count: int, seed: int) -> list[Floats]:
    """Pixels from 0 to 255, as the int8 model's input (scale 1, zero point -128) says."""
    return photograph_crops(32, count, seed)


@pytest.mark.full
@pytest.mark.parametrize(
    ("float_file", "int8_file", "inputs", "count"),
    [
        ("ad/ad01_fp32.tflite", "ad/ad01_int8.tflite", anomaly_rows, 100),
        ("ic/pretrainedResnet.tflite", "ic/pretrainedResnet_quant.tflite", byte_crops, 40),
        ("vww/vww_96_float.tflite", "vww/vww_96_int8.tflite", unit_crops, 20),
    ],
    ids=["anomaly", "resnet8", "person"],
)
def test_outputs_are_as_close_to_float_as_the_publishers(
    assets: Path,
    float_file: str,
    int8_file: str,
    inputs: Callable[[Path, int, int], list[Floats]],
    count: int,
) -> None:
    pair = PublishedPair.load(assets / "mcu" / "mlperf_tiny", float_file, int8_file)
    name = pair.float_graph.inputs[0]
    ours = quantize_with_gate(pair.float_graph, [{name: x} for x in inputs(assets, count, 0)]).graph
    fresh = inputs(assets, count, 1)
    exact = np.stack([pair.float_output(x) for x in fresh])
    published_db = sqnr_db(exact, np.stack([pair.published_output(x) for x in fresh]))
    our_db = sqnr_db(exact, np.stack([output(ours, x) for x in fresh]))
    assert our_db >= published_db - 1.0


@pytest.fixture(scope="module")
def faces(assets: Path) -> Faces:
    return Faces.load(assets / "faces")


def split(faces: Faces) -> tuple[list[str], list[str]]:
    """32 images to calibrate on, and the others."""
    names = sorted(faces.points)
    order = np.random.default_rng(0).permutation(len(names))
    return [names[i] for i in order[:32]], [names[i] for i in order[32:]]


def vectors(run: Runner, images: list[Floats]) -> npt.NDArray[np.float64]:
    rows = [np.asarray(run({"image": image})["out"], np.float64).ravel() for image in images]
    return np.stack(rows)


def unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@pytest.mark.full
def test_face_embeddings_verify_the_same_pairs(assets: Path, faces: Faces) -> None:
    path = assets / "vision" / "face-reidentification-retail-0095.onnx"
    graph = simplify(load(path, {"n": 1}))
    used, others = split(faces)
    batches: list[dict[str, Array]] = [{"image": faces.aligned(name)} for name in used]
    result = quantize_onnx_with_gate(graph, batches, gate=Gate(min_sqnr_db=12.0))
    assert result.fallback_layers == ()
    assert len(result.graph.model) < 0.4 * path.stat().st_size

    names = used + others
    images = [faces.aligned(name) for name in names]
    exact = unit(vectors(session_runner(path.read_bytes()), images))
    rounded = unit(vectors(session_runner(result.graph.model), images))
    cosine = (exact * rounded).sum(axis=1)[len(used) :]
    assert cosine.mean() >= 0.98

    rows = {name: row for row, name in enumerate(names)}
    pairs = faces.pairs()
    first, second = [rows[a] for a, _, _ in pairs], [rows[b] for _, b, _ in pairs]
    same = np.array([is_same for _, _, is_same in pairs])
    exact_scores = (exact[first] * exact[second]).sum(axis=1)
    rounded_scores = (rounded[first] * rounded[second]).sum(axis=1)
    threshold = best_threshold(exact_scores, same)
    assert np.array_equal(exact_scores > threshold, rounded_scores > threshold)


def best_threshold(scores: npt.NDArray[np.float64], same: npt.NDArray[np.bool_]) -> float:
    """The threshold with the fewest errors; of several, the middle of the widest gap."""
    order = np.sort(scores)
    between = (order[1:] + order[:-1]) / 2
    errors = np.array([np.count_nonzero((scores > t) != same) for t in between])
    fewest = errors == errors.min()
    return float(between[fewest][np.argmax(np.diff(order)[fewest])])


def test_landmarks_stay_within_one_percent_of_the_box(assets: Path, faces: Faces) -> None:
    path = assets / "vision" / "landmarks-regression-retail-0009.onnx"
    graph = simplify(load(path, {"n": 1}))
    used, others = split(faces)
    batches: list[dict[str, Array]] = [{"image": faces.box(name)} for name in used]
    result = quantize_onnx_with_gate(graph, batches)
    images = [faces.box(name) for name in others]
    exact = vectors(session_runner(path.read_bytes()), images).reshape(-1, 5, 2)
    rounded = vectors(session_runner(result.graph.model), images).reshape(-1, 5, 2)
    assert np.linalg.norm(rounded - exact, axis=2).max() <= 0.01


def test_conversion_for_onnxruntime_is_deterministic(assets: Path, faces: Faces) -> None:
    path = assets / "vision" / "landmarks-regression-retail-0009.onnx"
    graph = simplify(load(path, {"n": 1}))
    batches: list[dict[str, Array]] = [{"image": faces.box(n)} for n in split(faces)[0][:4]]
    first, second = (quantize_onnx_with_gate(graph, batches).graph.model for _ in range(2))
    assert first == second
