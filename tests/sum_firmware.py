"""A model of three lines behind the real monitor: for boards under QEMU and as a host program."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np

from edgekit.deploy.cores import CORES, Core, Span
from edgekit.deploy.elf_file import ElfFile
from edgekit.deploy.firmware import ALWAYS, CSRC, MONITOR, STACK_BYTES
from edgekit.deploy.memory_layout import MemoryLayout
from edgekit.deploy.toolchain import Toolchain, find_toolchain
from edgekit.dtypes import Array
from edgekit.errors import DeviceError

INPUT_BYTES = 300
OUTPUTS = 70

MODEL = r"""
#include <stdint.h>
#include "edgekit/status.h"
#include "monitor.h"
#include "firmware_model.h"
static int8_t input[300];
static int32_t output[70];
static int32_t runs;
ek_status sum_init(void) { runs = 0; return EK_STATUS_OK; }
void *sum_tensor(uint32_t id) { return id == 0 ? (void *)input : (void *)output; }
ek_status sum_run(void) {
    int32_t total = 0;
    for (int i = 0; i < 300; ++i) { total += input[i]; }
    for (int i = 0; i < 70; ++i) { output[i] = total * (i + 1) + TERM; }
    output[69] = ++runs;
    return EK_STATUS_OK;
}
const char *const ek_monitor_model_name = NAME;
const ek_monitor_tensor ek_monitor_tensors[] = {
    {.name = "x", .bytes = 300, .dtype = EK_MONITOR_INT8, .rank = 2, .shape = {1, 300},
     .scale = 0.5f, .zero_point = 3},
    {.name = "sums", .bytes = 280, .dtype = EK_MONITOR_INT32, .rank = 2, .shape = {1, 70}},
};
"""

BINDING = r"""
#ifndef FIRMWARE_MODEL_H
#define FIRMWARE_MODEL_H
#include <stdint.h>
#include "edgekit/status.h"
ek_status sum_init(void);
void *sum_tensor(uint32_t id);
ek_status sum_run(void);
#define EK_MODEL_INPUTS 1u
#define EK_MODEL_OUTPUTS 1u
#define EK_MODEL_INIT sum_init
#define EK_MODEL_TENSOR sum_tensor
#define EK_MODEL_RUN sum_run
#endif
"""


def expected(values: Array, run: int, term: int = 0) -> Array:
    """What the model computes at its n-th run."""
    total = int(values.astype(np.int64).sum())
    sums = np.array([total * (i + 1) + term for i in range(OUTPUTS)], np.int32)
    sums[-1] = run
    return sums.reshape(1, OUTPUTS)


def build_firmware(folder: Path, term: int = 0, address: int = 0x08000000) -> bytes:
    """Return the flash image for an STM32F405.

    Without the core-coupled memory, which QEMU's machine lacks.
    """
    flash = Span(address, 0x08100000 - address)
    layout = MemoryLayout("stm32f405", flash, Span(0x20000000, 128 << 10))
    drivers, board = ("board_stm32.c", "uart_stm32f4.c"), "boards/stm32f405.h"
    core = CORES["cortex-m4"]
    return build_image_for(folder, core, layout, drivers=drivers, board=board, term=term)


def build_image_for(
    folder: Path,
    core: Core,
    layout: MemoryLayout,
    *,
    drivers: tuple[str, ...],
    board: str,
    term: int = 0,
    program: tuple[str, ...] = MONITOR,
    stack_bytes: int = STACK_BYTES,
) -> bytes:
    """Return the model with the monitor, its CRC behind it, for a layout."""
    toolchain = find_toolchain()
    assert toolchain is not None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.c").write_text(MODEL)
    (folder / "firmware_model.h").write_text(BINDING)
    firmware = CSRC / "firmware"
    sources = [folder / "model.c", *(firmware / name for name in (*ALWAYS, *program, *drivers))]
    flags = (
        *toolchain.compile_flags(core),
        *(f"-I{path}" for path in (CSRC / "include", CSRC / "monitor", firmware, folder)),
        f"-I{firmware / 'freestanding'}",
        f'-DEK_BOARD="{board}"',
        "-DEK_BAUD=115200u",
        f"-DTERM={term}",
        f'-DNAME="sum{term}"',
    )
    objects = [_compiled(toolchain, source, folder, flags) for source in sources]
    script = folder / "link.ld"
    script.write_text(layout.linker_script(stack_bytes))
    toolchain.link(objects, script, folder / "firmware.elf", core)
    elf = ElfFile.read(folder / "firmware.elf")
    first, binary = elf.binary()
    image = binary[layout.flash.address - first : elf.symbols()["ek_image_end"][0] - first]
    return image + zlib.crc32(image).to_bytes(4, "little")


def _compiled(toolchain: Toolchain, source: Path, folder: Path, flags: tuple[str, ...]) -> Path:
    target = folder / f"{source.stem}.o"
    toolchain.compile(source, target, flags)
    return target


def has_compiler() -> bool:
    return shutil.which("cc") is not None


def build_host(folder: Path) -> Path:
    """Compile the monitor with the model and simulated flash for this computer, sanitized."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.c").write_text(MODEL)
    (folder / "firmware_model.h").write_text(BINDING)
    monitor = CSRC / "monitor"
    here = Path(__file__).parent
    program = folder / "host"
    subprocess.run(
        [
            "cc",
            "-std=c11",
            "-g",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Wshadow",
            "-Wconversion",
            "-Werror",
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all",
            "-DTERM=0",
            '-DNAME="sum"',
            *(f"-I{path}" for path in (CSRC / "include", monitor, folder)),
            str(folder / "model.c"),
            str(here / "monitor_host.c"),
            *(str(monitor / name) for name in ("frame.c", "monitor.c", "update.c")),
            "-o",
            str(program),
        ],
        check=True,
        timeout=120,
    )
    return program


class HostBoard:
    """The host program as a port: its standard input and output are the line."""

    def __init__(self, program: Path, *arguments: object) -> None:
        self.timeout: float | None = 1.0
        self.parity = "N"
        self.dtr = self.rts = False
        self._process = subprocess.Popen(
            [str(program), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def read(self, size: int = 1) -> bytes:
        assert self._process.stdout
        stream = self._process.stdout.fileno()
        ready, _, _ = select.select([stream], [], [], self.timeout)
        data = os.read(stream, size) if ready else b""
        if ready and not data:
            raise DeviceError("the host program has ended")
        return data

    def write(self, data: bytes, /) -> int | None:
        assert self._process.stdin
        try:
            self._process.stdin.write(data)
        except BrokenPipeError:
            return 0
        return len(data)

    def reset_input_buffer(self) -> None:
        pass

    def close(self) -> int:
        """End the line and return the program's exit status."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        status = self._process.wait(timeout=30)
        self._process.stdout.close()
        return status
