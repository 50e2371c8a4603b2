"""Building and booting: a model in a few lines of C on every emulated core.

What must hold whatever the model: outputs arrive, counts repeat, sizes are exact, and a program
that leaves its memory faults instead of going on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.converters.emitters.c_source import emit_c
from edgekit.deploy.cores import CORES, Span
from edgekit.deploy.elf_file import ElfFile
from edgekit.deploy.firmware import FirmwareImage, build_image
from edgekit.deploy.memory_layout import MemoryLayout
from edgekit.deploy.toolchain import BuildError, Toolchain
from edgekit.emulators.qemu_board import (
    LONGEST_PERIOD,
    SHORT_PERIOD,
    BoardRun,
    machine_of,
    run_image,
)
from edgekit.errors import EmulatorError, ExecutionError
from edgekit.ops import registry
from edgekit.ops.kernel_set import KernelSet
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from tests.single_node_graphs import graph_of

pytestmark = pytest.mark.toolchain

EMULATED = [name for name, core in CORES.items() if core.machine]
ARENA_BYTES = 64
INPUT = bytes(range(16))

MODEL_H = """
#ifndef MODEL_H
#define MODEL_H
#include <stdint.h>
#include "edgekit/status.h"
ek_status toy_init(void);
void *toy_tensor(uint32_t id);
ek_status toy_run(void);
#endif
"""
BINDING_H = """
#ifndef FIRMWARE_MODEL_H
#define FIRMWARE_MODEL_H
#include "model.h"
#define EK_MODEL_INPUTS 1u
#define EK_MODEL_OUTPUTS 1u
#define EK_MODEL_INIT toy_init
#define EK_MODEL_TENSOR toy_tensor
#define EK_MODEL_RUN toy_run
static const uint32_t ek_model_tensor_bytes[] = {16, 16};
#endif
"""
TRIPLE = "for (int i = 0; i < 16; i++) arena[16 + i] = (int8_t)(arena[i] * 3); return EK_STATUS_OK;"


def sources(body: str, extra: str = "") -> dict[str, bytes]:
    model = f"""
    #include "model.h"
    static int8_t arena[{ARENA_BYTES}] __attribute__((section(".arena"), aligned(16)));
    {extra}
    ek_status toy_init(void) {{ return EK_STATUS_OK; }}
    void *toy_tensor(uint32_t id) {{ return arena + 16 * id; }}
    ek_status toy_run(void) {{ {body} }}
    """
    return {
        "model.c": model.encode(),
        "model.h": MODEL_H.encode(),
        "firmware_model.h": BINDING_H.encode(),
    }


def layout_of(core: str, ram_bytes: int = 65536) -> MemoryLayout:
    machine = machine_of(CORES[core])
    ram = replace(machine.ram, size_bytes=ram_bytes)
    return MemoryLayout("toy", machine.flash, ram, vectors=machine.vectors)


def build(core: str, folder: Path, body: str = TRIPLE, extra: str = "") -> FirmwareImage:
    return build_image(sources(body, extra), CORES[core], layout_of(core), folder)


def boot(
    core: str, image: FirmwareImage, runs: int = 2, *, period: int = LONGEST_PERIOD
) -> BoardRun:
    return run_image(image.elf, CORES[core], [[INPUT]] * runs, [16], period=period, timeout_s=60)


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("core", EMULATED)
def test_every_core_computes_and_counts_the_same_at_every_boot(core: str, tmp_path: Path) -> None:
    image = build(core, tmp_path)
    first, second = boot(core, image), boot(core, image)
    expected = bytes(value * 3 for value in INPUT)
    assert first.outputs == ((expected,), (expected,))
    assert first.instructions == second.instructions > 0


@pytest.mark.usefixtures("qemu")
def test_a_program_with_its_own_arena_memory_boots(tmp_path: Path) -> None:
    machine = machine_of(CORES["cortex-m7"])
    layout = MemoryLayout("toy", machine.flash, machine.data, machine.arena)
    image = build_image(sources(TRIPLE), CORES["cortex-m7"], layout, tmp_path)
    address, _ = ElfFile.read(image.elf).symbols()["arena"]
    assert machine.arena.address <= address < machine.arena.address + machine.arena.size_bytes
    assert boot("cortex-m7", image).outputs[0] == (bytes(value * 3 for value in INPUT),)


@pytest.mark.usefixtures("qemu")
def test_counts_grow_with_the_work(tmp_path: Path) -> None:
    body = "for (volatile int i = 0; i < {}; i++) {{ }} return EK_STATUS_OK;"
    few, many = (
        boot("cortex-m4", build("cortex-m4", tmp_path / str(n), body.format(n))).instructions
        for n in (1000, 2000)
    )
    assert 3 * 1000 <= many - few <= 12 * 1000


@pytest.mark.usefixtures("qemu")
def test_instructions_across_timer_wraps_are_counted(tmp_path: Path) -> None:
    body = "for (volatile int i = 0; i < 100000; i++) { } return EK_STATUS_OK;"
    image = build("cortex-m4", tmp_path, body)
    undisturbed = boot("cortex-m4", image).instructions
    often = boot("cortex-m4", image, period=1 << 15).instructions
    assert undisturbed <= often <= undisturbed * 1.01


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m55"])
def test_the_stack_never_exceeds_its_bound(core: str, tmp_path: Path, toolchain: Toolchain) -> None:
    if not toolchain.reports_stack:
        pytest.skip("only gcc reports stack use")
    extra = """
    __attribute__((noinline)) static int deep(volatile int *sum) {
        volatile int block[100];
        for (int i = 0; i < 100; i++) block[i] = i + *sum;
        return block[7];
    }"""
    body = "volatile int s = 1; for (int i = 0; i < 500; i++) s += deep(&s); return EK_STATUS_OK;"
    image = build(core, tmp_path, body, extra)
    used = boot(core, image, period=SHORT_PERIOD).stack_used_bytes
    assert image.stack_bound_bytes is not None
    assert used <= image.stack_bound_bytes <= 1.4 * used


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m33", "cortex-m55"])
def test_a_stack_overflow_faults(core: str, tmp_path: Path) -> None:
    extra = "static volatile int sink;"
    body = "volatile int block[400]; block[0] = 1; sink = block[0]; return EK_STATUS_OK;"
    image = build_image(
        sources(body, extra), CORES[core], layout_of(core), tmp_path, stack_bytes=512
    )
    with pytest.raises(ExecutionError, match="fault"):
        boot(core, image)


@pytest.mark.usefixtures("qemu")
def test_a_status_that_is_not_ok_is_reported(tmp_path: Path) -> None:
    image = build("cortex-m4", tmp_path, "return EK_STATUS_OUT_OF_RANGE;")
    with pytest.raises(ExecutionError) as caught:
        boot("cortex-m4", image)
    assert caught.value.status == 102


@pytest.mark.usefixtures("qemu")
def test_firmware_that_hangs_is_stopped(tmp_path: Path) -> None:
    image = build("cortex-m4", tmp_path, "for (volatile int i = 0;; ) { i = 1; }")
    with pytest.raises(EmulatorError, match="within 2 s"):
        run_image(image.elf, CORES["cortex-m4"], [[INPUT]], [16], timeout_s=2)


@pytest.mark.usefixtures("toolchain")
def test_what_does_not_fit_the_memory_does_not_link(tmp_path: Path) -> None:
    layout = replace(layout_of("cortex-m4"), ram=Span(0x20000000, 128))
    with pytest.raises(BuildError, match="overflow"):
        build_image(sources(TRIPLE), CORES["cortex-m4"], layout, tmp_path)


@pytest.mark.usefixtures("toolchain")
def test_compiler_errors_are_told(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"model\.c"):
        build("cortex-m4", tmp_path, "return no_such_name;")


@pytest.mark.usefixtures("toolchain")
def test_sizes_are_those_of_the_sections_and_of_the_binary(tmp_path: Path) -> None:
    extra = "int8_t table[10] = {1, 2, 3}; int8_t zeros[20];"
    body = "arena[16] = (int8_t)(table[arena[0] & 7] + zeros[3]); table[1]++; return EK_STATUS_OK;"
    image = build("cortex-m4", tmp_path, body, extra)
    elf = ElfFile.read(image.elf)
    address, binary = elf.binary()
    assert image.arena_bytes == ARENA_BYTES
    assert elf.symbols()["table"][1] == 10
    assert image.static_bytes >= 12 + 20
    assert len(binary) == image.flash_bytes
    assert address == 0


@pytest.mark.usefixtures("toolchain")
def test_the_same_sources_give_the_same_image(tmp_path: Path) -> None:
    first, second = (build("cortex-m4", tmp_path / name) for name in ("one", "two"))
    assert first.elf.read_bytes() == second.elf.read_bytes()
    assert first.map_file.read_bytes() == second.map_file.read_bytes()


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("core", EMULATED)
@pytest.mark.parametrize("side", ["before", "behind"])
def test_an_access_beside_the_ram_of_the_device_faults(
    core: str, side: str, tmp_path: Path
) -> None:
    ram = layout_of(core).ram
    address = ram.address - 4 if side == "before" else ram.address + ram.size_bytes
    body = f"*(volatile uint32_t *){address:#x}u = 1; return EK_STATUS_OK;"
    with pytest.raises(ExecutionError, match="fault"):
        boot(core, build(core, tmp_path, body))


@pytest.mark.usefixtures("toolchain")
@pytest.mark.parametrize("made_for", KernelSet, ids=lambda kernels: kernels.value)
@pytest.mark.parametrize("linked", KernelSet, ids=lambda kernels: kernels.value)
def test_generated_c_links_with_the_kernels_that_it_was_made_for_alone(
    made_for: KernelSet, linked: KernelSet, tmp_path: Path
) -> None:
    case = next(c for c in registry()["fully_connected"].cases() if c.id == "int8_channel_row")
    graph, _ = graph_of("fully_connected", case)
    plan = build_plan(graph, load_profile("corstone300"), executor="reference", kernels=made_for)
    model, core = emit_c(graph, plan), CORES["cortex-m55"]

    def build_it() -> FirmwareImage:
        return build_image(model.files, core, layout_of("cortex-m55"), tmp_path, kernels=linked)

    if linked is made_for:
        assert build_it().flash_bytes > 0
    else:
        with pytest.raises(BuildError, match=f"ek_kernels_{made_for.value}"):
            build_it()
