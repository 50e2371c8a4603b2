"""Fixed-point arithmetic against exact rational arithmetic and against the real functions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.dtypes import DType
from edgekit.errors import ModelError
from edgekit.graph import Quantization, Tensor
from edgekit.ops import fixed_point, int8
from edgekit.ops.int16_tables import sigmoid_int16, tanh_int16

INT32 = st.integers(-(2**31), 2**31 - 1)
FACTORS = st.floats(2.0**-30, 2.0**20, allow_nan=False)
ALL_INT16 = np.arange(-32768, 32768, dtype=np.int64)


def wide(*values: int) -> int8.IntArray:
    return np.array(values, np.int64)


def nearest(value: Fraction) -> int:
    """Round to nearest, halves away from zero."""
    return int(math.copysign(math.floor(abs(value) + Fraction(1, 2)), value))


@given(FACTORS)
def test_multiplier_is_normalized_and_as_close_as_31_bits_allow(real: float) -> None:
    multiplier, shift = int8.quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert abs(Fraction(multiplier) * Fraction(2) ** (shift - 31) / Fraction(real) - 1) <= 2.0**-30


@pytest.mark.parametrize(("real", "shift"), [(1.0, 1), (0.5, 0), (0.125, -2)])
def test_multiplier_of_powers_of_two(real: float, shift: int) -> None:
    assert int8.quantize_multiplier(real) == (2**30, shift)


def test_factor_too_small_for_the_shift_becomes_zero() -> None:
    assert int8.quantize_multiplier(2.0**-40) == int8.quantize_multiplier(0.0) == (0, 0)


@pytest.mark.parametrize("real", [math.inf, math.nan])
def test_factor_that_is_not_finite_is_refused(real: float) -> None:
    with pytest.raises(ModelError, match="scales"):
        int8.quantize_multiplier(real)


@given(INT32, INT32)
def test_high_multiplication_rounds_to_nearest(a: int, b: int) -> None:
    exact = Fraction(a * b, 2**31)
    result = int(int8.high_mul(wide(a), wide(b))[0])
    assert abs(result - min(exact, Fraction(2**31 - 1))) <= Fraction(1, 2)


def test_high_multiplication_saturates_its_only_overflow() -> None:
    assert int8.high_mul(wide(-(2**31)), wide(-(2**31)))[0] == 2**31 - 1


@given(INT32, st.integers(0, 31))
def test_shift_rounds_halves_away_from_zero(x: int, exponent: int) -> None:
    assert int8.rounding_shift_right(wide(x), exponent)[0] == nearest(Fraction(x, 2**exponent))


@given(st.integers(-(2**20), 2**20), st.floats(2.0**-20, 8.0))
def test_rescaling_is_within_one_of_the_product(x: int, real: float) -> None:
    rescaled = int8.multiply(wide(x), int8.quantize_multipliers(real))[0]
    assert abs(rescaled - x * real) <= 1.0 + abs(x * real) * 2.0**-28


@given(st.integers(1, 2500), st.integers(0, 2**32 - 1))
def test_matrix_product_is_exact(depth: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    a = generator.choice([-255, -1, 0, 255], (3, depth)).astype(np.int32)
    b = generator.integers(-128, 128, (depth, 4)).astype(np.int8)
    expected = a.astype(np.int64) @ b.astype(np.int64)
    np.testing.assert_array_equal(int8.exact_matmul(a, b), expected)


@given(st.floats(2.0**-20, 1000, width=32), st.integers(-128, 127), st.integers(-128, 127))
def test_quantizing_a_real_value_gives_the_stored_one(scale: float, zero: int, stored: int) -> None:
    tensor = Tensor("x", (1,), DType.INT8, quantization=Quantization.per_tensor(scale, zero))
    real = int8.real_from_stored(np.array([stored], np.int8), tensor)
    assert int8.stored_from_real(real, tensor)[0] == stored


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("none", (-128, 127)), ("relu", (-10, 127)), ("relu6", (-10, 50)), ("relu_n1_1", (-20, 0))],
)
def test_fused_activation_clamps_stored_values(activation: str, expected: tuple[int, int]) -> None:
    tensor = Tensor("y", (1,), DType.INT8, quantization=Quantization.per_tensor(0.1, -10))
    assert int8.activation_range(activation, tensor) == expected


def test_unknown_fused_activation_is_refused() -> None:
    tensor = Tensor("y", (1,), DType.INT8, quantization=Quantization.per_tensor(0.1, -10))
    with pytest.raises(ModelError, match="sinus"):
        int8.activation_range("sinus", tensor)


@pytest.mark.parametrize("integer_bits", [3, 4, 5, 6])
def test_exponential_is_close(integer_bits: int) -> None:
    stored = np.linspace(-(2**31), 0, 10_001).astype(np.int64)
    expected = np.exp(stored * 2.0 ** (integer_bits - 31))
    result = fixed_point.exp_on_negative_values(stored, integer_bits) * 2.0**-31
    np.testing.assert_allclose(result, expected, atol=2e-7)


def test_reciprocal_is_close() -> None:
    stored = np.linspace(0, 2**31 - 1, 10_001).astype(np.int64)
    expected = 1.0 / (1.0 + stored * 2.0**-31)
    result = fixed_point.one_over_one_plus_x(stored) * 2.0**-31
    np.testing.assert_allclose(result, expected, atol=1e-7)


def test_logistic_and_tanh_are_close() -> None:
    stored = np.linspace(-(2**31) + 1, 2**31 - 1, 10_001).astype(np.int64)
    real = stored * 2.0**-27
    logistic = fixed_point.logistic(stored, 4) * 2.0**-31
    np.testing.assert_allclose(logistic, 1.0 / (1.0 + np.exp(-real)), atol=2e-7)
    np.testing.assert_allclose(fixed_point.tanh(stored, 4) * 2.0**-31, np.tanh(real), atol=4e-7)


def test_table_of_sigmoid_is_close_and_never_falls() -> None:
    values = sigmoid_int16(ALL_INT16)
    expected = 1.0 / (1.0 + np.exp(-ALL_INT16 * 2.0**-12))
    np.testing.assert_allclose(values * 2.0**-15, expected, atol=1.5e-4)
    assert (np.diff(values) >= 0).all()


@pytest.mark.parametrize("power", [-15, -12, -11, -9])
def test_table_of_tanh_is_close_and_never_falls(power: int) -> None:
    values = tanh_int16(ALL_INT16, power)
    expected = np.tanh(ALL_INT16 * 2.0**power)
    np.testing.assert_allclose(values * 2.0**-15, expected, atol=3e-4)
    assert (np.diff(values) >= 0).all()
