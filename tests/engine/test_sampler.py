"""The native sampler: what each setting keeps, in numbers; the same seed gives the same stream."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import native
from edgekit.errors import EdgekitError
from edgekit.runtime.language.sampler import Sampler, Sampling

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not native.has_library(), reason="libedgekit is not built"),
]

LOGITS = np.log(np.array([0.05, 0.4, 0.02, 0.3, 0.2, 0.03], np.float32))


def draws(sampling: Sampling, count: int, logits: np.ndarray = LOGITS) -> list[int]:
    sampler = Sampler(len(logits), sampling)
    return [sampler.choose(logits) for _ in range(count)]


def plain(**changes: float) -> Sampling:
    """Sampling with every filter off but those given."""
    off = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
    return Sampling(**{**off, "seed": 7, **changes})  # type: ignore[arg-type]


def test_draws_follow_the_probabilities() -> None:
    counts = Counter(draws(plain(), 20000))
    shares = np.array([counts[token] for token in range(6)]) / 20000
    np.testing.assert_allclose(shares, np.exp(LOGITS), atol=0.015)


def test_temperature_flattens_and_sharpens() -> None:
    for temperature in (0.5, 2.0):
        counts = Counter(draws(plain(temperature=temperature), 20000))
        weights = np.exp(LOGITS / temperature)
        shares = np.array([counts[token] for token in range(6)]) / 20000
        np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.015)


def test_temperature_zero_takes_the_most_likely_and_the_lower_of_equals() -> None:
    assert set(draws(plain(temperature=0.0), 10)) == {1}
    assert draws(plain(temperature=0.0), 1, np.array([1, 3, 3, 2], np.float32)) == [1]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"top_k": 1}, {1}),
        ({"top_k": 3}, {1, 3, 4}),
        ({"top_p": 0.39}, {1}),
        ({"top_p": 0.6}, {1, 3}),
        ({"top_p": 0.85}, {1, 3, 4}),
        ({"min_p": 0.6}, {1, 3}),
        ({"min_p": 0.45}, {1, 3, 4}),
        ({"top_k": 4, "min_p": 0.1}, {0, 1, 3, 4}),
        ({"top_k": 2, "top_p": 0.9}, {1, 3}),
    ],
    ids=str,
)
def test_filters_keep_the_likely(changes: dict[str, float], kept: set[int]) -> None:
    assert set(draws(plain(**changes), 3000)) == kept


def test_repetition_penalty_counts_each_recent_token_once() -> None:
    logits = np.array([2.0, 1.9, -1.0], np.float32)
    sampler = Sampler(3, plain(temperature=0.0, repetition_penalty=1.1))
    assert sampler.choose(logits, []) == 0
    assert sampler.choose(logits, [0, 0, 0]) == 1
    assert sampler.choose(logits, [0, 1]) == 0
    negative = np.array([-1.0, -1.05], np.float32)
    assert Sampler(2, plain(temperature=0.0, repetition_penalty=1.1)).choose(negative, [0]) == 1


def test_the_same_seed_gives_the_same_stream() -> None:
    assert draws(plain(seed=3), 200) == draws(plain(seed=3), 200)
    assert draws(plain(seed=3), 200) != draws(plain(seed=4), 200)


@settings(max_examples=50, deadline=None)
@given(
    logits=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40),
    top_k=st.integers(0, 50),
    top_p=st.floats(0.05, 1.0),
    min_p=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**32),
)
def test_choices_are_always_among_the_kept(
    logits: list[float], top_k: int, top_p: float, min_p: float, seed: int
) -> None:
    values = np.array(logits, np.float32)
    sampling = plain(top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)
    token = draws(sampling, 1, values)[0]
    rank = int(np.sum(values > values[token]))
    assert top_k == 0 or rank < top_k
    assert np.exp(float(values[token]) - float(values.max())) >= min_p * 0.999


def test_logits_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(EdgekitError):
        draws(plain(), 1, np.array([1.0, np.nan], np.float32))
