"""Graphs on disk: nothing is lost, the same graph gives the same bytes, damage is an error."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.dtypes import DType
from edgekit.errors import PackageError
from edgekit.graph import Graph, Node, Quantization, Tensor, TensorKind
from edgekit.graph_file import graph_from_files, graph_to_json, weights_to_safetensors
from tests.small_graphs import chain, random_graphs

DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool")


def saved(folder: Path, graph: Graph) -> tuple[Path, Path]:
    files = folder / "graph.json", folder / "weights.safetensors"
    files[0].write_bytes(graph_to_json(graph))
    files[1].write_bytes(weights_to_safetensors(graph))
    return files


def rich_graph() -> Graph:
    """Every dtype, kind, attribute type and kind of quantization that a graph can hold."""
    constants = [Tensor.constant(f"c_{d}", np.ones((2, 3), DType(d).numpy)) for d in DTYPES]
    per_channel = Quantization(np.array([0.1, 0.25], np.float32), np.array([0, -3], np.int32), 0)
    tensors = [
        Tensor("x", ("batch", 4), DType.INT8, TensorKind.INPUT, Quantization.per_tensor(0.3, -7)),
        Tensor("state", (1, 5), DType.FLOAT32, TensorKind.STATE),
        Tensor.constant("weights", np.ones((2, 4), np.int8), per_channel),
        Tensor("y", ("batch", 4), DType.INT8),
        Tensor.constant("scalar", np.array(2.5, np.float32)),
        *constants,
    ]
    attrs = {
        "min": -math.inf,
        "max": 6.0,
        "axis": -1,
        "keep": True,
        "mode": "inf",
        "padding": ((1, 2), (0, 0)),
        "empty": (),
    }
    names = tuple(tensor.name for tensor in tensors if tensor.name != "y")
    node = Node("n", "clip", (*names, ""), ("y",), attrs, "operator 0 CLIP")
    by_name = {tensor.name: tensor for tensor in tensors}
    return Graph("rich", by_name, (node,), ("x",), ("y",), {"batch": 2}, {"format": "test"})


def test_everything_comes_back(tmp_path: Path) -> None:
    graph = rich_graph()
    loaded = graph_from_files(*saved(tmp_path, graph))
    assert (loaded.name, loaded.inputs, loaded.outputs) == (graph.name, graph.inputs, graph.outputs)
    assert (loaded.dims, loaded.metadata) == (graph.dims, graph.metadata)
    for name, tensor in graph.tensors.items():
        other = loaded.tensors[name]
        assert (other.shape, other.dtype, other.kind) == (tensor.shape, tensor.dtype, tensor.kind)
        if tensor.is_constant:
            np.testing.assert_array_equal(other.data, tensor.data)
        same = (other.quantization is None) == (tensor.quantization is None)
        assert same
        if tensor.quantization is not None:
            assert tensor.quantization.same_as(other.quantization)
    (node,), (other_node,) = graph.nodes, loaded.nodes
    assert (other_node.name, other_node.op, other_node.origin) == (node.name, node.op, node.origin)
    assert (other_node.inputs, other_node.outputs) == (node.inputs, node.outputs)
    assert dict(other_node.attrs) == dict(node.attrs)
    assert {key: type(value) for key, value in other_node.attrs.items()} == {
        key: type(value) for key, value in node.attrs.items()
    }


@given(random_graphs())
@settings(max_examples=20, deadline=None)
def test_the_same_graph_gives_the_same_bytes(graph: Graph) -> None:
    assert graph_to_json(graph) == graph_to_json(graph)
    assert weights_to_safetensors(graph) == weights_to_safetensors(graph)


def spoilt(graph_json: bytes, path: tuple[str | int, ...], value: object) -> bytes:
    document = msgspec.json.decode(graph_json)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return msgspec.json.encode(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("tensors", 0, "dtype"), "complex64"),
        (("tensors", 0, "kind"), "other"),
        (("tensors", 0, "shape"), [-1, 4]),
        (("tensors", 0, "shape"), [1] * 40),
        (("tensors", 1, "shape"), [10**12, 4]),
        (("tensors", 0, "name"), "other"),
        (("nodes", 0, "inputs"), ["nothing"]),
        (("nodes", 0, "outputs"), ["x"]),
        (("nodes", 1, "name"), "fully_connected_0"),
        (("nodes", 0, "attrs"), {"axis": None}),
        (("nodes", 0, "attrs"), {"axis": {"real": "no"}}),
        (("outputs",), ["nothing"]),
        (("outputs",), 3),
        (("tensors", 1, "quantization"), {"scale": [0.0], "zero_point": [0]}),
        (("tensors", 1, "quantization"), {"scale": [1.0], "zero_point": [0, 1]}),
        (("tensors", 1, "quantization"), {"scale": [1.0], "zero_point": [2**40]}),
        (("tensors", 1, "quantization"), {"scale": [1.0], "zero_point": [0], "axis": 9}),
    ],
)
def test_a_spoilt_graph_is_refused(
    tmp_path: Path, path: tuple[str | int, ...], value: object
) -> None:
    files = saved(tmp_path, chain())
    files[0].write_bytes(spoilt(files[0].read_bytes(), path, value))
    with pytest.raises(PackageError, match=r"graph\.json"):
        graph_from_files(*files)


@given(st.data())
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_files_are_refused_or_still_a_graph(tmp_path: Path, data: st.DataObject) -> None:
    files = saved(tmp_path, chain())
    victim = files[data.draw(st.integers(0, 1))]
    content = bytearray(victim.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    victim.write_bytes(bytes(content[: data.draw(st.sampled_from((len(content), 100, 9)))]))
    assert reads_or_refuses(files)


def reads_or_refuses(files: tuple[Path, Path]) -> bool:
    try:
        return isinstance(graph_from_files(*files), Graph)
    except PackageError as error:
        return bool(str(error))
