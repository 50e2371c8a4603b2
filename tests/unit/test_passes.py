"""Passes make graphs smaller and change no result."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.converters.layout import to_layout
from edgekit.converters.passes import simplify
from edgekit.converters.passes.dead_nodes import remove_dead_nodes
from edgekit.converters.passes.fold_constants import fold_constants
from edgekit.converters.passes.fuse import fuse_activations, fuse_affine, fuse_padding
from edgekit.converters.passes.identities import remove_identities, share_duplicates
from edgekit.converters.passes.patterns import recognise_patterns
from edgekit.dtypes import DType
from edgekit.graph import Attr, Graph, Quantization
from edgekit.ops.evaluate import evaluate
from tests.random_networks import NetworkBuilder, conv, random_network

Pass = Callable[[Graph], Graph]
PASSES: tuple[Pass, ...] = (
    *(fold_constants, fuse_activations, fuse_affine, fuse_padding, recognise_patterns),
    *(remove_dead_nodes, remove_identities, share_duplicates, simplify),
)
IMAGE = (1, 4, 6, 6)


def operators(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes)


def assert_same(first: Graph, second: Graph, tolerance: float = 2e-5) -> None:
    """Compare two graphs on one random image."""
    (name,) = first.inputs
    shape = first.tensors[name].static_shape
    inputs = {name: np.random.default_rng(5).uniform(-2, 2, shape).astype(np.float32)}
    assert (first.inputs, first.outputs) == (second.inputs, second.outputs)
    expected, found = evaluate(first, inputs), evaluate(second, inputs)
    for output in first.outputs:
        scale = max(1.0, float(np.abs(expected[output]).max()))
        np.testing.assert_allclose(found[output] / scale, expected[output] / scale, atol=tolerance)


@pytest.mark.parametrize("rewrite", PASSES, ids=lambda rewrite: rewrite.__name__)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), depth=st.integers(1, 14))
def test_results_stay_and_no_node_is_added(rewrite: Pass, seed: int, depth: int) -> None:
    graph, _ = random_network(seed, depth)
    for variant in (graph, to_layout(graph, "NHWC")):
        rewritten = rewrite(variant)
        assert len(rewritten.nodes) <= len(variant.nodes)
        assert_same(variant, rewritten)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_simple_graph_is_not_simplified_further(seed: int) -> None:
    once = simplify(random_network(seed, 12)[0])
    assert operators(simplify(once)) == operators(once)


# Fusion into convolutions and dense layers.


def affine(net: NetworkBuilder, x: str, op: str, channels: tuple[int, ...]) -> str:
    if op == "batch_norm":
        statistics = [net.weights(channels[-3] if len(channels) > 2 else channels[-1])] * 3
        variance = net.weights(*net.tensors[statistics[0]].static_shape, low=0.5, high=2)
        axis = 1 if len(channels) > 2 else len(net.shape(x)) - 1
        return net.add(op, x, *statistics, variance, epsilon=1e-3, axis=axis)
    if op == "reversed_sub":
        return net.add("sub", net.weights(*channels), x)
    return net.add(op, x, net.weights(*channels, low=0.5, high=2))


@pytest.mark.parametrize("op", ["batch_norm", "add", "sub", "reversed_sub", "mul", "div"])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_affine_of_channels_goes_into_a_convolution(op: str, groups: int, layout: str) -> None:
    net = NetworkBuilder(IMAGE)
    x = conv(net, "image", groups=groups)
    graph = net.graph(affine(net, x, op, (net.shape(x)[1], 1, 1)))
    fused = fuse_affine(to_layout(graph, layout))
    assert sum(operators(fused)[name] for name in ("conv2d", "depthwise_conv2d")) == 1
    assert op.removeprefix("reversed_") not in operators(fused)
    assert_same(graph, fused)


@pytest.mark.parametrize("op", ["batch_norm", "add", "mul"])
def test_affine_of_columns_goes_into_a_dense_layer(op: str) -> None:
    net = NetworkBuilder((3, 5))
    x = net.add("fully_connected", "image", net.weights(4, 5), keep_dims=True, activation="none")
    graph = net.graph(affine(net, x, op, (4,)))
    assert operators(fuse_affine(graph)) == Counter(fully_connected=1)
    assert_same(graph, fuse_affine(graph))


def test_a_chain_of_affine_nodes_goes_into_one_convolution() -> None:
    net = NetworkBuilder(IMAGE)
    x = conv(net, "image", groups=1)
    for op in ("mul", "add", "batch_norm", "sub"):
        x = affine(net, x, op, (net.shape(x)[1], 1, 1))
    graph = net.graph(net.add("relu6", x))
    assert operators(simplify(graph)) == Counter(conv2d=1)
    assert_same(graph, simplify(graph))


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 6), (1, 6, 1), (1, 6, 6), (4, 1, 6)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_what_varies_along_other_axes_stays(shape: tuple[int, ...]) -> None:
    net = NetworkBuilder(IMAGE)
    x = net.add("conv2d", "image", net.weights(4, 4, 1, 1), padding=((0, 0), (0, 0)), layout="NCHW")
    graph = net.graph(net.add("mul", x, net.weights(*shape)))
    assert operators(fuse_affine(graph)) == operators(graph)


def test_what_others_read_is_not_changed() -> None:
    net = NetworkBuilder(IMAGE)
    x = conv(net, "image", groups=1)
    scaled = affine(net, x, "mul", (net.shape(x)[1], 1, 1))
    clamped = net.add("relu", x)
    for graph in (net.graph(scaled, clamped), net.graph(scaled, x), net.graph(clamped, x)):
        assert operators(simplify(graph))["conv2d"] == 1
        assert_same(graph, simplify(graph))
    assert operators(simplify(net.graph(scaled, clamped))) == Counter(conv2d=1, mul=1, relu=1)


@pytest.mark.parametrize("activation", ["relu", "relu6", "relu_n1_1"])
@pytest.mark.parametrize("op", ["conv2d", "add", "max_pool2d", "fully_connected"])
def test_activation_goes_into_the_node_before_it(op: str, activation: str) -> None:
    net = NetworkBuilder(IMAGE)
    window = {"kernel": (2, 2), "padding": ((0, 0), (0, 0)), "layout": "NCHW"}
    x = {
        "conv2d": lambda: conv(net, "image", groups=1),
        "add": lambda: net.add("add", "image", net.number(0.5)),
        "max_pool2d": lambda: net.add("max_pool2d", "image", **window),
        "fully_connected": lambda: net.add("fully_connected", "image", net.weights(3, 6),
                                           keep_dims=True),
    }[op]()  # fmt: skip
    graph = net.graph(net.add(activation, x))
    (node,) = fuse_activations(graph).nodes
    assert (node.op, node.attrs["activation"]) == (op, activation)
    assert_same(graph, fuse_activations(graph))


@pytest.mark.parametrize(("low", "high", "name"), [(0.0, 6.0, "relu6"), (0.0, math.inf, "relu")])
def test_clip_to_the_bounds_of_an_activation_is_one(low: float, high: float, name: str) -> None:
    net = NetworkBuilder(IMAGE)
    graph = net.graph(net.add("clip", conv(net, "image"), min=low, max=high))
    assert [node.attrs["activation"] for node in fuse_activations(graph).nodes] == [name]


def padded_conv(mode: str, value: float, padding: Attr) -> Graph:
    net = NetworkBuilder(IMAGE)
    x = net.add("conv2d", "image", net.weights(3, 4, 1, 1), padding=((0, 0), (0, 0)), layout="NCHW")
    x = net.add("pad", x, padding=padding, mode=mode, value=value)
    return net.graph(net.add("conv2d", x, net.weights(2, net.shape(x)[1], 3, 3), strides=(2, 2),
                             padding=((1, 0), (0, 1)), layout="NCHW"))  # fmt: skip


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_padding_with_zeros_goes_into_the_convolution(layout: str) -> None:
    graph = padded_conv("constant", 0.0, ((0, 0), (0, 0), (0, 2), (1, 1)))
    fused = remove_dead_nodes(fuse_padding(to_layout(graph, layout)))
    assert "pad" not in operators(fused)
    assert_same(graph, fused)


@pytest.mark.parametrize(
    ("mode", "value", "padding"),
    [
        ("edge", 0.0, ((0, 0), (0, 0), (1, 1), (1, 1))),
        ("constant", 1.0, ((0, 0), (0, 0), (1, 1), (1, 1))),
        ("constant", 0.0, ((0, 0), (1, 0), (1, 1), (1, 1))),
    ],
)
def test_other_padding_stays(mode: str, value: float, padding: Attr) -> None:
    graph = padded_conv(mode, value, padding)
    assert operators(simplify(graph)) == Counter(pad=1, conv2d=2)


# Patterns.


def gelu_by_erf(net: NetworkBuilder, x: str, order: int) -> str:
    inner = (
        net.add("div", x, net.number(math.sqrt(2)))
        if order % 2
        else net.add("mul", net.number(math.sqrt(0.5)), x)
    )
    gate = net.add("add", net.add("erf", inner), net.number(1.0))
    if order < 2:
        return net.add("mul", net.add("mul", x, gate), net.number(0.5))
    if order < 4:
        return net.add("mul", net.add("mul", x, net.number(0.5)), gate)
    return net.add("mul", x, net.add("mul", net.number(0.5), gate))


def gelu_by_tanh(net: NetworkBuilder, x: str, power: str) -> str:
    if power == "pow":
        cube = net.add("pow", x, net.number(3.0))
    else:
        cube = net.add("mul", net.add("square", x), x)
    inner = net.add("add", x, net.add("mul", cube, net.number(0.044715)))
    bell = net.add("tanh", net.add("mul", inner, net.number(math.sqrt(2 / math.pi))))
    return net.add("mul", net.add("mul", net.number(0.5), x), net.add("add", bell, net.number(1.0)))


@pytest.mark.parametrize("order", range(6))
def test_exact_gelu_is_recognised_in_any_order(order: int) -> None:
    net = NetworkBuilder((2, 7))
    graph = net.graph(gelu_by_erf(net, "image", order))
    (node,) = recognise_patterns(graph).nodes
    assert (node.op, node.attrs["approximate"]) == ("gelu", "none")
    assert_same(graph, recognise_patterns(graph))


@pytest.mark.parametrize("power", ["pow", "square"])
def test_gelu_by_tanh_is_recognised(power: str) -> None:
    net = NetworkBuilder((2, 7))
    graph = net.graph(gelu_by_tanh(net, "image", power))
    (node,) = recognise_patterns(graph).nodes
    assert (node.op, node.attrs["approximate"]) == ("gelu", "tanh")
    assert_same(graph, recognise_patterns(graph))


def test_what_only_looks_like_gelu_stays() -> None:
    net = NetworkBuilder((2, 7))
    gate = net.add("add", net.add("erf", net.add("mul", "image", net.number(0.6))), net.number(1.0))
    graph = net.graph(net.add("mul", net.add("mul", "image", gate), net.number(0.5)))
    assert operators(recognise_patterns(graph)) == operators(graph)


def layer_norm_parts(net: NetworkBuilder, x: str, *, root: str, twice: bool, axes: int) -> str:
    last = tuple(range(3 - axes, 3))
    mean = net.add("reduce_mean", x, axes=last, keep_dims=True)
    centred = net.add("sub", x, mean)
    again = net.add("sub", x, mean) if twice else centred
    square = net.add("square", again) if twice else net.add("mul", again, again)
    variance = net.add("reduce_mean", square, axes=tuple(a - 3 for a in last), keep_dims=True)
    shifted = net.add("add", variance, net.number(1e-3))
    if root == "sqrt":
        return net.add("div", centred, net.add("sqrt", shifted))
    return net.add("mul", net.add("rsqrt", shifted), centred)


@pytest.mark.parametrize("root", ["sqrt", "rsqrt"])
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("shift", [False, True])
def test_layer_norm_is_recognised(root: str, twice: bool, axes: int, shift: bool) -> None:
    net = NetworkBuilder((2, 3, 6))
    shape = (3, 6)[2 - axes :]
    x = layer_norm_parts(net, "image", root=root, twice=twice, axes=axes)
    x = net.add("mul", x, net.weights(*shape))
    if shift:
        x = net.add("add", net.weights(*shape), x)
    graph = net.graph(net.add("relu", x))
    assert operators(simplify(graph)) == Counter(layer_norm=1, relu=1)
    assert_same(graph, simplify(graph))


def test_normalisation_over_other_axes_stays() -> None:
    net = NetworkBuilder((2, 3, 6))
    mean = net.add("reduce_mean", "image", axes=(1,), keep_dims=True)
    centred = net.add("sub", "image", mean)
    variance = net.add("reduce_mean", net.add("square", centred), axes=(1,), keep_dims=True)
    root = net.add("sqrt", net.add("add", variance, net.number(1e-3)))
    graph = net.graph(net.add("mul", net.add("div", centred, root), net.weights(3, 1)))
    assert operators(simplify(graph))["layer_norm"] == 0


@pytest.mark.parametrize("form", ["hard_sigmoid", "relu6"])
def test_hard_swish_is_recognised(form: str) -> None:
    net = NetworkBuilder((2, 7))
    if form == "hard_sigmoid":
        gate = net.add("hard_sigmoid", "image", alpha=1 / 6, beta=0.5)
        graph = net.graph(net.add("mul", "image", gate))
    else:
        gate = net.add("relu6", net.add("add", "image", net.number(3.0)))
        graph = net.graph(net.add("div", net.add("mul", "image", gate), net.number(6.0)))
    assert operators(recognise_patterns(graph)) == Counter(hard_swish=1)
    assert_same(graph, recognise_patterns(graph))


# Nodes that are not needed.


def test_constants_are_folded_unless_that_makes_them_large() -> None:
    net = NetworkBuilder((1, 4))
    shift = net.add("exp", net.weights(4))
    large = net.add("expand", net.weights(1), shape=(1024, 1024, 4))
    total = net.add("reduce_sum", large, axes=(0, 1), keep_dims=False)
    graph = net.graph(net.add("add", net.add("mul", "image", shift), total))
    folded = fold_constants(graph)
    assert operators(folded) == operators(graph) - Counter(exp=1)
    assert_same(graph, folded)


def test_nodes_that_change_nothing_go_and_outputs_keep_their_names() -> None:
    net = NetworkBuilder((1, 4, 6))
    x = net.add("reshape", net.add("relu", "image"), shape=(1, 24))
    x = net.add("reshape", x, shape=(1, 4, 6))
    x = net.add("transpose", net.add("cast", x, dtype="float32"), perm=(0, 1, 2))
    graph = net.graph(net.add("identity", x))
    assert operators(remove_identities(graph)) == Counter(relu=1)
    assert_same(graph, remove_identities(graph))


def test_copy_of_an_input_stays_where_it_is_an_output() -> None:
    net = NetworkBuilder((1, 4))
    graph = net.graph(net.add("identity", "image"))
    assert operators(remove_identities(graph)) == Counter(identity=1)


def test_equal_nodes_are_computed_once() -> None:
    net = NetworkBuilder((1, 4))
    graph = net.graph(net.add("add", net.add("relu", "image"), net.add("relu", "image")))
    assert operators(share_duplicates(graph)) == Counter(relu=1, add=1)
    assert_same(graph, share_duplicates(graph))


def test_requantization_is_no_identity() -> None:
    net = NetworkBuilder((1, 4))
    first = net.add("quantize", "image", dtype="int8")
    second = net.add("quantize", first, dtype="int8")
    for name, scale in ((first, 0.1), (second, 0.3)):
        quantization = Quantization.per_tensor(scale, 0)
        net.tensors[name] = replace(net.tensors[name], quantization=quantization)
    graph = net.graph(net.add("dequantize", second))
    assert net.tensors[second].dtype is DType.INT8
    assert operators(simplify(graph)) == Counter(quantize=2, dequantize=1)
    assert_same(graph, simplify(graph))
