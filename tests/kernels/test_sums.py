"""Sums and differences of random scales: every set of kernels equals the reference."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.native import has_library
from edgekit.ops import cases, registry
from edgekit.ops.spec import OpCase
from tests.kernels.run_case import run_reference
from tests.kernels.test_native import Kernels, kernels, run_native

pytestmark = pytest.mark.skipif(not has_library(), reason="the native core is not built")
__all__ = ["kernels"]

SCALES = st.one_of(st.floats(1e-4, 10.0), st.sampled_from([0.05, 0.1, 0.2]))
ZERO_POINTS = st.integers(-128, 127)
SHAPES = st.sampled_from([(3, 7), (1, 7), (3, 1), (1,)])


@st.composite
def sums(draw: st.DrawFn) -> OpCase:
    op = draw(st.sampled_from(["add", "sub"]))
    operands = [
        cases.int8_input(name, draw(SHAPES), draw(SCALES), draw(ZERO_POINTS)) for name in "ab"
    ]
    return cases.case(
        op,
        registry()[op].infer,
        operands,
        {"activation": draw(st.sampled_from(["none", "relu", "relu6"]))},
        scale=draw(SCALES),
        zero_point=draw(ZERO_POINTS),
    )


@settings(deadline=None)
@given(case=sums())
def test_kernels_equal_the_reference(kernels: Kernels, case: OpCase) -> None:
    found = run_native(case.id, case, kernels)
    assert found[0].tobytes() == run_reference(case.id, case)[0].tobytes()
