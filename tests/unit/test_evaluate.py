"""The plain evaluator: names, shapes, states, and what an observer sees."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.dtypes import Array, DType
from edgekit.errors import UsageError
from edgekit.graph import Graph, Node, Quantization, Tensor, TensorKind
from edgekit.ops.evaluate import evaluate, initial_states
from tests.small_graphs import Builder, residual

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 8)


def counter(zero_point: int = 0) -> Graph:
    """Return a layer with an int8 state of two steps: each output sums the last two inputs."""
    quantized = Quantization.per_tensor(1.0, 0)
    ones = np.ones((1, 1), np.int8), np.ones((1, 2), np.int8)
    tensors = [
        Tensor("x", (1, 1), DType.INT8, TensorKind.INPUT, quantized),
        Tensor.constant("feature", ones[0], quantized),
        Tensor.constant("time", ones[1], quantized),
        Tensor(
            "state", (1, 2), DType.INT8, TensorKind.STATE, Quantization.per_tensor(1.0, zero_point)
        ),
        Tensor("y", (1, 1), DType.INT8, TensorKind.ACTIVATION, quantized),
    ]
    inputs = ("x", "feature", "time", "", "state")
    node = Node("svdf", "svdf", inputs, ("y",), {"rank": 1, "activation": "none"})
    return Graph("counter", {tensor.name: tensor for tensor in tensors}, (node,), ("x",), ("y",))


def test_outputs_come_in_the_order_of_the_graph() -> None:
    builder = Builder()
    x = builder.input("x", 1, 8)
    first, second = builder.node("abs", x), builder.node("neg", x)
    outputs = evaluate(builder.graph(second, first), {"x": X})
    assert list(outputs) == [second, first]
    np.testing.assert_array_equal(outputs[first], np.abs(X))


def test_observer_sees_every_input_and_computed_tensor_once_in_order() -> None:
    graph = residual()
    seen: list[str] = []
    outputs = evaluate(graph, {"x": X}, observe=lambda name, _: seen.append(name))
    assert seen == ["x", *(node.outputs[0] for node in graph.nodes)]
    assert set(outputs) == set(graph.outputs)


def test_states_are_kept_from_run_to_run_in_the_callers_arrays() -> None:
    states: dict[str, Array] = {}
    sums = [
        int(evaluate(counter(), {"x": np.full((1, 1), value, np.int8)}, states)["y"][0, 0])
        for value in (3, 4, 5)
    ]
    assert sums == [3, 7, 9]
    np.testing.assert_array_equal(states["state"], [[4, 5]])


def test_without_states_every_run_starts_anew() -> None:
    x = {"x": np.full((1, 1), 3, np.int8)}
    assert evaluate(counter(), x)["y"] == evaluate(counter(), x)["y"] == 3


def test_int8_state_starts_at_its_zero_point() -> None:
    graph = counter(zero_point=-7)
    np.testing.assert_array_equal(initial_states(graph)["state"], [[-7, -7]])
    assert evaluate(graph, {"x": np.zeros((1, 1), np.int8)})["y"] == 0


def test_named_dimensions_take_the_sizes_of_the_inputs() -> None:
    builder = Builder()
    graph = builder.graph(builder.node("abs", builder.input("x", "batch", 3)))
    outputs = evaluate(graph, {"x": -np.ones((5, 3), np.float32)})
    np.testing.assert_array_equal(outputs[graph.outputs[0]], np.ones((5, 3), np.float32))


def test_one_name_cannot_have_two_sizes() -> None:
    builder = Builder()
    a, b = builder.input("a", "batch", 3), builder.input("b", "batch", 3)
    graph = builder.graph(builder.add(a, b))
    arrays = {"a": np.ones((2, 3), np.float32), "b": np.ones((4, 3), np.float32)}
    with pytest.raises(UsageError, match="batch"):
        evaluate(graph, arrays)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "no array for input x"),
        ({"x": X, "y": X}, "no input y"),
        ({"x": X.astype(np.float64)}, "float64"),
        ({"x": X[:, :5]}, r"\[1, 5\]"),
        ({"x": X[0]}, "dimensions"),
    ],
    ids=["missing", "unknown", "type", "size", "rank"],
)
def test_wrong_inputs_are_named(inputs: dict[str, Array], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(residual(), inputs)
