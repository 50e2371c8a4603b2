"""Public models on the reference: as accurate as published, and as other runtimes read them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.importers.tflite import load_tflite
from edgekit.dtypes import Array
from edgekit.graph import Graph
from edgekit.ops import int8
from edgekit.ops.evaluate import evaluate

pytest.importorskip("tflite")


def run(graph: Graph, *arrays: Array) -> list[Array]:
    return list(evaluate(graph, dict(zip(graph.inputs, arrays, strict=True))).values())


def test_keyword_model_is_as_accurate_as_published(assets: Path) -> None:
    """366 of the 400 labelled samples, as with TensorFlow Lite Micro's arithmetic."""
    folder = assets / "mcu" / "mlperf_tiny" / "kws"
    graph = load_tflite(folder / "kws_ref_model.tflite")
    with (folder / "samples" / "y_labels.csv").open() as file:
        labels = [(row[0].strip(), int(row[2])) for row in csv.reader(file)]
    right = 0
    for name, label in labels:
        x = np.fromfile(folder / "samples" / name, np.int8).reshape(1, 49, 10, 1)
        right += int(run(graph, x)[0].argmax() == label)
    assert len(labels) == 400
    assert right == 366


@pytest.mark.parametrize("model", ["trained_lstm.tflite", "trained_lstm_int8.tflite"])
def test_recurrent_model_reads_its_ten_digits(model: str, assets: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    folder = assets / "mcu" / "tflm" / "mnist_lstm"
    graph = load_tflite(folder / model)
    tensor = graph.tensors[graph.inputs[0]]
    digits = []
    for digit in range(10):
        with image.open(folder / f"sample{digit}.png") as file:
            x = np.asarray(file.convert("L"), np.float32).reshape(1, 28, 28) / np.float32(255)
        given = x if tensor.dtype.is_float else int8.stored_from_real(x, tensor)
        digits.append(int(run(graph, given)[0].argmax()))
    assert digits == list(range(10))


def test_person_model_that_other_runtimes_refuse_is_read(
    assets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = assets / "mcu" / "tflm" / "person_detection"
    graph = load_tflite(folder / "person_detect.tflite")
    assert "axis 0" in caplog.text
    scores = []
    for name in ("person.bmp", "no_person.bmp"):
        # The pixels, bottom row first as in the file, read as int8.
        pixels = np.frombuffer((folder / name).read_bytes()[-96 * 96 :], np.int8)
        scores.append(int(run(graph, pixels.reshape(1, 96, 96, 1)[:, ::-1])[0][0, 1]))
    assert scores[0] > scores[1]


def test_hybrid_keyword_model_agrees_with_its_int8_twin(assets: Path) -> None:
    """Float activations with int8 weights: the class of the int8 model on most samples."""
    folder = assets / "mcu" / "mlperf_tiny" / "kws"
    hybrid = load_tflite(folder / "kws_ref_model_float32.tflite")
    stored = load_tflite(folder / "kws_ref_model.tflite")
    tensor = stored.tensors[stored.inputs[0]]
    same = 0
    names = sorted((folder / "samples").glob("*.bin"))[:60]
    for name in names:
        x = np.fromfile(name, np.int8).reshape(1, 49, 10, 1)
        real = int8.real_from_stored(x, tensor)
        same += int(run(hybrid, real)[0].argmax() == run(stored, x)[0].argmax())
    assert len(names) == 60
    assert same >= 57
