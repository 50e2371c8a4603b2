"""Observers: what range of real values an activation needs, from the values seen in calibration.

Every observer has ``update(array)`` and ``range()``. All but :class:`MinMaxObserver` collect a
histogram whose bins are aligned to zero and whose width is a power of two: widening merges pairs
of bins exactly, so that the result depends neither on the order of the samples nor on how they
were batched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array
from edgekit.errors import CalibrationError, UsageError

ObserverName = Literal["min-max", "percentile", "entropy", "mse"]
OBSERVERS: tuple[ObserverName, ...] = ("min-max", "percentile", "entropy", "mse")

LEVELS = 256
"""Stored values of an int8 activation."""

_MOST_BINS = 8192
"""Bins of a histogram: 32 for each level at full range, so that a clipped range is still fine."""


@dataclass(frozen=True, slots=True)
class Range:
    """Real values that a tensor must represent, both ends inclusive.

    Parameters
    ----------
    minimum, maximum : float
        Finite, ``minimum <= maximum``.

    Raises
    ------
    CalibrationError
        If an end is not finite or the ends are swapped.
    """

    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.minimum) and math.isfinite(self.maximum)):
            raise CalibrationError(f"range {self.minimum} to {self.maximum} is not finite")
        if self.minimum > self.maximum:
            raise CalibrationError(f"range {self.minimum} to {self.maximum} is empty")

    def union(self, other: Range) -> Range:
        """Return the smallest range that holds both."""
        return Range(min(self.minimum, other.minimum), max(self.maximum, other.maximum))

    def including_zero(self) -> Range:
        """Return the range widened to hold zero, as affine quantization requires."""
        return Range(min(self.minimum, 0.0), max(self.maximum, 0.0))


class Observer(Protocol):
    """What calibration needs of an observer."""

    def update(self, array: Array) -> None:
        """Take the values of one sample into account (any shape, floating point)."""

    def range(self) -> Range:
        """Return the range chosen for what was seen.

        Raises
        ------
        CalibrationError
            If nothing was seen.
        """


class MinMaxObserver:
    """The smallest and the largest value seen: nothing is clipped, outliers set the scale."""

    def __init__(self) -> None:
        self._range: Range | None = None

    def update(self, array: Array) -> None:
        """Take the values of one sample into account (any shape, floating point)."""
        values = _finite_values(array)
        if values.size == 0:
            return
        seen = Range(float(values.min()), float(values.max()))
        self._range = seen if self._range is None else self._range.union(seen)

    def range(self) -> Range:
        """Return the extremes seen (CalibrationError where nothing was seen)."""
        if self._range is None:
            raise CalibrationError("no values were observed")
        return self._range


class Histogram:
    """Counts of values in bins ``[i * width, (i + 1) * width)``, ``width`` a power of two.

    Attributes
    ----------
    counts : array of int64, shape (B,)
        ``B`` is at most 8,192.
    zeros : int
        Values that are exactly zero (they are in ``counts`` as well): quantization represents
        them without error.
    """

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.zeros = 0
        self.extremes = MinMaxObserver()
        self._exponent = 0
        self._first = 0

    def update(self, array: Array) -> None:
        """Count the values of ``array``."""
        values = _finite_values(array)
        if values.size == 0:
            return
        self.extremes.update(values)
        self.zeros += int(values.size - np.count_nonzero(values))
        seen = self.extremes.range()
        exponent = _width_exponent(seen)
        if self.counts.size:
            self._widen_to(max(exponent, self._exponent))
        else:
            self._exponent = exponent
        width = 2.0**self._exponent
        first, last = math.floor(seen.minimum / width), math.floor(seen.maximum / width)
        # Dividing by a power of two is exact, in float32 too while the quotient is representable.
        wide = values if -100 < self._exponent < 100 else values.astype(np.float64)
        indices = np.floor(wide / wide.dtype.type(width)).astype(np.int64)
        indices -= first
        counts = np.bincount(indices, minlength=last - first + 1)
        if self.counts.size:
            at = self._first - first
            counts[at : at + self.counts.size] += self.counts
        self.counts, self._first = counts, first

    def _widen_to(self, exponent: int) -> None:
        steps = exponent - self._exponent
        if steps == 0:
            return
        indices = (np.arange(self.counts.size) + self._first) >> min(steps, 62)
        self._first = int(indices[0])
        merged = np.zeros(int(indices[-1]) - self._first + 1, np.int64)
        np.add.at(merged, indices - self._first, self.counts)
        self.counts, self._exponent = merged, exponent

    def nonzero_counts(self) -> npt.NDArray[np.int64]:
        """Return the counts, shape (B,), without the values that are exactly zero."""
        counts = self.counts.copy()
        if self.zeros:
            counts[-self._first] -= self.zeros
        return counts

    def edges(self) -> npt.NDArray[np.float64]:
        """Return the bins' edges, shape (B + 1,)."""
        return np.ldexp(np.arange(self.counts.size + 1) + self._first, self._exponent).astype(
            np.float64
        )

    def centers(self) -> npt.NDArray[np.float64]:
        """Return the bins' centers, shape (B,), none outside of what was seen."""
        edges, seen = self.edges(), self.extremes.range()
        return np.clip((edges[:-1] + edges[1:]) / 2, seen.minimum, seen.maximum)


class PercentileObserver:
    """Clips the same small share of the values at both ends.

    Parameters
    ----------
    percentile : float
        Share of the values that stay below the upper end, in percent, above 50; the same share
        stays above the lower end.

    References
    ----------
    McKinstry et al., "Discovering Low-Precision Networks Close to Full-Precision Networks for
    Efficient Inference", arXiv:1809.04191, section 3.1 (99.99 %).
    """

    def __init__(self, percentile: float = 99.99) -> None:
        if not 50.0 < percentile <= 100.0:
            raise UsageError(f"percentile {percentile:g} is not above 50 and at most 100")
        self.percentile = percentile
        self._histogram = Histogram()

    def update(self, array: Array) -> None:
        """Take the values of one sample into account (any shape, floating point)."""
        self._histogram.update(array)

    def range(self) -> Range:
        """Return the range between the percentiles (CalibrationError where nothing was seen)."""
        seen = self._histogram.extremes.range()
        below = np.cumsum(self._histogram.counts) / self._histogram.counts.sum()
        share = self.percentile / 100.0
        edges = self._histogram.edges()
        upper = edges[int(np.searchsorted(below, share)) + 1] if share < 1.0 else seen.maximum
        lower = edges[int(np.searchsorted(below, 1.0 - share, side="right"))]
        return Range(max(float(lower), seen.minimum), min(float(upper), seen.maximum))


class MeanSquaredErrorObserver:
    """The range with the smallest expected squared error, rounding and clipping together.

    A range ``[l, u]`` has the step ``d = (u - l) / 255``. What lies inside is rounded, with the
    mean squared error ``d**2 / 12`` (exact zeros are represented without error); what lies
    outside is clipped to the nearer end. Both ends are searched on a grid.

    References
    ----------
    Banner et al., "Post training 4-bit quantization of convolutional networks for
    rapid-deployment", NeurIPS 2019, section 3 (the error as rounding plus clipping); Nagel et al.,
    "A White Paper on Neural Network Quantization", arXiv:2106.08295, section 3.1 (range by mean
    squared error).
    """

    _GRID = 101

    def __init__(self) -> None:
        self._histogram = Histogram()

    def update(self, array: Array) -> None:
        """Take the values of one sample into account (any shape, floating point)."""
        self._histogram.update(array)

    def range(self) -> Range:
        """Return the best range of the grid (CalibrationError where nothing was seen)."""
        seen = self._histogram.extremes.range().including_zero()
        lowers = seen.minimum * np.linspace(0.02, 1.0, self._GRID)
        uppers = seen.maximum * np.linspace(0.02, 1.0, self._GRID)
        centers, counts = self._histogram.centers(), self._histogram.counts
        below = np.array([self._clipped(counts, low - centers) for low in lowers])
        above = np.array([self._clipped(counts, centers - high) for high in uppers])
        step = (uppers[None, :] - lowers[:, None]) / (LEVELS - 1)
        rounded = float(counts.sum() - self._histogram.zeros)
        # Clipped values are counted as rounded too: they land on an end that is itself rounded.
        error = step**2 / 12 * rounded + below[:, None] + above[None, :]
        row, column = np.unravel_index(int(np.argmin(error)), error.shape)
        return Range(float(lowers[row]), float(uppers[column]))

    @staticmethod
    def _clipped(counts: npt.NDArray[np.int64], excess: npt.NDArray[np.float64]) -> float:
        return float(np.sum(counts * np.maximum(excess, 0.0) ** 2))


class EntropyObserver:
    """The range whose quantized distribution diverges least from the true one.

    Both ends shrink by the same factor; for each factor the Kullback-Leibler divergence between
    the clipped distribution and its 256-level version is computed. Exact zeros are left out: they
    are represented as they are, however many there are.

    References
    ----------
    Migacz, "8-bit Inference with TensorRT", GPU Technology Conference 2017, session S7310, slides
    on entropy calibration (there for symmetric ranges).
    """

    _FACTORS = 100

    def __init__(self) -> None:
        self._histogram = Histogram()

    def update(self, array: Array) -> None:
        """Take the values of one sample into account (any shape, floating point)."""
        self._histogram.update(array)

    def range(self) -> Range:
        """Return the best range of the search (CalibrationError where nothing was seen)."""
        seen = self._histogram.extremes.range().including_zero()
        centers, counts = self._histogram.centers(), self._histogram.nonzero_counts()
        best, best_divergence = seen, math.inf
        for factor in np.linspace(1.0, 0.05, self._FACTORS):
            candidate = Range(seen.minimum * float(factor), seen.maximum * float(factor))
            divergence = _divergence(candidate, centers, counts)
            if divergence < best_divergence:
                best, best_divergence = candidate, divergence
        return best


def observer_of(name: str) -> Observer:
    """Return a fresh observer.

    Parameters
    ----------
    name : {'min-max', 'percentile', 'entropy', 'mse'}

    Raises
    ------
    UsageError
        If there is no such observer.
    """
    match name:
        case "min-max":
            return MinMaxObserver()
        case "percentile":
            return PercentileObserver()
        case "entropy":
            return EntropyObserver()
        case "mse":
            return MeanSquaredErrorObserver()
    raise UsageError(f"observer '{name}' is unknown; there are: {', '.join(OBSERVERS)}")


def _finite_values(array: Array) -> npt.NDArray[np.floating]:
    """Return the elements as float32 where they are, else as float64."""
    values: npt.NDArray[np.floating]
    if array.dtype == np.float32:
        values = np.asarray(array, np.float32).ravel()
    else:
        values = np.asarray(array, np.float64).ravel()
    if not np.isfinite(values).all():
        raise CalibrationError("a value is not finite (NaN or infinite)")
    return values


def _width_exponent(seen: Range) -> int:
    """Return the smallest ``e`` for which bins of width ``2**e`` cover ``seen`` and zero."""
    wide = seen.including_zero()
    magnitude = max(-wide.minimum, wide.maximum)
    if magnitude < 2.0**-900:
        return -900
    exponent = math.frexp(magnitude / _MOST_BINS)[1] - 1
    while True:
        width = 2.0**exponent
        bins = math.floor(wide.maximum / width) - math.floor(wide.minimum / width) + 1
        if bins <= _MOST_BINS:
            return exponent
        exponent += 1


def _divergence(
    candidate: Range, centers: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]
) -> float:
    """Return the divergence of the quantized from the true distribution, in nats."""
    span = candidate.maximum - candidate.minimum
    if span == 0.0:
        return math.inf
    inside = (centers >= candidate.minimum) & (centers <= candidate.maximum)
    if not counts[inside].any():
        return math.inf
    reference = counts[inside].astype(np.float64)
    bins = reference.copy()
    bins[0] += counts[centers < candidate.minimum].sum()
    bins[-1] += counts[centers > candidate.maximum].sum()
    step = span / (LEVELS - 1)
    level = np.rint((centers[inside] - candidate.minimum) / step).astype(np.int64)
    # A level spreads its mass evenly over those of its bins that are not empty.
    occupied = np.bincount(level, weights=reference > 0, minlength=LEVELS)
    mass = np.bincount(level, weights=reference, minlength=LEVELS)
    quantized = np.where(reference > 0, mass[level] / np.maximum(occupied[level], 1), 0.0)
    return _kullback_leibler(bins, quantized)


def _kullback_leibler(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> float:
    """Return the divergence of ``q`` from ``p`` in nats; a bin that ``q`` misses counts fully."""
    p, q = p / p.sum(), q / q.sum()
    floor = 1e-12
    present = p > 0
    return float(np.sum(p[present] * np.log(p[present] / np.maximum(q[present], floor))))
