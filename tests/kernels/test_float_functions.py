"""Elementary functions of the float kernels: near the true value, and right at the edges.

Every function takes a whole range of arguments at once, through the kernel that applies it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.native import has_library
from edgekit.runtime.lowering.call import KernelCall
from edgekit.runtime.native_kernels import bind

pytestmark = pytest.mark.skipif(not has_library(), reason="the native core is not built")

Floats = npt.NDArray[np.float32]
Function = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

EDGES = (0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.4e38, -3.4e38, 88.7, 88.8, -87.4, -103.9)
UNITS_IN_THE_LAST_PLACE = 6


def sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))


FUNCTIONS: dict[str, tuple[Function, float, float]] = {
    "exp": (np.exp, -87, 88),
    "log": (np.log, 1e-6, 1e6),
    "sqrt": (np.sqrt, 0, 1e6),
    "tanh": (np.tanh, -20, 20),
    "erf": (np.vectorize(math.erf), -5, 5),
    "sigmoid": (sigmoid, -80, 80),
    "floor": (np.floor, -1e7, 1e7),
}


def computed(name: str, x: Floats) -> Floats:
    y = np.empty_like(x)
    places = {"x": x.ctypes.data, "y": y.ctypes.data}
    fields = {"elements": x.size, "first": 0.0, "second": 0.0}
    bind(
        KernelCall(f"ek_{name}_f32", "ek_unary_f32_params", fields, ("x", "y")), places.__getitem__
    )()
    return y


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_right_to_a_few_units_in_the_last_place(name: str) -> None:
    function, low, high = FUNCTIONS[name]
    x = np.linspace(low, high, 100_001).astype(np.float32)
    expected = function(x.astype(np.float64))
    spacing = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    error = np.abs(computed(name, x) - expected) / spacing
    assert error.max() <= UNITS_IN_THE_LAST_PLACE


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_right_at_the_edges(name: str) -> None:
    function, _, _ = FUNCTIONS[name]
    x = np.array(EDGES, np.float32)
    with np.errstate(all="ignore"):
        expected = function(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(computed(name, x), expected, rtol=1e-6, atol=1e-44)


def test_powers_are_those_of_c() -> None:
    numbers = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, np.inf, np.nan, 1e8)
    base, exponent = (a.ravel().astype(np.float32) for a in np.meshgrid(numbers, numbers))
    y = np.empty_like(base)
    places = {"a": base.ctypes.data, "b": exponent.ctypes.data, "y": y.ctypes.data}
    dims = {"dims": (1, 1, 1, 1, 1, base.size)}
    strides = dict.fromkeys(("first_strides", "second_strides"), (0, 0, 0, 0, 0, 1))
    bounds = {"activation_min": -math.inf, "activation_max": math.inf}
    fields = {**dims, **strides, **bounds}
    bind(
        KernelCall("ek_pow_f32", "ek_binary_f32_params", fields, ("a", "b", "y")),
        places.__getitem__,
    )()
    with np.errstate(all="ignore"):
        expected = np.power(base.astype(np.float64), exponent.astype(np.float64))
    np.testing.assert_allclose(y, expected.astype(np.float32), rtol=1e-5)
