"""Observers: what they promise about ranges, whatever the data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.converters.calibration.observers import (
    LEVELS,
    OBSERVERS,
    Histogram,
    PercentileObserver,
    Range,
    observer_of,
)
from edgekit.errors import CalibrationError, UsageError

values = hnp.arrays(
    np.float64,
    st.integers(1, 200),
    elements=st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda x: float(np.float32(x))),
)


def chosen(name: str, *arrays: npt.NDArray[np.floating]) -> Range:
    observer = observer_of(name)
    for array in arrays:
        observer.update(array)
    return observer.range()


def quantization_error(data: npt.NDArray[np.float64], limits: Range) -> float:
    """Mean squared error of rounding ``data`` to 256 levels of the range, zero included."""
    limits = limits.including_zero()
    step = (limits.maximum - limits.minimum) / (LEVELS - 1)
    zero_point = np.rint(-limits.minimum / step)
    stored = np.clip(np.rint(data / step) + zero_point, 0, LEVELS - 1)
    return float(np.mean((step * (stored - zero_point) - data) ** 2))


@pytest.mark.parametrize("name", OBSERVERS)
@given(data=values)
@settings(max_examples=12, deadline=None)
def test_range_never_exceeds_what_was_seen(name: str, data: npt.NDArray[np.float64]) -> None:
    limits = chosen(name, data)
    assert min(0.0, data.min()) <= limits.minimum <= limits.maximum <= max(0.0, data.max())


@pytest.mark.parametrize("name", OBSERVERS)
@given(data=values, cut=st.integers(0, 200), seed=st.integers(0, 9))
@settings(max_examples=12, deadline=None)
def test_range_depends_neither_on_order_nor_on_batches(
    name: str, data: npt.NDArray[np.float64], cut: int, seed: int
) -> None:
    shuffled = np.random.default_rng(seed).permutation(data)
    assert chosen(name, data) == chosen(name, shuffled[:cut], shuffled[cut:])


@given(data=values, cut=st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_histogram_counts_every_value_in_its_bin(data: npt.NDArray[np.float64], cut: int) -> None:
    histogram = Histogram()
    histogram.update(data[:cut])
    histogram.update(data[cut:])
    expected, _ = np.histogram(data, histogram.edges())
    assert histogram.counts.sum() == data.size
    # NumPy counts a value at the last edge in the last bin; ours lies below its upper edge.
    assert np.array_equal(histogram.counts, expected)
    assert histogram.zeros == np.count_nonzero(data == 0)


def test_min_max_keeps_an_outlier() -> None:
    assert chosen("min-max", np.array([-1.0, 0.5]), np.array([1000.0])) == Range(-1.0, 1000.0)


@pytest.mark.parametrize("name", ["percentile", "mse"])
def test_rare_outliers_are_clipped(name: str) -> None:
    data = np.random.default_rng(0).standard_normal(200_000)
    data[0] = 40.0
    assert chosen(name, data).maximum < 35.0


def test_percentile_leaves_its_share_outside() -> None:
    data = np.random.default_rng(1).standard_normal(100_000)
    observer = PercentileObserver(99.0)
    observer.update(data)
    limits = observer.range()
    assert np.mean(data > limits.maximum) == pytest.approx(0.01, abs=0.001)
    assert np.mean(data < limits.minimum) == pytest.approx(0.01, abs=0.001)


@pytest.mark.parametrize("shape", ["normal", "laplace", "relu", "one outlier"])
def test_mean_squared_error_is_no_worse_than_min_max(shape: str) -> None:
    random = np.random.default_rng(2)
    data = {
        "normal": random.standard_normal(50_000),
        "laplace": random.laplace(size=50_000),
        "relu": np.maximum(random.standard_normal(50_000), 0.0),
        "one outlier": np.append(random.standard_normal(50_000), 60.0),
    }[shape]
    best = quantization_error(data, chosen("mse", data))
    assert best <= 1.02 * quantization_error(data, chosen("min-max", data))


def test_entropy_clips_a_long_thin_tail() -> None:
    random = np.random.default_rng(3)
    data = np.concatenate([np.abs(random.standard_normal(100_000)), random.uniform(5, 50, 50)])
    assert chosen("entropy", data).maximum < 50.0


@pytest.mark.parametrize("name", OBSERVERS)
def test_constant_zero_gives_an_empty_range(name: str) -> None:
    assert chosen(name, np.zeros(5)) == Range(0.0, 0.0)


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    with pytest.raises(CalibrationError, match="not finite"):
        chosen(name, np.array([0.0, bad]))


@pytest.mark.parametrize("name", OBSERVERS)
def test_nothing_observed_is_an_error(name: str) -> None:
    with pytest.raises(CalibrationError, match="no values"):
        chosen(name, np.zeros(0))


def test_unknown_observer_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="min-max, percentile, entropy, mse"):
        observer_of("kl")
