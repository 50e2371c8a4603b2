"""Firmware of public models, booted: as accurate as published, in the RAM that was planned."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.deploy.host_program import host_compiler
from edgekit.deploy.toolchain import Toolchain
from edgekit.emulators.qemu_board import SHORT_PERIOD
from edgekit.emulators.ram_watch import watch_ram
from edgekit.graph import Graph
from tests.mcu_models import INT8_MODELS, KWS, LARGE_MODELS, board_of, random_inputs

pytestmark = pytest.mark.toolchain

CORRECT_SAMPLES = 366
"""Of the 400 labelled keyword samples, by the arithmetic of TensorFlow Lite Micro."""

Find = Callable[[str], Path]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.usefixtures("qemu")
def test_labelled_keywords_in_one_boot(asset: Find, folder: Path) -> None:
    samples = asset("mcu/mlperf_tiny/kws/samples")
    rows = [line.split(",") for line in (samples / "y_labels.csv").read_text().split()]
    board = board_of(asset(f"mcu/{KWS}"), "cortex-m4", folder)
    inputs = [keyword(board.graph, samples / row[0]) for row in rows]
    run = board.run(inputs)
    predicted = [int(np.frombuffer(parts[0], np.int8).argmax()) for parts in run.outputs]
    correct = sum(value == int(row[2]) for value, row in zip(predicted, rows, strict=True))
    assert len(rows) == 400
    assert correct == CORRECT_SAMPLES


def keyword(graph: Graph, path: Path) -> dict[str, np.ndarray]:
    name = graph.inputs[0]
    return {name: np.fromfile(path, np.int8).reshape(graph.tensors[name].static_shape)}


FLOAT_MODELS = (
    "tflm/hello_world/hello_world_float.tflite",
    "tflm/mnist_lstm/trained_lstm.tflite",
)


WATCHED = [
    *((name, "cortex-m4") for name in (*INT8_MODELS, *FLOAT_MODELS)),
    *((name, "cortex-m55") for name in (*INT8_MODELS, *FLOAT_MODELS)),
    *(pytest.param(name, "cortex-m4", marks=pytest.mark.full) for name in LARGE_MODELS),
]


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize(("name", "core"), WATCHED, ids=lambda item: Path(item).stem)
def test_firmware_touches_the_ram_that_was_planned(
    name: str, core: str, asset: Find, folder: Path, toolchain: Toolchain
) -> None:
    if host_compiler() is None:
        pytest.skip("no C compiler for QEMU's plugin")
    path = asset(f"mcu/{name}")
    board = board_of(path, core, folder)
    found = watch_ram(board, [random_inputs(board.graph, 0)])
    assert found["elsewhere"].accessed_bytes == 0
    assert board.model.arena_bytes == board.image.arena_bytes
    assert found[".arena"].used_bytes == board.model.arena_bytes
    assert found[".bss"].used_bytes == board.image.static_bytes
    if toolchain.reports_stack:
        inputs = [random_inputs(board.graph, seed) for seed in range(2)]
        used = board.run(inputs, period=SHORT_PERIOD).stack_used_bytes
        assert board.image.stack_bound_bytes is not None
        assert used <= board.image.stack_bound_bytes <= 1.4 * used
