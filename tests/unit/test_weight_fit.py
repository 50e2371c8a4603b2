"""Weights fitted to inexact inputs: nearer to the exact layer, and untouched without errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.converters.quantization import refinement
from edgekit.converters.quantization.bias_correction import Progress
from edgekit.converters.quantization.bit_widths import WIDTHS, width_groups, with_bit_widths
from edgekit.converters.quantization.histograms import clip_range, observe_histograms
from edgekit.converters.quantization.narrow_weights import Real, rounded_second_order
from edgekit.converters.quantization.report import sqnr_db
from edgekit.converters.quantization.weight_fit import (
    InputMoments,
    as_matrices,
    fitted,
    from_matrices,
    input_moments,
)
from edgekit.graph import Graph, Quantization
from edgekit.ops import int8
from edgekit.ops.evaluate import evaluate
from edgekit.ops.spec import OpView
from tests.narrow_networks import BlockNetwork, int8_network, quantized, samples_of

SEEDS = st.integers(0, 10**6)


def moments_of(exact: Real, real: Real) -> InputMoments:
    """Return the moments of inputs given as (positions, K)."""
    wanted, got = (array - array.mean(axis=0) for array in (exact, real))
    same = np.array_equal(exact, real)
    return InputMoments((got.T @ got)[None], (got.T @ wanted)[None], len(real), same)


def squared_error(weights: Real, exact: Real, real: Real, fit: Real) -> float:
    difference = exact @ weights.T - real @ fit.T
    return float(((difference - difference.mean(axis=0)) ** 2).sum())


@settings(deadline=None)
@given(SEEDS, st.integers(1, 12), st.floats(0.01, 1.0))
def test_fitted_weights_are_no_further_from_the_exact_layer(
    seed: int, depth: int, noise: float
) -> None:
    random = np.random.default_rng(seed)
    exact = random.standard_normal((200, depth)) @ random.standard_normal((depth, depth))
    real = np.clip(exact, -1.0, 1.0) + noise * random.standard_normal(exact.shape)
    weights = random.standard_normal((1, 5, depth))
    fit = fitted(weights, moments_of(exact, real))
    before, after = (squared_error(weights[0], exact, real, w[0]) for w in (weights, fit))
    assert after <= before * (1 + 1e-9)


def test_what_shrinks_all_inputs_is_made_up_for() -> None:
    random = np.random.default_rng(1)
    exact = random.standard_normal((5000, 4))
    weights = random.standard_normal((1, 3, 4))
    fit = fitted(weights, moments_of(exact, 0.5 * exact))
    np.testing.assert_allclose(fit, 2 * weights, rtol=0.15)  # damping keeps a part


@settings(deadline=None)
@given(SEEDS)
def test_exact_inputs_keep_the_weights(seed: int) -> None:
    random = np.random.default_rng(seed)
    exact = random.standard_normal((3, 6))
    weights = random.standard_normal((1, 2, 6))
    assert np.array_equal(fitted(weights, moments_of(exact, exact)), weights)


def test_few_positions_change_weights_less_than_many() -> None:
    random = np.random.default_rng(2)
    exact = random.standard_normal((4000, 32))
    real = np.round(exact)
    weights = random.standard_normal((1, 8, 32))
    changes = [
        np.abs(fitted(weights, moments_of(exact[:n], real[:n])) - weights).max() for n in (48, 4000)
    ]
    errors = [
        squared_error(weights[0], exact, real, fit[0])
        for fit in (fitted(weights, moments_of(exact[:48], real[:48])), weights)
    ]
    assert changes[0] < 0.5 * np.abs(weights).max()
    assert errors[0] < 1.2 * errors[1]


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.sampled_from([1, 7, 127]))
def test_searched_scales_come_no_further_than_one_that_clips_nothing(
    seed: int, highest: int
) -> None:
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((100, 9))
    matrices = random.standard_normal((1, 4, 9)) ** 3
    units, scale = rounded_second_order(matrices, (inputs.T @ inputs)[None], highest)
    assert np.abs(units).max() <= highest
    assert np.array_equal(units, np.rint(units))
    assert (scale > 0).all()
    missed = (units * scale[:, :, None] - matrices)[0]
    largest = np.abs(matrices[0]).max(axis=1, keepdims=True)
    assert ((inputs @ missed.T) ** 2).sum() <= ((inputs @ matrices[0].T) ** 2).sum() + 1e-9
    assert np.abs(units * scale[:, :, None]).max() <= largest.max() * (1 + 1e-6)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return int8_network()


def test_weights_survive_being_matrices(graph: Graph) -> None:
    layers = [n for n in graph.nodes if n.op in ("conv2d", "depthwise_conv2d", "fully_connected")]
    assert layers
    for node in layers:
        view = OpView.of(graph, node)
        weights = view.input(1).data.astype(np.float64)
        assert np.array_equal(from_matrices(as_matrices(weights, view), view), weights)


def test_moments_of_equal_runs_are_equal_and_symmetric(graph: Graph) -> None:
    samples = samples_of(graph, 2)
    exact, other = (Progress(graph, samples) for _ in range(2))
    node = next(n for n in graph.nodes if n.op == "conv2d")
    exact.advance_to(node.name)
    other.advance_to(node.name)
    moments = input_moments(node, exact, node, other)
    assert moments.same
    np.testing.assert_allclose(moments.real, moments.mixed)
    np.testing.assert_allclose(moments.real, moments.real.transpose(0, 2, 1))
    assert (np.einsum("gkk->gk", moments.real) >= 0).all()


def test_calibration_brings_narrow_activations_nearer(graph: Graph) -> None:
    batches, samples = samples_of(graph, 24, seed=9), samples_of(graph, 48)
    seen = observe_histograms(graph, samples)
    widths = {
        name: (WIDTHS[4], clip_range(seen[name], graph.tensors[name], 4))
        for name in (g.tensors[0] for g in width_groups(graph) if g.can_narrow)
    }
    exact, plain, fit = (
        np.concatenate([evaluate(made, batch)[graph.outputs[0]] for batch in batches])
        for made in (
            graph,
            with_bit_widths(graph, widths),
            with_bit_widths(graph, widths, samples=samples),
        )
    )
    assert sqnr_db(exact, fit) > sqnr_db(exact, plain)


@pytest.mark.parametrize("seed", range(4))
def test_inputs_that_are_constant_tell_nothing_of_the_weights(seed: int) -> None:
    net = BlockNetwork(seed)
    x = net.conv(net.input("x", 1, 24, 24, 3), 3, 8, activation="relu6")
    weights, bias = net.tensors["w0"].data.copy(), net.tensors["b0"].data.copy()
    weights[0], bias[0] = 0.0, 0.7
    net.constant("w0", weights)
    net.constant("b0", bias)
    y = net.depthwise(x, 8)
    depthwise = net.nodes[-1]
    net.nodes[-1] = replace(depthwise, attrs={**depthwise.attrs, "padding": ((0, 0), (0, 0))})
    graph = quantized(net.graph(net.conv(y, 8, 4)))
    samples = samples_of(graph)
    kept = clip_range(observe_histograms(graph, samples)[x], graph.tensors[x], 4)
    made = with_bit_widths(graph, {x: (WIDTHS[4], kept)}, samples=samples)
    before, after = (
        int8.real_from_stored(tensor.data, tensor)[..., 0]
        for tensor in (one.tensors[depthwise.inputs[1]] for one in (graph, made))
    )
    np.testing.assert_allclose(after, before, atol=0.01 * np.abs(before).max())


def test_nothing_narrow_leaves_every_constant(graph: Graph) -> None:
    made = with_bit_widths(graph, {}, samples=samples_of(graph, 2))
    for name, tensor in graph.tensors.items():
        if tensor.is_constant:
            assert np.array_equal(made.tensors[name].data, tensor.data)


def test_long_rows_are_rounded_to_nearest_and_keep_their_mean(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = {node.name: 4 for node in graph.nodes if node.op == "conv2d"}
    nearest = with_bit_widths(graph, {}, layers)
    monkeypatch.setattr(refinement, "_DEEPEST", 0)
    made = with_bit_widths(graph, {}, layers, samples=samples_of(graph, 2))
    changed = []
    for node in (node for node in made.nodes if node.name in layers):
        weights, bias = node.inputs[1:3]
        assert np.array_equal(made.tensors[weights].data, nearest.tensors[weights].data)
        changed.append(not np.array_equal(made.tensors[bias].data, nearest.tensors[bias].data))
    assert any(changed)


def test_weights_that_two_layers_share_stay() -> None:
    net = BlockNetwork()
    x = net.conv(net.input("x", 1, 8, 8, 3), 3, 8, activation="relu6")
    y = net.conv(net.conv(x, 8, 8), 8, 8)
    graph = quantized(net.graph(net.node("relu", y)))
    one, two = graph.nodes[2:4]
    weights = graph.tensors[one.inputs[1]]
    scale = int8.scale_of(graph.tensors[two.inputs[0]]) * int8.quantization_of(weights).scale
    bias = replace(
        graph.tensors[two.inputs[2]], quantization=Quantization(scale, np.zeros(8, np.int32), 0)
    )
    sharing = replace(two, inputs=(two.inputs[0], weights.name, bias.name))
    nodes = [sharing if node is two else node for node in graph.nodes]
    shared = graph.replace(nodes=nodes, tensors=[bias])
    group = next(g for g in width_groups(shared) if x in g.tensors)
    kept = clip_range(observe_histograms(shared, samples_of(shared))[x], shared.tensors[x], 4)
    made = with_bit_widths(
        shared, {group.tensors[0]: (WIDTHS[4], kept)}, samples=samples_of(shared)
    )
    assert made.tensors[x].dtype is WIDTHS[4]
    for node in (n for n in made.nodes if n.name in (one.name, two.name)):
        assert np.array_equal(made.tensors[node.inputs[1]].data, weights.data)
