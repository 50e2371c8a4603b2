"""Elementary functions in fixed point, as gemmlowp's ``fixedpoint/fixedpoint.h`` computes them.

``Qm.n`` is an int32 with ``m`` integer bits and ``n = 31 - m`` fractional bits. All arrays are
int64 that hold int32 values.
"""

from __future__ import annotations

import numpy as np

from edgekit.ops.int8 import IntArray, high_mul, rounding_shift_right

_ONE = 2**31 - 1
"""The largest Q0.31, which stands for one."""


def exp_on_negative_values(x: IntArray, integer_bits: int) -> IntArray:
    """Return ``exp(x)`` as Q0.31 for ``x <= 0`` as Q(integer_bits).

    The argument is split into a multiple of 1/4 and a remainder in [-1/4, 0); the remainder goes
    through a polynomial, each bit of the multiple through a constant factor.
    """
    fraction_bits = 31 - integer_bits
    quarter = np.int64(1) << (fraction_bits - 2)
    remainder = (x & (quarter - 1)) - quarter
    result = _exp_on_minus_quarter_to_zero(remainder << integer_bits)
    rest = remainder - x
    for exponent in range(-2, integer_bits):
        factor = round(np.exp(-(2.0**exponent)) * 2**31)
        bit = np.int64(1) << (fraction_bits + exponent)
        result = np.where(rest & bit, high_mul(result, factor), result)
    if integer_bits > 5:
        result = np.where(x < -(np.int64(1) << (fraction_bits + 5)), 0, result)
    return np.where(x == 0, _ONE, result)


def _exp_on_minus_quarter_to_zero(a: IntArray) -> IntArray:
    """Return ``exp(a)`` as Q0.31 for Q0.31 in [-1/4, 0): Taylor series about -1/8."""
    at_minus_eighth = 1895147668  # exp(-1/8)
    third = 715827883  # 1/3
    x = a + (1 << 28)
    x2 = high_mul(x, x)
    x3 = high_mul(x2, x)
    x4_over_4 = rounding_shift_right(high_mul(x2, x2), 2)
    tail = rounding_shift_right(high_mul(x4_over_4 + x3, third) + x2, 1)
    return at_minus_eighth + high_mul(x + tail, at_minus_eighth)


def one_over_one_plus_x(a: IntArray) -> IntArray:
    """Return ``1 / (1 + a)`` as Q0.31 for Q0.31 in [0, 1): three Newton-Raphson steps."""
    half_denominator = (a + _ONE + 1) >> 1
    x = 1515870810 + high_mul(half_denominator, -1010580540)  # 48/17 - 32/17 d, as Q2.29
    for _ in range(3):
        one_minus = (1 << 29) - high_mul(half_denominator, x)
        x = x + _saturated(high_mul(x, one_minus) << 2)
    return _saturated(x << 1)


def logistic(x: IntArray, integer_bits: int) -> IntArray:
    """Return ``1 / (1 + exp(-x))`` as Q0.31 for Q(integer_bits)."""
    positive = one_over_one_plus_x(exp_on_negative_values(-np.abs(x), integer_bits))
    result = np.where(x >= 0, positive, _ONE - positive)
    return np.where(x == 0, 1 << 30, result)


def tanh(x: IntArray, integer_bits: int) -> IntArray:
    """Return ``tanh(x)`` as Q0.31 for Q(integer_bits)."""
    # exp(-2 |x|): doubling costs one integer bit more, not a shift.
    power = exp_on_negative_values(-np.abs(x), integer_bits + 1)
    positive = _one_minus_x_over_one_plus_x(power)
    return np.where(x == 0, 0, np.where(x > 0, positive, -positive))


def _one_minus_x_over_one_plus_x(a: IntArray) -> IntArray:
    """Return ``(1 - a) / (1 + a)`` as Q0.31 for Q0.31 in [0, 1]."""
    half_denominator = (a + _ONE + 1) >> 1
    x = 1515870810 + high_mul(half_denominator, -1010580540)
    for _ in range(3):
        one_minus = (1 << 29) - high_mul(half_denominator, x)
        x = x + _saturated(high_mul(x, one_minus) << 2)
    return _saturated((x - (1 << 29)) << 2)


def _saturated(x: IntArray) -> IntArray:
    return np.clip(x, -(2**31), _ONE)
