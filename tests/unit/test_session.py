"""Sessions: outputs as they should be on every executor, and misuse answered clearly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.converters.emitters.onnx import emit_onnx
from edgekit.converters.importers import load_model
from edgekit.dtypes import Array, DType
from edgekit.errors import ExecutionError, PackageError, UsageError
from edgekit.graph import Graph, Node, Tensor, TensorKind
from edgekit.ops.evaluate import evaluate
from edgekit.package import Package, PackageContent, write_package
from edgekit.package_manifest import ModelFacts
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.interpreter import Interpreter
from edgekit.runtime.memory_model import onnxruntime_memory
from edgekit.runtime.session import Session, load
from edgekit.shapes import bind_dims
from tests.small_graphs import Builder, chain, random_inputs, residual

GRAPH = chain()
PHONE = load_profile("pixel8")


def packed(folder: Path, graph: Graph, executor: str = "reference", **parts: Any) -> Package:
    memory = onnxruntime_memory(graph) if executor == "onnxruntime" else None
    plan = build_plan(bind_dims(graph), PHONE, executor=executor, executor_memory=memory)
    facts = ModelFacts.of(graph)
    content = PackageContent(model=facts, plan=plan, profile=b"", graph=graph, **parts)
    return write_package(folder / f"{graph.name}.edgekit", content)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return load(packed(tmp_path, GRAPH))


def with_named_dimension(planned: int) -> Graph:
    b = Builder("named")
    x = b.input("x", "rows", 4)
    return b.graph(b.node("abs", b.dense(x, 4, 3)), dims={"rows": planned})


def with_state() -> Graph:
    """Adds the input to what the run before left: an svdf layer with identity weights."""
    eye = np.eye(2, dtype=np.float32)
    tensors = [
        Tensor("x", (1, 2), DType.FLOAT32, TensorKind.INPUT),
        Tensor.constant("feature", eye),
        Tensor.constant("time", np.ones((2, 3), np.float32)),
        Tensor("state", (1, 6), DType.FLOAT32, TensorKind.STATE),
        Tensor("y", (1, 2), DType.FLOAT32),
    ]
    inputs = ("x", "feature", "time", "", "state")
    node = Node("svdf", "svdf", inputs, ("y",), {"rank": 1, "activation": "none"})
    return Graph("stateful", {t.name: t for t in tensors}, (node,), ("x",), ("y",))


def test_outputs_equal_the_plain_evaluator(session: Session) -> None:
    inputs = random_inputs(GRAPH)
    result = session.run(inputs)
    for name, expected in evaluate(GRAPH, inputs).items():
        np.testing.assert_array_equal(result.outputs[name], expected)
    assert list(result.outputs) == [facts.name for facts in session.outputs]


def test_a_trace_says_what_was_observed(session: Session) -> None:
    trace = session.run(random_inputs(GRAPH)).trace
    assert (trace.kind, trace.executor) == ("measured", "reference")
    assert [event.name for event in trace.events] == [node.name for node in GRAPH.nodes]
    assert trace.peak_bytes == {use.name: use.peak_bytes for use in session.plan.memories}
    assert trace.latency_s > 0


def test_outputs_of_one_run_survive_the_next(session: Session) -> None:
    first = session.run(random_inputs(GRAPH, seed=1)).outputs
    kept = {name: array.copy() for name, array in first.items()}
    session.run(random_inputs(GRAPH, seed=2))
    for name, array in kept.items():
        np.testing.assert_array_equal(first[name], array)


def test_inputs_are_not_changed(session: Session) -> None:
    inputs = random_inputs(GRAPH)
    before = {name: array.copy() for name, array in inputs.items()}
    session.run(inputs)
    for name, array in before.items():
        np.testing.assert_array_equal(inputs[name], array)


def test_profile_has_a_time_for_each_layer(session: Session) -> None:
    events = session.profile()
    assert [event.name for event in events] == [node.name for node in GRAPH.nodes]
    assert all(event.duration_ns >= 0 for event in events)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "x is missing"),
        ({"x": np.zeros((1, 16), np.float32), "z": np.zeros(1)}, "no input z"),
        ({"x": np.zeros((1, 16))}, "takes float32, not float64"),
        ({"x": np.zeros((1, 15), np.float32)}, r"takes the shape \(1, 16\)"),
        ({"x": np.zeros(16, np.float32)}, r"takes the shape \(1, 16\)"),
    ],
)
def test_wrong_inputs_are_named(session: Session, inputs: dict[str, Array], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        session.run(inputs)


def test_named_dimensions_vary_up_to_what_was_planned(tmp_path: Path) -> None:
    session = load(packed(tmp_path, with_named_dimension(5)))
    for rows in (1, 3, 5):
        x = np.full((rows, 4), 0.5, np.float32)
        (output,) = session.run({"x": x}).outputs.values()
        assert output.shape == (rows, 3)
    with pytest.raises(UsageError, match="planned for at most 5"):
        session.run({"x": np.zeros((6, 4), np.float32)})


def test_state_goes_on_from_run_to_run_until_it_is_reset(tmp_path: Path) -> None:
    session = load(packed(tmp_path, with_state()))
    x = {"x": np.array([[1.0, 2.0]], np.float32)}
    first, second = session.run(x).outputs["y"], session.run(x).outputs["y"]
    assert not np.array_equal(first, second)
    session.reset_state()
    np.testing.assert_array_equal(session.run(x).outputs["y"], first)


@pytest.mark.parametrize("graph", [chain(), residual()], ids=lambda g: g.name)
def test_onnxruntime_gives_the_reference_outputs(tmp_path: Path, graph: Graph) -> None:
    pytest.importorskip("onnxruntime")
    package = packed(tmp_path, graph, "onnxruntime", model_file=emit_onnx(graph))
    inputs = random_inputs(graph)
    with edgekit.load(package.root) as session:
        result = session.run(inputs)
        events = session.profile(inputs)
    assert result.trace.executor == package.plan.executor == "onnxruntime"
    for name, expected in evaluate(graph, inputs).items():
        np.testing.assert_allclose(result.outputs[name], expected, rtol=1e-5, atol=1e-6)
    assert events
    with pytest.raises(ExecutionError, match="closed"):
        session.run(inputs)


def test_a_model_that_onnxruntime_refuses_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    package = packed(tmp_path, GRAPH, "onnxruntime", model_file=b"\x08\x08no model")
    with pytest.raises(PackageError, match=r"model\.onnx"):
        load(package)


@pytest.mark.parametrize("executor", ["onnxruntime", "litert"])
def test_a_package_for_another_executor_is_refused(tmp_path: Path, executor: str) -> None:
    with pytest.raises(PackageError, match="made for reference"):
        load(packed(tmp_path, GRAPH), executor=executor)


def test_a_package_without_weights_of_its_own_does_not_run_on_the_reference(
    tmp_path: Path,
) -> None:
    package = packed(tmp_path, GRAPH, "onnxruntime", model_file=b"\x08\x08")
    with pytest.raises(PackageError, match="made for onnxruntime"):
        load(package, executor="reference")


def test_unknown_executors_and_no_threads_are_refused(tmp_path: Path) -> None:
    package = packed(tmp_path, GRAPH)
    with pytest.raises(UsageError, match="choose one of reference"):
        load(package, executor="abacus")
    with pytest.raises(UsageError, match="at least 1"):
        load(package, threads=0)


def test_the_interpreter_shim_runs_like_tflite(tmp_path: Path) -> None:
    interpreter = Interpreter(packed(tmp_path, GRAPH).root)
    with pytest.raises(UsageError, match="allocate_tensors"):
        interpreter.invoke()
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given["name"], list(given["shape"]), given["dtype"]) == ("x", [1, 16], np.float32)
    inputs = random_inputs(GRAPH)
    interpreter.set_tensor(given["index"], inputs["x"])
    with pytest.raises(UsageError, match="no value"):
        interpreter.get_tensor(wanted["index"])
    interpreter.invoke()
    expected = evaluate(GRAPH, inputs)[wanted["name"]]
    np.testing.assert_array_equal(interpreter.get_tensor(wanted["index"]), expected)
    with pytest.raises(UsageError, match="no input"):
        interpreter.set_tensor(wanted["index"], inputs["x"])


def test_litert_runs_a_package_with_its_own_model(tmp_path: Path, assets: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    path = assets / "mcu/mlperf_tiny/kws/kws_ref_model.tflite"
    graph = load_model(path)
    inputs = {name: np.zeros(graph.tensors[name].static_shape, np.int8) for name in graph.inputs}
    package = packed(tmp_path, graph, "litert", model_file=path)
    with load(package) as session:
        result = session.run(inputs)
        assert session.profile(inputs)
    assert result.trace.executor == "litert"
    for name, expected in evaluate(graph, inputs).items():
        np.testing.assert_allclose(result.outputs[name], expected, atol=1)
