"""Packed types: what lies in memory is what the array holds, in as few bytes as were promised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.dtypes import DType, from_device_bytes, to_device_bytes
from edgekit.ops import int8

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@pytest.mark.parametrize("dtype", [DType.INT2, DType.INT4, DType.INT8, DType.FLOAT32])
@given(shape=SHAPES, seed=st.integers(0, 99))
def test_bytes_of_the_device_give_the_array_back(
    dtype: DType, shape: tuple[int, ...], seed: int
) -> None:
    low, high = (-9, 9) if dtype.is_float else int8.integer_range(dtype)
    data = np.random.default_rng(seed).integers(low, high + 1, shape).astype(dtype.numpy)
    stored = to_device_bytes(data, dtype)
    assert stored.size == dtype.size_bytes(shape)
    np.testing.assert_array_equal(from_device_bytes(stored, dtype, shape), data)


def test_the_first_element_has_the_lowest_bits_and_rows_begin_with_a_byte() -> None:
    nibbles = np.array([[1, -2, 3], [4, 5, -8]], np.int8)
    assert to_device_bytes(nibbles, DType.INT4).tolist() == [0xE1, 0x03, 0x54, 0x08]
    pairs = np.array([[1, -2, 0, -1, 1]], np.int8)
    assert to_device_bytes(pairs, DType.INT2).tolist() == [0b11001001, 0b01]
