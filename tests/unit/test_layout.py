"""Turning a graph between channels first and last changes neither results nor interface."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.converters.layout import to_layout
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate
from tests.random_networks import Array, NetworkBuilder, conv, random_network


def operators(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes)


def layouts_of(graph: Graph) -> set[str]:
    """Return the layouts that spatial operators have (``depthwise_conv2d`` knows one only)."""
    found = {str(node.attrs["layout"]) for node in graph.nodes if "layout" in node.attrs}
    return found | ({"NHWC"} if operators(graph)["depthwise_conv2d"] else set())


def assert_same(first: Graph, second: Graph, inputs: dict[str, Array]) -> None:
    assert (first.inputs, first.outputs) == (second.inputs, second.outputs)
    expected = evaluate(first, inputs)
    for name, found in evaluate(second, inputs).items():
        scale = max(1.0, float(np.abs(expected[name]).max()))
        np.testing.assert_allclose(found / scale, expected[name] / scale, atol=2e-5)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), depth=st.integers(1, 14))
def test_results_and_interface_stay(seed: int, depth: int) -> None:
    graph, inputs = random_network(seed, depth)
    last = to_layout(graph, "NHWC")
    first = to_layout(last, "NCHW")
    assert layouts_of(last) <= {"NHWC"}
    assert layouts_of(first) <= {"NCHW"}
    for turned in (last, first):
        assert_same(graph, turned, inputs)


def test_graph_in_the_wanted_layout_is_returned_as_it_is() -> None:
    once = to_layout(chain(), "NHWC")
    assert to_layout(once, "NHWC") is once


def chain() -> Graph:
    net = NetworkBuilder((1, 4, 8, 8))
    x = conv(net, "image", groups=1)
    for _ in range(3):
        y = net.add("prelu", x, net.weights(net.shape(x)[1], 1, 1))
        y = net.add("concat", y, net.add("neg", y), axis=1, activation="none")
        y = net.add("slice", y, begin=(0, 0, 1, 0), end=(1, 99, 99, 99), strides=(1, 1, 1, 1))
        x = net.add("pad", y, padding=((0, 0), (0, 0), (1, 0), (0, 0)), mode="edge", value=0.0)
    x = net.add("max_pool2d", x, kernel=(2, 2), strides=(2, 2), padding=((0, 0), (0, 0)),
                layout="NCHW", activation="none")  # fmt: skip
    return net.graph(net.add("reduce_mean", x, axes=(2, 3), keep_dims=False))


def test_one_transpose_at_the_input_is_all_that_a_classifier_needs() -> None:
    turned = operators(to_layout(chain(), "NHWC"))
    assert turned["transpose"] == 1
    assert turned - Counter(transpose=1) == operators(chain())


def test_transposes_of_the_source_that_only_turn_the_layout_vanish() -> None:
    net = NetworkBuilder((1, 6, 6, 3))
    x = net.add("transpose", "image", perm=(0, 3, 1, 2))
    x = net.add("relu", conv(net, x, groups=1))
    graph = net.graph(net.add("transpose", x, perm=(0, 2, 3, 1)))
    assert operators(to_layout(graph, "NHWC")) == Counter(conv2d=1, relu=1)


def test_where_only_axes_of_length_1_move_a_reshape_does() -> None:
    net = NetworkBuilder((1, 1, 6, 5))
    x = conv(net, "image", groups=1)
    x = net.add("reduce_mean", x, axes=(2, 3), keep_dims=True)
    turned = operators(to_layout(net.graph(x), "NHWC"))
    assert turned == Counter(conv2d=1, reduce_mean=1, reshape=2)


def test_groups_of_one_channel_become_depthwise_and_back() -> None:
    net = NetworkBuilder((1, 4, 6, 6))
    graph = net.graph(conv(net, "image", groups=4))
    last = to_layout(graph, "NHWC")
    assert operators(last)["depthwise_conv2d"] == 1
    (back,) = [node for node in to_layout(last, "NCHW").nodes if node.op == "conv2d"]
    assert back.attrs["groups"] == 4


def test_named_dimensions_stay() -> None:
    net = NetworkBuilder(("batch", 3, 6, 6))
    weights = net.weights(2, 3, 3, 3)
    window = {"strides": (1, 1), "dilations": (1, 1), "padding": ((1, 1), (1, 1)), "groups": 1}
    x = net.add("conv2d", "image", weights, **window, layout="NCHW", activation="relu")
    graph = net.graph(net.add("softmax", x, axis=1, beta=1.0))
    turned = to_layout(graph, "NHWC")
    assert turned.tensors[turned.outputs[0]].shape == ("batch", 2, 6, 6)
    image = np.random.default_rng(0).random((3, 3, 6, 6)).astype(np.float32)
    assert_same(graph, turned, {"image": image})


def test_constants_are_read_only_when_they_are_needed() -> None:
    net = NetworkBuilder((1, 3, 6, 6))
    graph = net.graph(conv(net, "image", groups=1))
    reads: list[str] = []
    watched = [
        type(tensor)(name, tensor.shape, tensor.dtype, tensor.kind, None, lambda: reads.append("x"))
        for name, tensor in graph.tensors.items()
        if tensor.is_constant
    ]
    to_layout(graph.replace(tensors=watched), "NHWC")
    assert not reads


def test_unknown_layout_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="NHWC"):
        to_layout(chain(), "CHWN")
