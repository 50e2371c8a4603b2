"""Generated C computes what TensorFlow Lite Micro computes, byte for byte: here and on the boards.

The interpreter runs in a child process on the same random inputs; state is carried from run to run
on both sides. To add a model, add it to ``tests/mcu_models.py``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekit.converters.emitters.c_source import emit_c
from edgekit.deploy.host_program import build_host_program, host_compiler, run_host_program
from edgekit.dtypes import Array
from edgekit.emulators.mcu import input_bytes
from tests.mcu_models import INT8_MODELS, LARGE_MODELS, board_of, planned, random_inputs
from tests.tflm import tflm_outputs

pytest.importorskip("tflite_micro")

pytestmark = pytest.mark.toolchain

RUNS, LARGE_RUNS, BOARD_RUNS = 100, 20, 5
"""Inputs for each model."""

INNER_LAYERS = {
    "keyword_scrambled": 11,
    "keyword_scrambled_8bit": 0,
    "mcunetv2_large": 88,
}
"""Models that give the same output for every random input, and a layer of theirs that does not."""

Find = Callable[[str], Path]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@cache
def runs_of(path: Path, count: int) -> tuple[list[dict[str, Array]], list[bytes]]:
    """Return random inputs and what TensorFlow Lite Micro makes of them."""
    graph, _ = planned(path)
    inputs = [random_inputs(graph, seed) for seed in range(count)]
    with tempfile.TemporaryDirectory() as name:
        return inputs, tflm_outputs(path, inputs, Path(name))


def check_host(path: Path, count: int, folder: Path) -> None:
    if host_compiler() is None:
        pytest.skip("no C compiler for this computer")
    graph, plan = planned(path)
    inputs, expected = runs_of(path, count)
    program = build_host_program(emit_c(graph, plan).files, folder)
    found = run_host_program(program, [input_bytes(graph, item) for item in inputs])
    assert len(set(expected)) > 1 or path.stem in INNER_LAYERS
    assert found == b"".join(expected)


def check_board(path: Path, core: str, count: int, folder: Path) -> None:
    board = board_of(path, core, folder)
    inputs, expected = runs_of(path, count)
    booted = board.run(inputs[:BOARD_RUNS]).outputs
    assert [b"".join(parts) for parts in booted] == expected[:BOARD_RUNS]


def stem(name: str) -> str:
    return Path(name).stem


@pytest.mark.parametrize("name", INT8_MODELS, ids=stem)
def test_generated_c_on_the_host(name: str, asset: Find, folder: Path) -> None:
    check_host(asset(f"mcu/{name}"), RUNS, folder)


def with_inner_layer(path: Path, target: Path) -> Path:
    """Copy a model with the output of an inner layer as an output of the whole."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = model.subgraphs[0]
    inner = graph.operators[INNER_LAYERS[path.stem]].outputs[0]
    graph.outputs = [*graph.outputs, inner]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(builder.Output())
    return target


def check_inner_layer(path: Path, count: int, folder: Path) -> None:
    check_host(with_inner_layer(path, folder / "exposed.tflite"), count, folder)


@pytest.mark.parametrize("name", [n for n in INT8_MODELS if Path(n).stem in INNER_LAYERS], ids=stem)
def test_inner_layers_on_the_host(name: str, asset: Find, folder: Path) -> None:
    check_inner_layer(asset(f"mcu/{name}"), RUNS, folder)


@pytest.mark.full
@pytest.mark.parametrize(
    "name", [n for n in LARGE_MODELS if Path(n).stem in INNER_LAYERS], ids=stem
)
def test_inner_layers_of_large_models_on_the_host(name: str, asset: Find, folder: Path) -> None:
    check_inner_layer(asset(f"mcu/{name}"), LARGE_RUNS, folder)


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("name", INT8_MODELS, ids=stem)
def test_booted_firmware(name: str, core: str, asset: Find, folder: Path) -> None:
    check_board(asset(f"mcu/{name}"), core, RUNS, folder)


@pytest.mark.full
@pytest.mark.parametrize("name", LARGE_MODELS, ids=stem)
def test_generated_c_of_large_models_on_the_host(name: str, asset: Find, folder: Path) -> None:
    check_host(asset(f"mcu/{name}"), LARGE_RUNS, folder)


@pytest.mark.full
@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("name", LARGE_MODELS, ids=stem)
def test_booted_firmware_of_large_models(name: str, asset: Find, folder: Path) -> None:
    check_board(asset(f"mcu/{name}"), "cortex-m4", LARGE_RUNS, folder)
