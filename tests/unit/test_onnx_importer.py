"""ONNX files become graphs that compute what onnxruntime computes; bad files become messages."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.converters.importers import load_model
from edgekit.converters.importers.onnx import load_bytes
from edgekit.errors import EdgekitError, ModelFormatError, UnsupportedOpError, UsageError
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate
from tests.onnx_models import Case, all_cases, expected_of, model_of, numbers, one, run_onnx

HERE = Path("model.onnx")


def imported(model: onnx.ModelProto, **dims: int) -> Graph:
    return load_bytes(model.SerializeToString(), HERE, dims)


def relu_model(shape: tuple[int | str, ...] = (1, 3)) -> onnx.ModelProto:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", info[:1], info[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.id)
def test_operator_computes_what_onnxruntime_computes(case: Case) -> None:
    graph = imported(case.model)
    found = evaluate(graph, case.inputs)
    for output, expected in zip(found.values(), expected_of(case.id), strict=True):
        assert output.dtype == expected.dtype
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)


def test_what_is_computed_about_shapes_leaves_no_node() -> None:
    cases = {case.id: imported(case.model) for case in all_cases() if case.id.startswith("Shape")}
    assert {name: [node.op for node in graph.nodes] for name, graph in cases.items()} == {
        "Shape_Reshape": ["reshape"]
    }


def test_node_keeps_its_origin() -> None:
    model = model_of(
        [
            helper.make_node("Relu", ["x"], ["r"], name="/features/0/relu"),
            helper.make_node("Neg", ["r"], ["y"]),
        ],
        {"x": numbers(2, 3)},
    )
    first, second = imported(model).nodes
    assert (first.name, first.origin) == ("/features/0/relu", "/features/0/relu Relu")
    assert (second.name, second.origin) == ("Neg_1", "Neg_1 Neg")


def test_module_path_that_the_torch_exporter_notes_becomes_the_origin() -> None:
    model = relu_model()
    note = model.graph.node[0].metadata_props.add()
    note.key, note.value = "pkg.torch.onnx.name_scopes", "['', 'encoder', 'encoder.3', 'relu']"
    assert imported(model).nodes[0].origin == "encoder.3 Relu"


def test_first_axis_is_1_and_other_named_dimensions_need_a_value() -> None:
    model = relu_model(("batch", 3, "width"))
    with pytest.raises(UsageError, match="--dim width=NUMBER"):
        imported(model)
    with pytest.raises(UsageError, match="no dimension 'hight': the model has batch, width"):
        imported(model, width=7, hight=2)
    assert imported(model, width=7).tensors["y"].shape == (1, 3, 7)
    assert imported(model, width=7, batch=4).tensors["y"].shape == (4, 3, 7)


def test_half_and_double_precision_are_computed_in_float32() -> None:
    x = {"x": numbers(2, 3).astype(np.float16)}
    graph = imported(one("Mul", x, {"w": numbers(3).astype(np.float16)}).model)
    assert {tensor.dtype.value for tensor in graph.tensors.values()} == {"float32"}


def test_output_that_is_an_input_or_a_constant_keeps_its_name() -> None:
    x = numbers(2)
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Neg", ["c"], ["z"])]
    graph = imported(model_of(nodes, {"x": x}, {"c": np.ones(3, np.float32)}, ("y", "z")))
    found = evaluate(graph, {"x": x})
    assert list(found) == ["y", "z"]
    np.testing.assert_array_equal(found["y"], x)
    np.testing.assert_array_equal(found["z"], -np.ones(3))


def test_constants_that_nobody_reads_are_dropped() -> None:
    model = one("Neg", {"x": numbers(2)}).model
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.int8), "unused"))
    assert "unused" not in imported(model).tensors


# Files in parts.


def external_model(tmp_path: Path, location: str, offset: int = 0, length: int = 24) -> Path:
    (tmp_path / "folder").mkdir()
    data = np.arange(12, dtype=np.float32)
    (tmp_path / "folder" / "weights.bin").write_bytes(data.tobytes())
    (tmp_path / "outside.bin").write_bytes(data.tobytes())
    case = one("Add", {"x": numbers(2, 3)}, {"w": np.zeros((2, 3), np.float32)})
    tensor = case.model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    path = tmp_path / "folder" / "model.onnx"
    path.write_bytes(case.model.SerializeToString())
    return path


def test_external_data_is_read_from_the_folder_of_the_model(tmp_path: Path) -> None:
    graph = load_model(external_model(tmp_path, "weights.bin", offset=8))
    np.testing.assert_array_equal(
        graph.tensors["w"].data, np.arange(2, 8, dtype=np.float32).reshape(2, 3)
    )


@pytest.mark.parametrize(
    ("location", "offset", "length", "message"),
    [
        ("../outside.bin", 0, 24, "outside the model's folder"),
        ("{outside}", 0, 24, "outside the model's folder"),
        ("link.bin", 0, 24, "outside the model's folder"),
        ("missing.bin", 0, 24, "is missing"),
        ("weights.bin", 25, 24, "which holds 48"),
        ("weights.bin", -1, 24, "needs 24 bytes"),
        ("weights.bin", 0, 2**50, "needs 24 bytes"),
        (".", 0, 24, "outside the model's folder"),
    ],
)
def test_external_data_elsewhere_is_refused(
    tmp_path: Path, location: str, offset: int, length: int, message: str
) -> None:
    outside = str(tmp_path / "outside.bin")
    path = external_model(tmp_path, location.format(outside=outside), offset, length)
    (path.parent / "link.bin").symlink_to(outside)
    with pytest.raises(ModelFormatError, match=message):
        load_model(path)


# Files that are not what they should be.


def with_shape(*dims: int) -> onnx.ModelProto:
    model = one("Add", {"x": numbers(2, 3)}, {"w": numbers(2, 3)}).model
    model.graph.initializer[0].dims[:] = dims
    return model


def with_nodes(*nodes: onnx.NodeProto, opset: int = 17) -> onnx.ModelProto:
    model = relu_model()
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    model.opset_import[0].version = opset
    return model


def without(field: str) -> onnx.ModelProto:
    model = relu_model()
    model.graph.ClearField(field)
    return model


node = helper.make_node
BROKEN: dict[str, tuple[Callable[[], Any], str]] = {
    "short data": (lambda: with_shape(2, 4), "32 bytes but holds 24"),
    "huge tensor": (lambda: with_shape(2**40, 2**40), "impossible shape"),
    "negative dimension": (lambda: with_shape(-2, -3), "impossible shape"),
    "huge input": (lambda: relu_model((2**20, 2**20)), "impossible shape"),
    "cycle": (
        lambda: with_nodes(node("Add", ["x", "y"], ["z"]), node("Relu", ["z"], ["y"])),
        "reads y, which nothing before it computes",
    ),
    "two writers": (
        lambda: with_nodes(node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])),
        "which has a value already",
    ),
    "no writer": (lambda: without("node"), "computed by nothing"),
    "no outputs": (lambda: without("output"), "without a graph"),
    "old operator set": (
        lambda: with_nodes(node("Relu", ["x"], ["y"]), opset=6),
        "7 is the oldest",
    ),
    "wrong attribute": (
        lambda: with_nodes(node("LeakyRelu", ["x"], ["y"], alpha=[1, 2])),
        "attribute alpha cannot be",
    ),
    "missing input": (lambda: with_nodes(node("Add", ["x"], ["y"])), "input 1 is missing"),
    "no such axis": (
        lambda: with_nodes(node("Concat", ["x", "x"], ["y"], axis=9)),
        "axis 9 does not exist",
    ),
    "shapes that do not fit": (
        lambda: (
            one("Add", {"x": numbers(2, 3)}, {"w": numbers(3)}).model
            and with_nodes(node("MatMul", ["x", "x"], ["y"]))
        ),
        "do not fit",
    ),
    "constant bomb": (
        lambda: with_nodes(
            node("Constant", [], ["s"], value_ints=[2**15, 2**15]),
            node("ConstantOfShape", ["s"], ["c"]),
            node("ReduceMax", ["c"], ["m"]),
            node("Add", ["x", "m"], ["y"]),
        ),
        "more than a model of this size can need",
    ),
    "text that is not UTF-8": (
        lambda: relu_model().SerializeToString().replace(b"Relu", b"\xffelu"),
        "damaged",
    ),
    "truncated": (lambda: relu_model().SerializeToString()[:-9], "truncated or damaged"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_model_gives_a_message(name: str) -> None:
    make, message = BROKEN[name]
    broken = make()
    data = broken if isinstance(broken, bytes) else broken.SerializeToString()
    with pytest.raises(EdgekitError, match=message) as caught:
        load_bytes(data, HERE)
    assert caught.value.exit_code == 5
    assert len(str(caught.value).splitlines()) <= 4


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("NonMaxSuppression", ["x", "x"], ["y"])], r"NonMaxSuppression.*_0"),
        ([node("Relu", ["x"], ["y"], domain="my.ops", name="odd")], r"my\.ops\.Relu.*odd"),
        (
            [node("If", ["x"], ["y"], then_branch=relu_model().graph)],
            r"operator If",
        ),
        ([node("Reshape", ["x", "x"], ["y"])], r"must be a constant"),
        ([node("MaxPool", ["x"], ["y"], kernel_shape=[1])], "no image axes"),
    ],
)
def test_operator_that_cannot_be_converted_is_named_with_its_layer(
    nodes: list[onnx.NodeProto], message: str
) -> None:
    with pytest.raises(UnsupportedOpError, match=message):
        imported(with_nodes(*nodes))


def test_names_with_control_characters_do_not_reach_messages() -> None:
    with pytest.raises(UnsupportedOpError) as caught:
        imported(with_nodes(node("Bad\x1b[31m\nOp", ["x"], ["y"], name="a\nb\r" * 500)))
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 2000


def mutated(data: bytes, generator: random.Random) -> bytes:
    if generator.random() < 0.2:
        return data[: generator.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(generator.choice([1, 1, 2, 8])):
        position = generator.randrange(len(changed))
        if generator.random() < 0.7:
            changed[position] = generator.choice([0, 0x7F, 0x80, 0xFF, generator.randrange(256)])
        else:
            del changed[position : position + generator.randrange(1, 8)]
    return bytes(changed)


def test_mutated_files_load_or_give_a_message() -> None:
    generator = random.Random(20)
    sources = [case.model.SerializeToString() for case in all_cases()]
    messages = []
    for _ in range(600):
        try:
            load_bytes(mutated(generator.choice(sources), generator), HERE)
        except EdgekitError as error:
            messages.append(str(error))
    assert len(messages) > 300
    assert max(len(message.splitlines()) for message in messages) <= 4


# The format is found from the content.


def test_format_is_found_from_the_content(tmp_path: Path) -> None:
    path = tmp_path / "strange.name"
    path.write_bytes(relu_model().SerializeToString())
    assert load_model(path).metadata["format"] == "ONNX"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GGUF\x03\0\0\0", "language model"),
        (b"hello, this is no model", "no known model format.*ONNX.*TensorFlow Lite"),
        (b"", "no known model format"),
        (b"\x08\x08" + b"\xff" * 30, "no ONNX model, or is truncated"),
    ],
)
def test_unknown_content_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=message):
        load_model(path)


def test_missing_file_and_impossible_dimension_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_model(tmp_path / "absent.onnx")
    path = tmp_path / "model.onnx"
    path.write_bytes(relu_model(("batch", 3)).SerializeToString())
    with pytest.raises(UsageError, match="cannot be 0"):
        load_model(path, {"batch": 0})


# Published models.


def faces(folder: Path, size: int, count: int) -> list[np.ndarray[Any, Any]]:
    from PIL import Image

    images = sorted(path for path in folder.rglob("*") if path.suffix in {".jpg", ".png"})[:count]
    assert len(images) == count
    found = []
    for path in images:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((size, size)), np.float32)
        found.append(np.ascontiguousarray(pixels[..., ::-1].transpose(2, 0, 1)[np.newaxis]))
    return found


@pytest.mark.parametrize(
    ("name", "size"),
    [("face-reidentification-retail-0095", 128), ("landmarks-regression-retail-0009", 48)],
)
def test_published_model_equals_onnxruntime_on_faces_and_noise(
    asset: Callable[[str], Path], name: str, size: int
) -> None:
    path = asset(f"vision/{name}.onnx")
    graph = load_model(path)
    data = path.read_bytes()
    noise = np.random.default_rng(0).uniform(0, 255, (1, 3, size, size)).astype(np.float32)
    for image in (noise, *faces(asset("faces/london256"), size, 2)):
        (expected,) = run_onnx(data, {"image": image})
        np.testing.assert_allclose(evaluate(graph, {"image": image})["out"], expected, atol=1e-4)
