"""Accuracy on labelled data: what a change of precision costs in points, not only in decibels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.converters.calibration.data import calibration_batches
from edgekit.converters.calibration.files import read_npz
from edgekit.converters.quantization.fallback import Accuracy
from edgekit.converters.quantization.report import Runner
from edgekit.errors import CalibrationError
from edgekit.graph import Graph

LABELS = "labels"
"""Name of the array of class indices in a file of labelled samples."""


def labelled_accuracy(path: Path, graph: Graph, *, limit: int) -> Accuracy:
    """Return a function that measures top-1 accuracy of the first output.

    Parameters
    ----------
    path : Path
        ``.npz`` with one stacked array for each input, and ``labels``: integers, shape (n,).
    graph : Graph
    limit : int
        Most samples to use: the first ones.

    Raises
    ------
    CalibrationError
        If the file has no labels, or they do not match the inputs.
    """
    arrays = dict(read_npz(path))
    labels = arrays.pop(LABELS, None)
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise CalibrationError(f"{path}: has no array '{LABELS}' of integers, one a sample")
    samples = list(calibration_batches(arrays, graph, limit=min(limit, len(labels))))
    output = graph.outputs[0]

    def accuracy(run: Runner) -> float:
        right = [
            int(np.argmax(run(sample)[output])) == int(label)
            for sample, label in zip(samples, labels, strict=False)
        ]
        return float(np.mean(right))

    return accuracy
