"""What the exported file achieves, in float and after 8 bit quantization by onnxruntime."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime import quantization
from training.acoustics import Clips
from training.speech_corpus import LABELS

SNR_EDGES_DB = (5.0, 10.0, 20.0, 30.0, 40.0)


class _CalibrationReader(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, features: npt.NDArray[np.float32]) -> None:
        self._items: Iterator[npt.NDArray[np.float32]] = iter(features)

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        item = next(self._items, None)
        return None if item is None else {"features": item[None]}


def _predict(model: Path, features: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    (scores,) = session.run(["scores"], {"features": features})
    return np.asarray(scores.argmax(1), dtype=np.int64)


def _quantize(model: Path, calibration: npt.NDArray[np.float32], target: Path) -> None:
    quantization.quantize_static(
        str(model),
        str(target),
        _CalibrationReader(calibration),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
    )


def _accuracy(found: npt.NDArray[np.int64], labels: npt.NDArray[np.integer[Any]]) -> float:
    return round(float(np.mean(found == labels)), 4)


def _accuracy_by_snr(found: npt.NDArray[np.int64], test: Clips) -> dict[str, float]:
    rows = {"no noise": np.isinf(test.snr_db), "silence": np.isnan(test.snr_db)}
    for low, high in itertools.pairwise(SNR_EDGES_DB):
        rows[f"{low:.0f}-{high:.0f} dB"] = (test.snr_db >= low) & (test.snr_db < high)
    return {
        name: _accuracy(found[row], test.labels[row]) for name, row in rows.items() if row.any()
    }


def evaluate(folder: Path, test: Clips) -> dict[str, Any]:
    """Accuracies of the written files.

    Parameters
    ----------
    folder : Path
        Holds ``keyword_spotter.onnx``, ``keyword_calibration.npz`` and ``keyword_test.npz``.
    test : Clips
        The whole held-back set, of which the file holds a part.

    Returns
    -------
    dict
        ``test_accuracy`` and ``confusion[truth][found]`` (float, whole set), accuracy by noise,
        and for the samples that ship: float accuracy, int8 accuracy, and their agreement.
    """
    model = folder / "keyword_spotter.onnx"
    with np.load(folder / "keyword_test.npz") as data:
        features, labels = data["features"], data["labels"]
    with np.load(folder / "keyword_calibration.npz") as data:
        calibration = data["features"]
    with tempfile.TemporaryDirectory() as scratch:
        quantized = Path(scratch) / "int8.onnx"
        _quantize(model, calibration, quantized)
        whole_int8 = _predict(quantized, test.features)
        shipped_int8 = _predict(quantized, features)
    whole, shipped = _predict(model, test.features), _predict(model, features)
    confusion = np.zeros((len(LABELS), len(LABELS)), dtype=int)
    np.add.at(confusion, (test.labels, whole), 1)
    return {
        "test_samples": len(test.labels),
        "test_accuracy": _accuracy(whole, test.labels),
        "test_accuracy_int8": _accuracy(whole_int8, test.labels),
        "test_accuracy_by_noise": _accuracy_by_snr(whole, test),
        "shipped_samples": len(labels),
        "shipped_accuracy": _accuracy(shipped, labels),
        "shipped_accuracy_int8": _accuracy(shipped_int8, labels),
        "int8_agrees_with_float": round(float(np.mean(shipped_int8 == shipped)), 4),
        "labels": list(LABELS),
        "confusion": confusion.tolist(),
    }


def describe(report: dict[str, Any]) -> str:
    """Text of a report, with the confusion as a table: a row for each truth.

    Parameters
    ----------
    report : dict
        From `evaluate`.

    Returns
    -------
    str
    """
    lines = [
        f"held-back test, {report['test_samples']} samples: float accuracy "
        f"{report['test_accuracy']:.1%}, int8 {report['test_accuracy_int8']:.1%}",
        f"shipped test, {report['shipped_samples']} samples: float accuracy "
        f"{report['shipped_accuracy']:.1%}, int8 {report['shipped_accuracy_int8']:.1%}, "
        f"same answer {report['int8_agrees_with_float']:.1%}",
        *(f"  {name}: {value:.1%}" for name, value in report["test_accuracy_by_noise"].items()),
        " " * 8 + "".join(f"{name[:7]:>8}" for name in report["labels"]),
    ]
    for name, row in zip(report["labels"], report["confusion"], strict=True):
        lines.append(f"{name[:7]:>8}" + "".join(f"{count:8d}" for count in row))
    return "\n".join(lines)
