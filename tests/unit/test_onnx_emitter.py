"""ONNX files that onnxruntime runs with the same results, the same bytes for the same graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.converters.emitters.onnx import IR_VERSION, OPSET, emit_onnx
from edgekit.converters.emitters.onnx_nodes import EMITTERS
from edgekit.converters.importers import load_model
from edgekit.converters.importers.onnx import load_bytes
from edgekit.converters.layout import to_layout
from edgekit.converters.passes import simplify
from edgekit.dtypes import DType
from edgekit.errors import UnsupportedOpError
from edgekit.graph import Graph, Quantization, Tensor, TensorKind
from edgekit.ops import registry
from edgekit.ops.evaluate import evaluate
from tests.onnx_models import Case, all_cases, expected_of, run_onnx
from tests.random_networks import NetworkBuilder, conv, random_network

STATEFUL = {"svdf", "unidirectional_lstm"}
MODELS = [case for case in all_cases() if not case.id.startswith(("QDQ", "QLinear"))]


def test_every_operator_without_state_is_written() -> None:
    # Depthwise convolution is convolution with groups in NCHW; the others are of stored integers.
    without = {"depthwise_conv2d", "blank", "outlier_test"}
    assert set(EMITTERS) == set(registry()) - STATEFUL - without


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.id)
def test_import_and_emission_give_the_model_back(case: Case) -> None:
    graph = load_bytes(case.model.SerializeToString(), Path("model.onnx"))
    outputs = run_onnx(emit_onnx(graph), case.inputs)
    for found, expected in zip(outputs, expected_of(case.id), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_graph_of_either_layout_is_written(seed: int) -> None:
    graph, inputs = random_network(seed, 8)
    expected = evaluate(graph, inputs)
    for layout in ("NCHW", "NHWC"):
        outputs = run_onnx(emit_onnx(to_layout(graph, layout)), inputs)
        for name, found in zip(graph.outputs, outputs, strict=True):
            scale = max(1.0, float(np.abs(expected[name]).max()))
            np.testing.assert_allclose(found / scale, expected[name] / scale, atol=2e-5)


def small_net() -> Graph:
    net = NetworkBuilder((1, 3, 8, 8))
    x = net.add("relu", conv(net, "image", groups=1))
    x = net.add("reduce_mean", x, axes=(2, 3), keep_dims=False)
    return net.graph(net.add("softmax", x, axis=-1, beta=1.0))


def test_bytes_depend_on_the_graph_alone() -> None:
    assert emit_onnx(small_net()) == emit_onnx(small_net())
    assert emit_onnx(small_net()) != emit_onnx(simplify(small_net()))


def test_header_says_what_reads_it() -> None:
    model = onnx.load_model_from_string(emit_onnx(small_net()))
    assert (model.ir_version, model.opset_import[0].version) == (IR_VERSION, OPSET)
    assert model.producer_name == "edgekit"


def test_interface_keeps_names_and_types() -> None:
    model = onnx.load_model_from_string(emit_onnx(to_layout(small_net(), "NHWC")))
    graph = small_net()
    assert [value.name for value in model.graph.input] == list(graph.inputs)
    assert [value.name for value in model.graph.output] == list(graph.outputs)


def test_float16_halves_the_file_and_keeps_float32_at_the_border() -> None:
    net = NetworkBuilder((1, 64))
    weights = net.weights(64, 64)
    graph = net.graph(net.add("fully_connected", "image", weights, keep_dims=False))
    x = np.random.default_rng(0).uniform(-1, 1, (1, 64)).astype(np.float32)
    plain, half = emit_onnx(graph), emit_onnx(graph, float16=True)
    assert len(half) < 0.6 * len(plain)
    (found,), (expected,) = run_onnx(half, {"image": x}), run_onnx(plain, {"image": x})
    assert found.dtype == np.float32
    assert not np.array_equal(found, expected)
    np.testing.assert_allclose(found, expected, atol=2e-2)


@pytest.mark.parametrize("seed", range(4))
def test_float16_runs_whole_networks(seed: int) -> None:
    graph, inputs = random_network(seed, 6)
    expected = evaluate(graph, inputs)
    for name, found in zip(
        graph.outputs, run_onnx(emit_onnx(graph, float16=True), inputs), strict=True
    ):
        scale = max(1.0, float(np.abs(expected[name]).max()))
        np.testing.assert_allclose(found / scale, expected[name] / scale, atol=3e-2)


def test_float16_does_not_make_large_numbers_infinite() -> None:
    net = NetworkBuilder((1, 3))
    masked = net.add("add", "image", net.number(-3.4e38))
    graph = net.graph(net.add("maximum", masked, net.number(-1.0)))
    (found,) = run_onnx(emit_onnx(graph, float16=True), {"image": np.zeros((1, 3), np.float32)})
    np.testing.assert_array_equal(found, np.full((1, 3), -1, np.float32))


@pytest.mark.parametrize("op", ["reduce_mean", "reduce_sum", "reduce_l2", "reduce_max"])
def test_reduction_along_no_axis_reduces_nothing(op: str) -> None:
    net = NetworkBuilder((2, 3))
    graph = net.graph(net.add(op, "image", axes=(), keep_dims=False))
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3)).astype(np.float32)
    (found,) = run_onnx(emit_onnx(graph), {"image": x})
    np.testing.assert_array_equal(found, evaluate(graph, {"image": x})[graph.outputs[0]])


def test_named_dimensions_stay_named() -> None:
    net = NetworkBuilder(("batch", "sequence", 4))
    x = net.add("fully_connected", "image", net.weights(6, 4), keep_dims=True, activation="relu")
    table = net.weights(9, 6)
    graph = net.graph(net.add("add", x, net.add("take_prefix", table, x, axis=0, like_axis=1)))
    data = emit_onnx(graph)
    declared = onnx.load_model_from_string(data).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in declared] == ["batch", "sequence", 4]
    for batch, length in ((1, 3), (2, 9)):
        x_data = np.random.default_rng(length).random((batch, length, 4)).astype(np.float32)
        (found,) = run_onnx(data, {"image": x_data})
        (expected,) = evaluate(graph, {"image": x_data}).values()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_quantized_layer_is_refused_by_name() -> None:
    scale = Quantization.per_tensor(0.1, 0)
    tensors = {
        "x": Tensor("x", (1, 3), DType.INT8, TensorKind.INPUT, scale),
        "y": Tensor("y", (1, 3), DType.INT8, quantization=scale),
    }
    net = NetworkBuilder((1, 3))
    net.add("relu", "image")
    layer = net.nodes[0]
    graph = Graph(
        "q", tensors, (type(layer)("stem", "relu", ("x",), ("y",), {}, "1 Relu"),), ("x",), ("y",)
    )
    with pytest.raises(UnsupportedOpError, match=r"stem \(1 Relu\).*\n.*x is quantized"):
        emit_onnx(graph)


def test_quantize_and_dequantize_round_as_the_reference() -> None:
    scale = Quantization.per_tensor(0.05, -7)
    net = NetworkBuilder((1, 40))
    stored = net.add("quantize", "image", dtype="int8")
    net.tensors[stored] = Tensor(stored, (1, 40), DType.INT8, quantization=scale)
    graph = net.graph(net.add("dequantize", stored))
    x = np.linspace(-8, 8, 40, dtype=np.float32).reshape(1, 40)
    (found,) = run_onnx(emit_onnx(graph), {"image": x})
    np.testing.assert_allclose(found, evaluate(graph, {"image": x})[graph.outputs[0]], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "size"),
    [("face-reidentification-retail-0095", 128), ("landmarks-regression-retail-0009", 48)],
)
def test_published_onnx_model_is_given_back(
    asset: Callable[[str], Path], name: str, size: int
) -> None:
    path = asset(f"vision/{name}.onnx")
    graph = load_model(path)
    image = np.random.default_rng(1).uniform(0, 255, (1, 3, size, size)).astype(np.float32)
    (expected,) = run_onnx(path.read_bytes(), {"image": image})
    for variant in (graph, simplify(to_layout(graph, "NHWC"))):
        (found,) = run_onnx(emit_onnx(variant), {"image": image})
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["ad/ad01_fp32", "ic/pretrainedResnet", "kws/kws_ref_model_float32", "vww/vww_96_float"]
)
def test_published_float_tflite_model_becomes_equal_onnx(
    asset: Callable[[str], Path], name: str
) -> None:
    graph = load_model(asset(f"mcu/mlperf_tiny/{name}.tflite"))
    (given,) = graph.inputs
    shape = graph.tensors[given].static_shape
    inputs = {given: np.random.default_rng(2).uniform(0, 1, shape).astype(np.float32)}
    (expected,) = evaluate(graph, inputs).values()
    for variant in (graph, simplify(graph)):
        (found,) = run_onnx(emit_onnx(variant), inputs)
        np.testing.assert_allclose(found, expected, atol=1e-4)
