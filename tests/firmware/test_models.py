"""Generated C of public models: equal to the reference bit for bit, on the host and booted.

The reference is TensorFlow Lite Micro's arithmetic, which tests/kernels compares with the original.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.emitters.c_source import emit_c
from edgekit.deploy.cores import CORES
from edgekit.deploy.firmware import build_image
from edgekit.deploy.host_program import build_host_program, host_compiler, run_host_program
from edgekit.deploy.memory_layout import MemoryLayout
from edgekit.deploy.toolchain import Toolchain
from edgekit.emulators.mcu import EmulatedBoard, input_bytes
from edgekit.emulators.qemu_board import SHORT_PERIOD, machine_of
from edgekit.emulators.ram_watch import watch_ram
from edgekit.graph import Graph
from edgekit.profiles import load_profile
from tests.mcu_models import expected_outputs, planned, random_inputs

pytestmark = pytest.mark.toolchain

KWS = "mlperf_tiny/kws/kws_ref_model.tflite"
TINY = (
    KWS,
    "mlperf_tiny/ic/pretrainedResnet_quant.tflite",
    "mlperf_tiny/vww/vww_96_int8.tflite",
    "mlperf_tiny/ad/ad01_int8.tflite",
)
OTHERS = (
    "tflm/hello_world/hello_world_int8.tflite",
    "tflm/keyword/keyword_scrambled.tflite",
    "tflm/keyword/keyword_scrambled_8bit.tflite",
    "tflm/micro_speech/micro_speech_quantized.tflite",
    "tflm/mnist_lstm/trained_lstm_int8.tflite",
    "tflm/dtln/dtln_noise_suppression.tflite",
)
CORRECT_SAMPLES = 366
"""Of the 400 labelled keyword samples, by the arithmetic of TensorFlow Lite Micro."""

Find = Callable[[str], Path]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def board_of(path: Path, core_name: str, folder: Path) -> EmulatedBoard:
    """Build for all the memory that the machine has, whatever the device."""
    graph, plan = planned(path)
    core = CORES[core_name]
    machine = machine_of(core)
    layout = MemoryLayout(machine.name, machine.flash, machine.ram, vectors=machine.vectors)
    model = emit_c(graph, plan)
    image = build_image(model.files, core, layout, folder, uses_float=model.uses_float)
    return EmulatedBoard(graph, load_profile("stm32h743"), core, model, image)


def joined(runs: tuple[tuple[bytes, ...], ...]) -> list[bytes]:
    return [b"".join(parts) for parts in runs]


@pytest.mark.parametrize("name", [*TINY, *OTHERS], ids=lambda name: Path(name).stem)
def test_generated_c_on_the_host_equals_the_reference(name: str, asset: Find, folder: Path) -> None:
    if host_compiler() is None:
        pytest.skip("no C compiler for this computer")
    graph, plan = planned(asset(f"mcu/{name}"))
    program = build_host_program(emit_c(graph, plan).files, folder)
    inputs = [random_inputs(graph, seed) for seed in range(5)]
    found = run_host_program(program, [input_bytes(graph, item) for item in inputs])
    assert found == b"".join(expected_outputs(graph, inputs))


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("name", [*TINY, *OTHERS], ids=lambda name: Path(name).stem)
def test_booted_firmware_equals_the_reference(
    name: str, core: str, asset: Find, folder: Path
) -> None:
    board = board_of(asset(f"mcu/{name}"), core, folder)
    inputs = [random_inputs(board.graph, seed) for seed in range(2)]
    assert joined(board.run(inputs).outputs) == expected_outputs(board.graph, inputs)


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


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("name", TINY, ids=lambda name: Path(name).stem)
def test_firmware_touches_the_ram_that_was_planned(
    name: str, asset: Find, folder: Path, toolchain: Toolchain
) -> None:
    if host_compiler() is None:
        pytest.skip("no C compiler for QEMU's plugin")
    path = asset(f"mcu/{name}")
    board = board_of(path, "cortex-m4", folder)
    found = watch_ram(board, [random_inputs(board.graph, 0)])
    assert found["elsewhere"].accessed_bytes == 0
    assert board.model.arena_bytes == board.image.arena_bytes
    # Scratch memory is for the kernel that needs most of it; the one that runs may need less.
    slack = max((b.size_bytes for b in planned(path)[1].buffers if b.kind == "scratch"), default=0)
    planned_bytes = board.model.arena_bytes
    assert planned_bytes - slack <= found[".arena"].used_bytes <= planned_bytes
    assert found[".bss"].used_bytes == board.image.static_bytes
    if toolchain.reports_stack:
        used = board.run([random_inputs(board.graph, 0)], period=SHORT_PERIOD).stack_used_bytes
        assert board.image.stack_bound_bytes is not None
        assert used <= board.image.stack_bound_bytes <= 1.4 * used
