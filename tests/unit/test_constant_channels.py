"""Channels that cannot change their output are replaced by ones that give it; others stay."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.dtypes import Array, DType
from edgekit.graph import Node, Quantization, Tensor, TensorKind
from edgekit.ops import int8
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.constant_channels import Channels, settled_channels

DEPTH, CHANNELS = 6, 4


def view_of(zero_points: tuple[int, int], activation: str) -> OpView:
    scale = np.array([0.1], np.float32)
    quantizations = [Quantization(scale, np.array([zero], np.int32)) for zero in zero_points]
    x, y = (
        Tensor(name, (1, 1, 1, size), DType.INT8, kind=TensorKind.ACTIVATION, quantization=given)
        for name, size, given in zip("xy", (DEPTH, CHANNELS), quantizations, strict=True)
    )
    node = Node("node", "conv2d", ("x",), ("y",), {"activation": activation})
    return OpView(node, (x,), (y,))


def outputs(view: OpView, channels: Channels, x: Array) -> Array:
    sums = int8.centred(x, view.input(0)).astype(np.int64) @ channels.matrix.astype(np.int64).T
    activation = view.str_attr("activation", "none")
    return int8.store(sums + channels.bias, channels.factors, view.outputs[0], activation)


@given(
    zero_points=st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
    activation=st.sampled_from(["none", "relu", "relu6"]),
    bias=st.lists(st.integers(-(2**30), 2**30), min_size=CHANNELS, max_size=CHANNELS),
    exponents=st.lists(st.integers(-40, 3), min_size=CHANNELS, max_size=CHANNELS),
    seed=st.integers(0, 2**16),
)
def test_replaced_channels_give_the_same_outputs(
    zero_points: tuple[int, int],
    activation: str,
    bias: list[int],
    exponents: list[int],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    view = view_of(zero_points, activation)
    matrix = rng.integers(-128, 128, (CHANNELS, DEPTH)).astype(np.int8)
    factors = int8.quantize_multipliers(rng.uniform(0.5, 1, CHANNELS) * 2.0 ** np.array(exponents))
    given_channels = Channels(matrix, np.array(bias, np.int64), factors)
    settled = settled_channels(view, matrix, np.array(bias, np.int32), factors)
    x = rng.choice(np.array([-128, 127, *range(-128, 128)]), (64, DEPTH)).astype(np.int8)
    expected = outputs(view, given_channels, x)
    np.testing.assert_array_equal(outputs(view, settled, x), expected)


def test_a_channel_of_vanishing_weights_becomes_a_usual_one() -> None:
    view = view_of((3, -128), "relu")
    matrix = np.full((CHANNELS, DEPTH), 100, np.int8)
    factors = int8.quantize_multipliers([2.0**-28, 2.0**-28, 2.0**-12, 0.0])
    settled = settled_channels(view, matrix, np.array([5 << 28, 0, 0, 7], np.int32), factors)
    assert settled.matrix.any(axis=1).tolist() == [False, False, True, False]
    assert (settled.factors.shift >= -20).all()
    found = outputs(view, settled, np.zeros((1, DEPTH), np.int8))
    assert found[0].tolist() == [-123, -128, -128, -128]
