"""Firmware images: generated model, kernels, start-up code and a program, compiled and linked.

What is linked is the same C that a host application embeds; only the program around it differs
(:data:`PROGRAMS`). Object files of kernels are kept in a cache of the user, since every model uses
the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgekit.deploy.cores import Core
from edgekit.deploy.elf_file import ElfFile
from edgekit.deploy.memory_layout import MemoryLayout
from edgekit.deploy.object_files import compile_all, kept_objects
from edgekit.deploy.stack_bound import (
    EXCEPTION_FRAME_BYTES,
    FLOAT_FRAME_BYTES,
    CallGraph,
)
from edgekit.deploy.toolchain import Toolchain, require_toolchain
from edgekit.ops.kernel_set import KernelSet

CSRC = Path(__file__).resolve().parent.parent / "csrc"
"""C sources that come with edgekit."""

KERNELS = CSRC / "kernels"

STACK_BYTES = 8192
"""Reserved for the stack where the bound is not known before linking."""

OPTIMIZATION = "-O2"

ALWAYS = ("startup.c", "memory_functions.c")
"""Files of ``csrc/firmware`` that every image has."""

MONITOR = (
    "main_monitor.c",
    "ticks.c",
    "uart.c",
    "../monitor/frame.c",
    "../monitor/monitor.c",
    "../monitor/update.c",
)
"""The monitor, without the driver of a port."""

_SLOTS_MPS2 = ("slots.c", "board_fixed.c", "uart_cmsdk.c", "../emulated/flash_ram.c")

PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "bare": ("main_bare.c",),
    "bench": ("main_bench.c", "guards.c", "semihosting.c", "ticks.c"),
    "monitor_stm32f4": (*MONITOR, "board_stm32.c", "uart_stm32f4.c"),
    "monitor_stm32": (*MONITOR, "board_stm32.c", "uart_stm32.c"),
    "monitor_nrf": (*MONITOR, "board_fixed.c", "uart_nrf.c"),
    "monitor_rp2040": (*MONITOR, "board_rp2.c", "uart_pl011.c", "boot_rp2040.c"),
    "monitor_rp2350": (*MONITOR, "board_rp2.c", "uart_pl011.c", "boot_rp2350.c"),
    "monitor_mps2": (*MONITOR, *_SLOTS_MPS2),
    "boot_mps2": ("main_boot.c", *MONITOR[2:], *_SLOTS_MPS2),
}
"""What runs the model: files of ``csrc/firmware`` beside those of every image."""


@dataclass(frozen=True, slots=True)
class FirmwareImage:
    """A linked image and its exact sizes.

    Parameters
    ----------
    elf, map_file : Path
    flash_bytes : int
        Vectors, code, constants and the initial values of data: what is written to flash.
    static_bytes : int
        Data and zeroed data in RAM, beside the arena.
    arena_bytes : int
    stack_bytes : int
        Reserved for the stack.
    stack_bound_bytes : int or None
        The most that the program can use, an interrupt included; None where the compiler does not
        say, or the reserve was given.
    """

    elf: Path
    map_file: Path
    flash_bytes: int
    static_bytes: int
    arena_bytes: int
    stack_bytes: int
    stack_bound_bytes: int | None

    @property
    def ram_bytes(self) -> int:
        """Static data, arena and reserved stack."""
        return self.static_bytes + self.arena_bytes + self.stack_bytes


def kernel_sources(kernels: KernelSet, pattern: str = "*.c") -> tuple[Path, ...]:
    """Return the files of a set of kernels: one of its folder replaces the portable one."""
    chosen = {path.name: path for path in KERNELS.glob(pattern)}
    chosen.update({path.name: path for path in (KERNELS / kernels.value).glob(pattern)})
    return tuple(path for _, path in sorted(chosen.items()))


def build_image(
    generated: Mapping[str, bytes],
    core: Core,
    layout: MemoryLayout,
    directory: Path,
    *,
    program: str = "bench",
    toolchain: Toolchain | None = None,
    stack_bytes: int | None = None,
    defines: Sequence[str] = (),
    uses_float: bool = True,
    kernels: KernelSet | None = None,
) -> FirmwareImage:
    """Compile and link firmware.

    Parameters
    ----------
    generated : mapping of file name to bytes
        What the C emitter wrote.
    core : Core
    layout : MemoryLayout
    directory : Path
        Receives ``firmware.elf``, ``firmware.map``, ``link.ld`` and the object files.
    program : str
        Key of :data:`PROGRAMS`.
    toolchain : Toolchain, optional
        The one that is found, without it.
    stack_bytes : int, optional
        Without it, the bound that the compiler's records give, rounded up to 8 bytes;
        ``STACK_BYTES`` where there are none.
    defines : sequence of str
        Macros, as ``NAME=VALUE``.
    uses_float : bool
        Whether the model computes with floats; otherwise the floating-point unit stays off.
    kernels : KernelSet, optional
        What ``generated`` was made for; the best for the core, without it.

    Raises
    ------
    ToolchainMissingError
        If there is no compiler.
    BuildError
        If the compiler refuses the sources, or a memory of the device overflows.
    """
    objects = compile_objects(
        generated,
        core,
        directory,
        program=program,
        toolchain=toolchain,
        defines=defines,
        uses_float=uses_float,
        kernels=kernels,
    )
    return link_image(objects, layout, directory, stack_bytes=stack_bytes)


@dataclass(frozen=True, slots=True)
class Objects:
    """What is linked: object files, by which compiler, for which core."""

    toolchain: Toolchain
    core: Core
    files: tuple[Path, ...]


def compile_objects(
    generated: Mapping[str, bytes],
    core: Core,
    directory: Path,
    *,
    program: str,
    toolchain: Toolchain | None = None,
    defines: Sequence[str] = (),
    uses_float: bool = True,
    kernels: KernelSet | None = None,
) -> Objects:
    """Compile firmware; parameters and errors are those of :func:`build_image`."""
    chosen = toolchain or require_toolchain()
    core = core if uses_float else core.without_float()
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in generated.items():
        (directory / name).write_bytes(content)
    firmware = CSRC / "firmware"
    own = [directory / name for name in generated if name.endswith(".c")]
    own += [firmware / name for name in (*ALWAYS, *PROGRAMS[program])]
    common = (f"-I{CSRC / 'include'}", f"-I{KERNELS}", f"-I{firmware / 'freestanding'}")
    includes = (*common, f"-I{firmware}", f"-I{directory}")
    macros = tuple(f"-D{define}" for define in defines)
    flags = (*chosen.compile_flags(core, OPTIMIZATION), *includes, *macros)
    files = compile_all(own, directory / "objects", partial(chosen.compile, flags=flags))
    kernel_flags = (*chosen.compile_flags(core, OPTIMIZATION), *common)
    files += kept_objects(
        kernel_sources(kernels or core.kernels),
        sorted(CSRC.rglob("*.h")),
        chosen.fingerprint(kernel_flags),
        partial(chosen.compile, flags=kernel_flags),
    )
    return Objects(chosen, core, tuple(files))


def link_image(
    objects: Objects, layout: MemoryLayout, directory: Path, *, stack_bytes: int | None = None
) -> FirmwareImage:
    """Link firmware for a layout; parameters and errors are those of :func:`build_image`."""
    directory.mkdir(parents=True, exist_ok=True)
    if stack_bytes is not None:
        return _link(objects, layout, directory, stack_bytes, None)
    bound = _stack_bound(objects.toolchain, objects.core, objects.files)
    reserved = STACK_BYTES if bound is None else bound + -bound % 8
    return _link(objects, layout, directory, reserved, bound)


def _stack_bound(toolchain: Toolchain, core: Core, objects: Sequence[Path]) -> int | None:
    if not toolchain.reports_stack:
        return None
    graph = CallGraph.read(path.with_suffix(".ci") for path in objects)
    has_fpu = "-mfloat-abi=soft" not in core.gcc_flags
    frame = EXCEPTION_FRAME_BYTES + (FLOAT_FRAME_BYTES if has_fpu else 0)
    return graph.bound_bytes("ek_reset") + frame + graph.bound_bytes("ek_systick_handler")


def _link(
    objects: Objects,
    layout: MemoryLayout,
    directory: Path,
    stack_bytes: int,
    bound: int | None,
) -> FirmwareImage:
    script = directory / "link.ld"
    script.write_text(layout.linker_script(stack_bytes))
    elf, map_file = directory / "firmware.elf", directory / "firmware.map"
    objects.toolchain.link(objects.files, script, elf, objects.core)
    image = ElfFile.read(elf)
    map_file.write_text(image.map_text())
    return FirmwareImage(
        elf=elf,
        map_file=map_file,
        flash_bytes=image.size_bytes(".boot", ".vectors", ".text", ".rodata", ".data"),
        static_bytes=image.size_bytes(".data", ".bss"),
        arena_bytes=image.size_bytes(".arena"),
        stack_bytes=image.size_bytes(".stack"),
        stack_bound_bytes=bound,
    )
