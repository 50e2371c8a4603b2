"""Dynamic int8: smaller, close to float, and the same bytes every time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.converters.importers import load_model
from edgekit.errors import ModelFormatError, UsageError
from tests import tiny_encoders

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from edgekit.converters.emitters.onnx import emit_onnx  # noqa: E402
from edgekit.converters.quantization.dynamic import quantize_dynamic_onnx  # noqa: E402

Feed = Mapping[str, npt.NDArray[np.int64]]


@pytest.fixture(scope="module")
def float_model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return emit_onnx(load_model(tiny_encoders.bert().write(tmp_path_factory.mktemp("bert"))))


@pytest.fixture(scope="module")
def quantized_model(float_model: bytes) -> bytes:
    return quantize_dynamic_onnx(float_model)


def _constants(model: bytes, data_type: int) -> list[Any]:
    initializers = onnx.load_model_from_string(model).graph.initializer
    return [item for item in initializers if item.data_type == data_type and len(item.dims) == 2]


def _run(model: bytes, feed: Feed) -> npt.NDArray[np.float32]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, dict(feed))
    return np.asarray(output, np.float32)


def _text(length: int, seed: int) -> Feed:
    rng = np.random.default_rng(seed)
    return {
        "input_ids": rng.integers(4, len(tiny_encoders.VOCABULARY), (1, length)),
        "attention_mask": np.ones((1, length), np.int64),
        "token_type_ids": np.zeros((1, length), np.int64),
    }


def test_embeddings_stay_close_to_float(float_model: bytes, quantized_model: bytes) -> None:
    cosines = []
    for seed, length in enumerate((1, 2, 5, 9, 14, 20)):
        feed = _text(length, seed)
        cosines.append(np.vdot(_run(float_model, feed), _run(quantized_model, feed)))
    assert min(cosines) > 0.98


def test_all_matrices_but_positions_become_eight_bit(quantized_model: bytes) -> None:
    kept = [item.name for item in _constants(quantized_model, onnx.TensorProto.FLOAT)]
    assert kept == ["embeddings.position_embeddings.weight"]
    eight_bit = _constants(quantized_model, onnx.TensorProto.UINT8)
    assert len(eight_bit) == 6 * tiny_encoders.LAYERS + 2


def test_weights_have_a_scale_for_each_output_channel(quantized_model: bytes) -> None:
    graph = onnx.load_model_from_string(quantized_model).graph
    widths = {i.name: i.dims[1] for i in _constants(quantized_model, onnx.TensorProto.UINT8)}
    shapes = {item.name: list(item.dims) for item in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMulInteger"]
    assert len(products) == 6 * tiny_encoders.LAYERS
    for node in products:
        scale = node.input[1].replace("_quantized", "_scale")
        assert shapes[scale] == shapes[node.input[3]] == [widths[node.input[1]]]


def test_the_same_model_gives_the_same_bytes(float_model: bytes, quantized_model: bytes) -> None:
    assert quantize_dynamic_onnx(float_model) == quantized_model


def test_excluded_layers_stay_float(float_model: bytes) -> None:
    layer = "encoder.layer.1.intermediate.dense"
    model = quantize_dynamic_onnx(float_model, exclude=[layer])
    kept = [item.name for item in _constants(model, onnx.TensorProto.FLOAT)]
    assert len(kept) == 2
    assert any(name.startswith(layer) for name in kept)


@pytest.mark.parametrize("layer", ["encoder.layer.7.output.dense", "embeddings.state", ""])
def test_a_layer_that_cannot_be_excluded_is_named(layer: str, float_model: bytes) -> None:
    with pytest.raises(UsageError, match="nothing in it is quantized"):
        quantize_dynamic_onnx(float_model, exclude=[layer])


@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"GGUF" * 20])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(ModelFormatError, match="not an ONNX model"):
        quantize_dynamic_onnx(content)


def test_names_and_dimensions_of_inputs_are_kept(
    float_model: bytes, quantized_model: bytes
) -> None:
    before, after = (onnx.load_model_from_string(m).graph for m in (float_model, quantized_model))
    assert list(after.input) == list(before.input)
    assert list(after.output) == list(before.output)
