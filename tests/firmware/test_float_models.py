"""Float models as C: near the reference on the host, and on boards the very bits of the host."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.emitters.c_source import emit_c
from edgekit.deploy.host_program import build_host_program, host_compiler, run_host_program
from edgekit.deploy.toolchain import Toolchain, zig_toolchain
from edgekit.emulators.mcu import input_bytes
from tests.mcu_models import board_of, expected_outputs, planned, random_inputs

pytestmark = pytest.mark.toolchain

SMALL = (
    "mlperf_tiny/kws/kws_ref_model_float32.tflite",
    "tflm/hello_world/hello_world_float.tflite",
    "tflm/mnist_lstm/trained_lstm.tflite",
)
OTHERS = (
    "mlperf_tiny/ad/ad01_fp32.tflite",
    "mlperf_tiny/ic/pretrainedResnet.tflite",
    "mlperf_tiny/vww/vww_96_float.tflite",
)
RUNS = 3

Find = Callable[[str], Path]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def host_outputs(path: Path, folder: Path) -> bytes:
    if host_compiler() is None:
        pytest.skip("no C compiler for this computer")
    graph, plan = planned(path)
    program = build_host_program(emit_c(graph, plan).files, folder)
    inputs = [random_inputs(graph, seed) for seed in range(RUNS)]
    return run_host_program(program, [input_bytes(graph, item) for item in inputs])


def stem(name: str) -> str:
    return Path(name).stem


@pytest.mark.parametrize("name", [*SMALL, *OTHERS], ids=stem)
def test_float_models_on_the_host_are_near_the_reference(
    name: str, asset: Find, folder: Path
) -> None:
    path = asset(f"mcu/{name}")
    graph, _ = planned(path)
    inputs = [random_inputs(graph, seed) for seed in range(RUNS)]
    expected = np.frombuffer(b"".join(expected_outputs(graph, inputs)), np.float32)
    found = np.frombuffer(host_outputs(path, folder), np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def check_board(path: Path, core: str, folder: Path, toolchain: Toolchain | None = None) -> None:
    board = board_of(path, core, folder / core, toolchain)
    inputs = [random_inputs(board.graph, seed) for seed in range(RUNS)]
    booted = b"".join(part for parts in board.run(inputs).outputs for part in parts)
    assert booted == host_outputs(path, folder)


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("name", SMALL, ids=stem)
def test_boards_compute_the_bits_of_the_host(
    name: str, core: str, asset: Find, folder: Path
) -> None:
    check_board(asset(f"mcu/{name}"), core, folder)


@pytest.mark.full
@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("name", OTHERS, ids=stem)
def test_boards_compute_the_bits_of_the_host_for_larger_models(
    name: str, asset: Find, folder: Path
) -> None:
    check_board(asset(f"mcu/{name}"), "cortex-m4", folder)


@pytest.mark.usefixtures("qemu")
def test_a_core_without_floats_computes_the_bits_of_the_host(asset: Find, folder: Path) -> None:
    check_board(asset(f"mcu/{SMALL[1]}"), "cortex-m3", folder)


@pytest.mark.full
@pytest.mark.usefixtures("qemu")
@pytest.mark.skipif(not importlib.util.find_spec("ziglang"), reason="ziglang is not installed")
def test_clang_brings_the_floats_of_a_core_without_them(asset: Find, folder: Path) -> None:
    check_board(asset(f"mcu/{SMALL[1]}"), "cortex-m3", folder, zig_toolchain())
