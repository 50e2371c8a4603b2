"""Cortex-M cores: how compilers are told about them, and which QEMU machine has one.

Machines and addresses are those of QEMU 7.2 (``hw/arm/mps2.c``, ``hw/arm/mps2-tz.c``), whose
SysTick runs at the machine's clock. With ``-icount shift=6`` every instruction takes 64 ns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgekit.ops.kernel_set import KernelSet
from edgekit.profiles import DeviceProfile

INSTRUCTION_NS = 64
"""Virtual time of one instruction under ``-icount shift=6``."""

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Span:
    """A range of addresses."""

    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Machine:
    """A QEMU machine.

    Parameters
    ----------
    name : str
    systick_hz : int
    flash : Span
        Where code and weights are loaded.
    ram : Span
        For devices that keep everything in one memory.
    data, arena : Span
        For devices whose arena has a memory of its own.
    vectors : Span or None
        Where the core looks for its vector table, if not at the begin of ``flash``.
    uart_address : int
        Of its first CMSDK UART.
    """

    name: str
    systick_hz: int
    flash: Span
    ram: Span
    data: Span
    arena: Span
    uart_address: int
    vectors: Span | None = None

    def instructions(self, ticks: int) -> float:
        """Return how many instructions passed in a number of SysTick ticks."""
        return ticks * 1e9 / (self.systick_hz * INSTRUCTION_NS)


@dataclass(frozen=True, slots=True)
class Core:
    """A processor core as compilers know it.

    Parameters
    ----------
    name : str
        As in ``DeviceProfile.toolchain``.
    gcc_flags : tuple of str
        For arm-none-eabi-gcc.
    zig_target, zig_cpu : str
        For ``zig cc``.
    kernels : KernelSet
        The best that it runs.
    machine : Machine or None
        None where QEMU 7.2 has no machine with it that is large enough.
    """

    name: str
    gcc_flags: tuple[str, ...]
    zig_target: str
    zig_cpu: str
    kernels: KernelSet = KernelSet.PORTABLE
    machine: Machine | None = None

    def without_float(self) -> Core:
        """Return the core with its floating-point unit left off, where vectors do not need it.

        Exceptions then stack eight registers instead of 26.
        """
        if self.kernels is KernelSet.CORTEX_M_MVE:
            return self
        flags = (self.gcc_flags[0], "-mfloat-abi=soft")
        zig_cpu = self.zig_cpu.partition("+")[0]
        return replace(self, gcc_flags=flags, zig_target="thumb-freestanding-eabi", zig_cpu=zig_cpu)


def _mps2(name: str, arena: Span) -> Machine:
    ram = Span(0x20000000, 4 * MIB)
    return Machine(name, 25_000_000, Span(0, 4 * MIB), ram, ram, arena, 0x40004000)


_PSRAM = Span(0x21000000, 16 * MIB)

CORES = {
    core.name: core
    for core in (
        Core(
            "cortex-m0plus",
            ("-mcpu=cortex-m0plus", "-mfloat-abi=soft"),
            "thumb-freestanding-eabi",
            "cortex_m0plus",
        ),
        Core(
            "cortex-m3",
            ("-mcpu=cortex-m3", "-mfloat-abi=soft"),
            "thumb-freestanding-eabi",
            "cortex_m3",
            machine=_mps2("mps2-an385", _PSRAM),
        ),
        Core(
            "cortex-m4",
            ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
            "thumb-freestanding-eabihf",
            "cortex_m4+vfp4d16sp",
            KernelSet.CORTEX_M_DSP,
            _mps2("mps2-an386", _PSRAM),
        ),
        Core(
            "cortex-m7",
            ("-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
            "thumb-freestanding-eabihf",
            "cortex_m7+fp_armv8d16",
            KernelSet.CORTEX_M_DSP,
            _mps2("mps2-an500", Span(0x60000000, 16 * MIB)),
        ),
        Core(
            "cortex-m33",
            ("-mcpu=cortex-m33", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
            "thumb-freestanding-eabihf",
            "cortex_m33+dsp+fp_armv8d16sp",
            KernelSet.CORTEX_M_DSP,
            Machine(
                "mps2-an505",
                20_000_000,
                Span(0x10000000, 4 * MIB),
                Span(0x38000000, 4 * MIB),
                Span(0x38000000, 4 * MIB),
                Span(0x80000000, 16 * MIB),
                0x50200000,
            ),
        ),
        Core(
            "cortex-m55",
            ("-mcpu=cortex-m55", "-mfloat-abi=hard"),
            "thumb-freestanding-eabihf",
            "cortex_m55+mve_fp+fp_armv8d16",
            KernelSet.CORTEX_M_MVE,
            Machine(
                "mps3-an547",
                32_000_000,
                Span(0x11000000, 1 * MIB),
                Span(0x31000000, 2 * MIB),
                Span(0x30000000, 512 * KIB),
                Span(0x31000000, 2 * MIB),
                0x59303000,
                vectors=Span(0x10000000, 512 * KIB),
            ),
        ),
    )
}
"""Every core that firmware can be built for."""


def kernels_of(profile: DeviceProfile) -> KernelSet:
    """Return the kernels that firmware for a device is planned for."""
    core = CORES.get(profile.toolchain)
    return core.kernels if core else KernelSet.PORTABLE
