"""Firmware beside its neighbours: ``python -m tests.benchmarks.bench_mcu [MODEL ...]``.

Instructions, RAM and flash: every MLPerf Tiny model (or the models named) is built for Cortex-M3,
M4 and M55, booted under QEMU on random inputs and compared with the reference bit for bit.
Neighbours: CMSIS-NN (commit 99f736a) called by generated code, gcc 12.2 -Ofast, counted in the same
machines; TensorFlow Lite Micro's arena ("head") from ``tflite_micro`` on the same files.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.converters.emitters.c_source import c_identifier, emit_c
from edgekit.deploy.cores import CORES, Core
from edgekit.deploy.firmware import FirmwareImage, build_image
from edgekit.deploy.memory_layout import MemoryLayout
from edgekit.dtypes import Array
from edgekit.emulators.mcu import EmulatedBoard, output_arrays
from edgekit.emulators.qemu_board import SHORT_PERIOD, machine_of
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate
from edgekit.plan import Plan
from edgekit.profiles import load_profile
from tests.mcu_models import planned, random_inputs

CORE_NAMES = ("cortex-m3", "cortex-m4", "cortex-m55")
INPUTS = 3


@dataclass(frozen=True, slots=True)
class Neighbour:
    """CMSIS-NN's instructions (millions) by core, RAM and flash on M4; TFLM's arena (head)."""

    instructions: tuple[float, float, float]
    ram_bytes: int
    flash_bytes: int
    tflm_head_bytes: int


NEIGHBOURS = {
    "kws_ref_model": Neighbour((10.54, 7.84, 1.79), 16_256, 59_364, 16_000),
    "pretrainedResnet_quant": Neighbour((41.75, 29.87, 4.81), 51_456, 107_736, 49_152),
    "vww_96_int8": Neighbour((32.08, 24.71, 6.43), 65_536, 275_192, 73_728),
    "ad01_int8": Neighbour((0.953, 0.580, 0.283), 768, 282_328, 768),
}
FILES = (
    "kws/kws_ref_model.tflite",
    "ic/pretrainedResnet_quant.tflite",
    "vww/vww_96_int8.tflite",
    "ad/ad01_int8.tflite",
)


def models() -> Iterator[Path]:
    if sys.argv[1:]:
        yield from (Path(name) for name in sys.argv[1:])
        return
    folder = os.environ.get("EDGEKIT_ASSETS")
    if not folder:
        sys.exit("name models, or set EDGEKIT_ASSETS")
    for name in FILES:
        yield Path(folder) / "mcu" / "mlperf_tiny" / name


def board_on(core: Core, graph: Graph, plan: Plan, folder: Path, program: str) -> EmulatedBoard:
    machine = machine_of(core)
    layout = MemoryLayout(machine.name, machine.flash, machine.ram, vectors=machine.vectors)
    model = emit_c(graph, plan, c_identifier(graph.name))
    image = build_image(
        model.files, core, layout, folder, program=program, uses_float=model.uses_float
    )
    return EmulatedBoard(graph, load_profile("stm32h743"), core, model, image)


def measure(path: Path) -> None:
    counts: list[float] = []
    arenas: list[str] = []
    images: dict[str, FirmwareImage] = {}
    stack, bound = 0, None
    for name in CORE_NAMES:
        core = CORES[name]
        graph, plan = planned(path, kernels=core.kernels)
        inputs = [random_inputs(graph, seed) for seed in range(INPUTS)]
        arenas.append(f"{plan.memories[0].arena_bytes:,}")
        with tempfile.TemporaryDirectory() as folder:
            board = board_on(core, graph, plan, Path(folder) / "bench", "bench")
            run = board.run(inputs)
            check(graph, inputs, run.outputs)
            counts.append(run.instructions / 1e6)
            images[name] = board_on(core, graph, plan, Path(folder) / "bare", "bare").image
            if name == "cortex-m4":
                stack = board.run(inputs[:1], period=SHORT_PERIOD).stack_used_bytes
                bound = board.image.stack_bound_bytes
    image = images["cortex-m4"]
    other = NEIGHBOURS.get(path.stem)
    cells = [path.stem]
    for index, count in enumerate(counts):
        beside = ""
        if other:
            theirs = other.instructions[index]
            beside = f" : {theirs} ({count / theirs:.2f}x)"
        cells.append(f"{count:.3f}{beside}")
    cells.append(" ".join(arenas) + (f" : {other.ram_bytes:,}" if other else ""))
    cells.append(f"{other.tflm_head_bytes:,}" if other else "")
    cells.append(f"{image.flash_bytes:,}" + (f" : {other.flash_bytes:,}" if other else ""))
    cells.append(f"{image.static_bytes}")
    cells.append(f"{bound} ({stack} seen)")
    print("| " + " | ".join(cells) + " |", flush=True)


def check(
    graph: Graph, inputs: list[dict[str, Array]], found: tuple[tuple[bytes, ...], ...]
) -> None:
    for item, parts in zip(inputs, found, strict=True):
        expected = evaluate(graph, item)
        for name, array in output_arrays(graph, parts).items():
            if not np.array_equal(array, expected[name]):
                sys.exit(f"{graph.name}: {name} differs from the reference")


def main() -> None:
    print("ours : CMSIS-NN (ratio); million instructions an inference; bytes of Cortex-M4 images")
    columns = ("model", *CORE_NAMES, "arena with scratch", "TFLM head", "flash", "static")
    print("| " + " | ".join((*columns, "stack bound")) + " |")
    print("|" + "---|" * (len(columns) + 1))
    for path in models():
        measure(path)


if __name__ == "__main__":
    main()
