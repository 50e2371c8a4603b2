"""Histograms of stored int8 values: all that the choice of bit widths knows about data.

An int8 activation takes 256 values, so that its histogram holds everything about its distribution:
how much entropy a narrower type loses, and which range of values it should keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, DType
from edgekit.errors import CalibrationError
from edgekit.graph import Graph, Quantization, Tensor
from edgekit.ops import int8
from edgekit.ops.evaluate import evaluate

LEVELS = 256
LOWEST = -128

_STEP_SHARES = np.linspace(0.02, 2.0, 100)
"""Steps that the search for a range tries, as shares of the one that spans all values. More than
one: levels that lie evenly around zero may span more than the values do."""


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How often each stored value occurs.

    Parameters
    ----------
    counts : array of int64, shape (256,)
        ``counts[k]`` of the value ``k - 128``.
    """

    counts: npt.NDArray[np.int64]

    def __add__(self, other: Histogram) -> Histogram:
        """Return the histogram of both."""
        return Histogram(self.counts + other.counts)

    @property
    def total(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    @property
    def entropy_bits(self) -> float:
        """Shannon entropy of the stored values, 0 to 8."""
        return entropy_bits(self.counts)


def entropy_bits(counts: npt.NDArray[np.int64]) -> float:
    """Return the Shannon entropy of a distribution given by counts, in bits; 0 where empty."""
    seen = counts[counts > 0].astype(np.float64)
    shares = seen / seen.sum()
    return float(np.sum(-shares * np.log2(shares)))


def observe_histograms(
    graph: Graph, samples: Iterable[Mapping[str, Array]]
) -> dict[str, Histogram]:
    """Return the histogram of every int8 activation of a graph.

    Parameters
    ----------
    graph : Graph
        Quantized to int8.
    samples : iterable of mapping
        Inputs of one run each.

    Returns
    -------
    dict of tensor name to Histogram

    Raises
    ------
    CalibrationError
        If there is no sample.
    """
    held = list(samples)
    if not held:
        raise CalibrationError("the calibration data holds no sample")
    counts: dict[str, npt.NDArray[np.int64]] = {}

    def count(name: str, array: Array) -> None:
        if graph.tensors[name].dtype is DType.INT8:
            total = counts.setdefault(name, np.zeros(LEVELS, np.int64))
            total += np.bincount(array.astype(np.int64).ravel() - LOWEST, minlength=LEVELS)

    for sample in held:
        evaluate(graph, sample, observe=count)
    return {name: Histogram(total) for name, total in counts.items()}


def clip_range(
    histogram: Histogram, tensor: Tensor, bits: int, mass: float | None = None
) -> Quantization:
    """Return scale and zero point that a narrower form of an int8 activation should have.

    Real zero stays exact. Values outside of the range that is kept are clipped to its ends.

    Parameters
    ----------
    histogram : Histogram
        Of stored values of ``tensor``.
    tensor : Tensor
        int8, one scale for all its elements.
    bits : int
        Of the narrower type: 2 or 4 (8: a tighter range).
    mass : float, optional
        Share of the values, above 0 to 1, that is kept, as many left out below as above. Without
        it: the range with the least squared error over the histogram.

    Raises
    ------
    CalibrationError
        If the histogram is empty.
    """
    if histogram.total == 0:
        raise CalibrationError(f"tensor {tensor.name}: calibration saw no value of it")
    units = _units(int8.quantization_of(tensor))
    levels = 1 << bits
    if mass is None:
        step, zero = _least_error(units, histogram.counts, levels)
    else:
        low, high = _central(units, histogram.counts, mass)
        step = (high - low) / (levels - 1) or 1.0
        zero = round(-low / step)
    scale = float(int8.scale_of(tensor)) * step
    return Quantization.per_tensor(scale, min(zero, levels - 1) - levels // 2)


def narrowed(
    histogram: Histogram, wide: Quantization, narrow: Quantization, bits: int
) -> npt.NDArray[np.int64]:
    """Return how often each value of the narrower type occurs, shape (2**bits,)."""
    step = float(narrow.scale[0]) / float(wide.scale[0])
    levels = 1 << bits
    stored = np.rint(_units(wide) / step) + int(narrow.zero_point[0]) + levels // 2
    index = np.clip(stored, 0, levels - 1).astype(np.int64)
    counts = np.bincount(index, weights=histogram.counts, minlength=levels)
    return np.rint(counts).astype(np.int64)


def _units(quantization: Quantization) -> npt.NDArray[np.float64]:
    """Return the real value of each stored int8 value, in steps of the scale."""
    return np.arange(LOWEST, LOWEST + LEVELS, dtype=np.float64) - int(quantization.zero_point[0])


def _central(
    units: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], mass: float
) -> tuple[float, float]:
    """Return the ends of the range that holds the central mass, and zero."""
    left_out = (1.0 - mass) / 2 * counts.sum()
    below = np.cumsum(counts)
    above = np.cumsum(counts[::-1])[::-1]
    low = units[np.argmax(below > left_out)]
    high = units[len(units) - 1 - np.argmax(above[::-1] > left_out)]
    return min(float(low), 0.0), max(float(high), 0.0)


def _least_error(
    units: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], levels: int
) -> tuple[float, int]:
    """Return the step, in steps of int8, and the level of real zero with the least error."""
    seen = counts > 0
    values, weights = units[seen], counts[seen].astype(np.float64)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return 1.0, levels // 2
    first = levels - 1 if high == 0.0 else 0
    last = 0 if low == 0.0 else levels - 1
    zeros = np.arange(first, last + 1, dtype=np.float64)[:, None, None]
    steps = (_STEP_SHARES * (high - low) / (levels - 1))[None, :, None]
    index = np.clip(np.rint(values / steps) + zeros, 0, levels - 1)
    errors = ((values - (index - zeros) * steps) ** 2) @ weights
    best = np.unravel_index(int(np.argmin(errors)), errors.shape)
    return float(steps[0, best[1], 0]), int(zeros[best[0], 0, 0])
