"""What fewer bits leave of an int8 network, and the gates of a recipe held against it."""

from __future__ import annotations

from functools import partial

import numpy as np

from edgekit.converters.quantization.fallback import gives_class_scores
from edgekit.converters.quantization.report import Ratio
from edgekit.dtypes import Array
from edgekit.errors import AccuracyError
from edgekit.graph import Graph, Tensor
from edgekit.ops import int8
from edgekit.ops.evaluate import evaluate
from edgekit.pipeline.job import Job
from edgekit.pipeline.narrowing import kept_back_samples


def measured_against_int8(int8_graph: Graph, graph: Graph, job: Job) -> dict[str, float]:
    """Return how much of the int8 network is left: by labels where there are some.

    The gate of the recipe holds against int8; without labels accuracy is agreement on the classes
    of those calibration samples that weights are not fitted to.

    Returns
    -------
    dict
        ``agreement_with_int8``, and with labels ``int8_accuracy`` and ``mixed_accuracy``; shares.

    Raises
    ------
    AccuracyError
        If more is lost than may be.
    """
    first = graph.outputs[0]
    ratios = {name: Ratio() for name in graph.outputs}
    same = []
    for sample in kept_back_samples(job.batches):
        exact, values = evaluate(int8_graph, sample), evaluate(graph, sample)
        same.append(int(np.argmax(values[first])) == int(np.argmax(exact[first])))
        for name, ratio in ratios.items():
            ratio.update(*(_real(array[name], graph.tensors[name]) for array in (exact, values)))
    found = {"agreement_with_int8": float(np.mean(same))}
    drop = 1 - found["agreement_with_int8"] if gives_class_scores(graph) else None
    if job.accuracy is not None:
        int8_accuracy = job.accuracy(partial(evaluate, int8_graph))
        mixed_accuracy = job.accuracy(partial(evaluate, graph))
        found |= {"int8_accuracy": int8_accuracy, "mixed_accuracy": mixed_accuracy}
        drop = int8_accuracy - mixed_accuracy
    _hold_gate(job, drop, min(ratio.db for ratio in ratios.values()))
    return found


def _hold_gate(job: Job, drop: float | None, ratio_db: float) -> None:
    advice = "a larger --mixed-lambda keeps more of them at 8 bits"
    most, least = job.recipe.max_accuracy_drop, job.recipe.min_sqnr_db
    if most is not None and drop is not None and drop > most:
        lost = (
            f"give another class than int8 for {100 * drop:.2f} % of the calibration data"
            if job.accuracy is None
            else f"lose {100 * drop:.2f} points of accuracy against int8"
        )
        text = f"fewer bits {lost}, {100 * most:g} are allowed; {advice}"
        raise AccuracyError(text, measured=drop, limit=most)
    if least is not None and ratio_db < least:
        text = f"fewer bits leave {ratio_db:.1f} dB against int8, {least:g} are asked for; {advice}"
        raise AccuracyError(text, measured=ratio_db, limit=least)


def _real(array: Array, tensor: Tensor) -> Array:
    """Return values on one scale with those of other widths."""
    is_plain = tensor.quantization is None or tensor.dtype.is_float
    return array if is_plain else int8.real_from_stored(array, tensor)
