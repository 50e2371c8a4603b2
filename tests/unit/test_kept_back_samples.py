"""Which calibration samples weights are fitted to, and which tell what is lost by it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.pipeline.narrowing import fitted_samples, kept_back_samples


@given(st.integers(1, 200))
def test_what_is_lost_is_measured_on_other_samples_where_there_are_enough(count: int) -> None:
    samples = [{"x": np.array([index])} for index in range(count)]
    fitted, kept = (
        {int(sample["x"][0]) for sample in some}
        for some in (fitted_samples(samples), kept_back_samples(samples))
    )
    assert fitted
    assert kept
    if count < 4:
        assert kept == fitted == set(range(count))
    else:
        assert not kept & fitted
        assert len(kept) == count // 4
