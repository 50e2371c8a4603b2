"""Reading TensorFlow Lite files: what is in them is computed, what is wrong with them is said."""

from __future__ import annotations

import contextlib
import logging
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest

from edgekit.converters.importers.tflite import load, load_tflite, matches
from edgekit.dtypes import Array, DType
from edgekit.errors import (
    EdgekitError,
    MissingDependencyError,
    ModelFormatError,
    UnsupportedOpError,
    UsageError,
)
from edgekit.graph import Graph, TensorKind
from edgekit.ops import registry
from edgekit.ops.evaluate import evaluate
from edgekit.ops.spec import OpCase
from tests.kernels.run_case import run_reference
from tests.kernels.tflite_writer import NoFormError, given_inputs, write_case

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

MUTANTS = 400


def case_of(op: str, case_id: str) -> OpCase:
    return next(case for case in registry()[op].cases() if case.id == case_id)


def written(tmp_path: Path, op: str, case_id: str) -> Path:
    path = tmp_path / f"{op}.tflite"
    path.write_bytes(write_case(op, case_of(op, case_id)))
    return path


def edited(path: Path, edit: Callable[[Any], None]) -> Path:
    """Change the records of a file."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    edit(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def forms(op: str) -> list[tuple[OpCase, bytes]]:
    """Return the cases of an operator that TensorFlow Lite can express."""
    written_cases = []
    for case in registry()[op].cases():
        with contextlib.suppress(NoFormError):
            written_cases.append((case, write_case(op, case)))
    return written_cases


WRITABLE = [op for op in sorted(registry()) if forms(op)]


def run(graph: Graph, *arrays: Array) -> list[Array]:
    return list(evaluate(graph, dict(zip(graph.inputs, arrays, strict=True))).values())


@pytest.mark.parametrize("op", WRITABLE)
def test_written_layer_is_read_back(op: str, tmp_path: Path) -> None:
    """What the file computes is what the operator's test case computes."""
    path = tmp_path / "model.tflite"
    for case, data in forms(op):
        path.write_bytes(data)
        outputs = run(load_tflite(path), *given_inputs(case))
        for ours, expected in zip(outputs, run_reference(op, case, zero_states=True), strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_file_is_recognised_by_its_content(tmp_path: Path) -> None:
    path = written(tmp_path, "relu", "float_1x16").rename(tmp_path / "model.bin")
    assert matches(path, path.read_bytes()[:64])
    assert not matches(path, b"\x08\x07" + bytes(62))
    assert not matches(path, b"")


def test_nodes_keep_their_origin(tmp_path: Path) -> None:
    graph = load_tflite(written(tmp_path, "conv2d", "int8_channel_same3x3"))
    assert [node.origin for node in graph.nodes] == ["operator 0 PAD", "operator 1 CONV_2D"]
    assert graph.nodes[1].name == graph.nodes[1].outputs[0]
    assert graph.metadata["format"] == "TensorFlow Lite"
    assert len(graph.metadata["sha256"]) == 64


def test_variable_tensors_become_states(tmp_path: Path) -> None:
    graph = load_tflite(written(tmp_path, "svdf", "int8_state_int8_rank1_batch1"))
    states = [tensor for tensor in graph.tensors.values() if tensor.kind is TensorKind.STATE]
    assert [state.dtype for state in states] == [DType.INT8]


def test_same_padding_becomes_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, "conv2d", "float_stride2_odd")
    size = {"x": (1, 11, 9, 3), "strides": (2, 2), "kernel": (5, 3)}

    def pad_same(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.operators[0].builtinOptions.padding = 0
        output = graph.tensors[graph.outputs[0]]
        output.shape = [1, 6, 5, 5]

    attrs = load_tflite(edited(path, pad_same)).nodes[0].attrs
    assert attrs["strides"] == size["strides"]
    # (6 - 1) * 2 + 5 - 11 = 4 rows and (5 - 1) * 2 + 3 - 9 = 2 columns.
    assert attrs["padding"] == ((2, 2), (1, 1))


def test_equal_and_missing_names_become_unique(tmp_path: Path) -> None:
    path = written(tmp_path, "add", "float_same_none")

    def rename(model: Any) -> None:
        first, second, third = model.subgraphs[0].tensors
        first.name = second.name = b"same"
        third.name = None

    graph = load_tflite(edited(path, rename))
    assert len(set(graph.tensors)) == 3
    assert all(graph.tensors)


def test_misplaced_axis_of_scales_is_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, "depthwise_conv2d", "int8_multiplier")
    expected = run(load_tflite(path), *given_inputs(case_of("depthwise_conv2d", "int8_multiplier")))

    def misplace(model: Any) -> None:
        bias = model.subgraphs[0].tensors[2]
        bias.quantization = schema.QuantizationParametersT()
        bias.quantization.scale = [0.001] * 6
        bias.quantization.zeroPoint = [0] * 6
        bias.quantization.quantizedDimension = 3

    with caplog.at_level(logging.WARNING):
        graph = load_tflite(edited(path, misplace))
    assert "axis 0" in caplog.text
    outputs = run(graph, *given_inputs(case_of("depthwise_conv2d", "int8_multiplier")))
    np.testing.assert_array_equal(outputs[0], expected[0])


def test_output_declared_with_more_axes_is_reshaped(tmp_path: Path) -> None:
    """TensorFlow Lite Micro looks at the declared shape only, and so runs such files."""
    path = written(tmp_path, "fully_connected", "int8_tensor_row")
    case = case_of("fully_connected", "int8_tensor_row")

    def add_axes(model: Any) -> None:
        model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]].shape = [1, 1, 2, 2]

    graph = load_tflite(edited(path, add_axes))
    assert [node.op for node in graph.nodes] == ["fully_connected", "reshape"]
    expected = run_reference("fully_connected", case)[0].reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(run(graph, *given_inputs(case))[0], expected)


def test_int8_weights_of_a_float_layer_are_widened(tmp_path: Path) -> None:
    case = case_of("fully_connected", "float_row")
    path = written(tmp_path, "fully_connected", "float_row")
    weights = case.inputs[1]
    assert weights is not None
    scale = float(np.abs(weights[1].astype(np.float32)).max()) / 127

    def narrow(model: Any) -> None:
        tensor = model.subgraphs[0].tensors[1]
        tensor.type = schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
        stored = np.rint(weights[1].astype(np.float32) / scale).astype(np.int8)
        model.buffers[tensor.buffer].data = np.frombuffer(stored.tobytes(), np.uint8)

    graph = load_tflite(edited(path, narrow))
    outputs = run(graph, *given_inputs(case))[0].astype(np.float32)
    expected = run_reference("fully_connected", case)[0].astype(np.float32)
    rows = np.abs(given_inputs(case)[0].astype(np.float32)).sum()
    assert np.abs(outputs - expected).max() <= rows * scale / 2 + 1e-5
    assert all(tensor.dtype is DType.FLOAT32 for tensor in graph.constants())


def test_float16_weights_behind_dequantize_are_folded(tmp_path: Path) -> None:
    case = case_of("fully_connected", "float_row")
    path = written(tmp_path, "fully_connected", "float_row")
    weights = case.inputs[1]
    assert weights is not None
    half = weights[1].astype(np.float16)

    def halve(model: Any) -> None:
        graph = model.subgraphs[0]
        stored = schema.TensorT()
        stored.name, stored.shape = b"half", list(half.shape)
        stored.type, stored.buffer = schema.TensorType.FLOAT16, graph.tensors[1].buffer
        model.buffers[stored.buffer].data = np.frombuffer(half.tobytes(), np.uint8)
        graph.tensors[1].buffer = 0
        graph.tensors.append(stored)
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
        operator.opcodeIndex, operator.inputs = len(model.operatorCodes), [len(graph.tensors) - 1]
        operator.outputs = [1]
        model.operatorCodes.append(code)
        graph.operators.insert(0, operator)

    graph = load_tflite(edited(path, halve))
    assert [node.op for node in graph.nodes] == ["fully_connected"]
    x, bias = given_inputs(case)[0].astype(np.float32), case.inputs[2]
    assert bias is not None
    expected = x @ half.astype(np.float32).T + bias[1].astype(np.float32)
    np.testing.assert_allclose(run(graph, x)[0], expected, rtol=1e-5, atol=1e-5)


def test_custom_operator_is_refused_by_its_name(tmp_path: Path) -> None:
    def customize(model: Any) -> None:
        code = model.operatorCodes[0]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"SignalWindow"

    path = edited(written(tmp_path, "relu", "float_1x16"), customize)
    with pytest.raises(UnsupportedOpError, match="SignalWindow") as error:
        load_tflite(path)
    assert error.value.exit_code == 5
    assert str(path) in str(error.value)


def test_computed_axes_are_refused(tmp_path: Path) -> None:
    def compute(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.tensors[-1].buffer = 0
        graph.inputs = [*graph.inputs, len(graph.tensors) - 1]

    path = edited(written(tmp_path, "transpose", "float_1"), compute)
    with pytest.raises(UnsupportedOpError, match="constant"):
        load_tflite(path)


def grow_shape(model: Any) -> None:
    model.subgraphs[0].tensors[1].shape = [1 << 20, 1 << 20]


def grow_rank(model: Any) -> None:
    model.subgraphs[0].tensors[0].shape = [1] * 100


def negative_shape(model: Any) -> None:
    model.subgraphs[0].tensors[0].shape = [-4, 10]


def empty_shape(model: Any) -> None:
    model.subgraphs[0].tensors[0].shape = [0, 10]


def wrong_output(model: Any) -> None:
    model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]].shape = [7, 7]


def missing_tensor(model: Any) -> None:
    model.subgraphs[0].operators[0].inputs = [0, 99, 2]


def missing_buffer(model: Any) -> None:
    model.subgraphs[0].tensors[1].buffer = 1000


def missing_code(model: Any) -> None:
    model.subgraphs[0].operators[0].opcodeIndex = 9


def no_subgraph(model: Any) -> None:
    model.subgraphs = []


def scales_of_no_axis(model: Any) -> None:
    quantization = model.subgraphs[0].tensors[1].quantization
    quantization.scale, quantization.zeroPoint = [0.1] * 3, [0] * 3


def infinite_scale(model: Any) -> None:
    model.subgraphs[0].tensors[0].quantization.scale = [float("inf")]


def huge_zero_point(model: Any) -> None:
    model.subgraphs[0].tensors[0].quantization.zeroPoint = [1 << 40]


@pytest.mark.parametrize(
    "edit",
    [
        grow_shape,
        grow_rank,
        negative_shape,
        empty_shape,
        wrong_output,
        missing_tensor,
        missing_buffer,
        missing_code,
        no_subgraph,
        scales_of_no_axis,
        infinite_scale,
        huge_zero_point,
    ],
    ids=lambda edit: edit.__name__,
)
def test_contradictions_are_refused(edit: Callable[[Any], None], tmp_path: Path) -> None:
    path = edited(written(tmp_path, "fully_connected", "int8_tensor_row"), edit)
    with pytest.raises(ModelFormatError) as error:
        load_tflite(path)
    assert error.value.exit_code == 5
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0\0\0\0TFL3", b"\xff\xff\xff\x7fTFL3" * 9])
def test_file_without_content_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError):
        load_tflite(path)


def test_damaged_files_are_refused_or_read(tmp_path: Path) -> None:
    """Whatever bytes change, the file is read or refused with an error of ours."""
    generator = random.Random(11)
    path = tmp_path / "model.tflite"
    sources = [
        write_case("conv2d", case_of("conv2d", "int8_channel_same3x3")),
        write_case("unidirectional_lstm", case_of("unidirectional_lstm", "int8_batch")),
        write_case("pad", case_of("pad", "int8_zeros")),
    ]
    refused = 0
    for index in range(MUTANTS):
        data = bytearray(sources[index % len(sources)])
        if index % 4 == 0:
            del data[generator.randrange(8, len(data)) :]
        for _ in range(generator.choice((1, 2, 8))):
            data[generator.randrange(8, len(data))] = generator.choice((0, 1, 0x7F, 0xFF))
        path.write_bytes(bytes(data))
        refused += exit_code_of(path) == 5
    assert refused > MUTANTS // 4


def exit_code_of(path: Path) -> int:
    """Return what the command line would, reading a file; other exceptions fail the test."""
    try:
        load_tflite(path)
    except EdgekitError as error:
        return error.exit_code
    return 0


def test_dimensions_cannot_be_set(tmp_path: Path) -> None:
    path = written(tmp_path, "relu", "float_1x16")
    with pytest.raises(UsageError, match="batch"):
        load(path, {"batch": 2})
    assert load(path, {}).outputs


def test_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "relu", "float_1x16")
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(MissingDependencyError, match=r"edgekit\[tflite\]"):
        load_tflite(path)
