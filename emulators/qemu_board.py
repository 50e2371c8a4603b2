"""A microcontroller under QEMU: boots a firmware image, hands it inputs, takes outputs and counts.

Virtual time advances by 64 ns an instruction (``-icount shift=6``), so that the SysTick counter,
which the firmware reads, gives the exact number of instructions, the same at every run. Inputs and
outputs are files of the host, read and written by semihosting.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.deploy.cores import Core, Machine
from edgekit.errors import EmulatorError, ExecutionError

QEMU = "qemu-system-arm"
INSTALL_HINT = "install it with: apt-get install qemu-system-arm"

TIMEOUT_S = 300.0
"""An emulated run that takes longer has hung."""

LONGEST_PERIOD = 1 << 24
"""SysTick ticks between interrupts that disturb the count least."""

SHORT_PERIOD = 1009
"""Interrupts so often, and out of step with loops, that they meet the stack at every depth."""

_HEADER = struct.Struct("<2I")
_REPORT = struct.Struct("<4I4Q")
_MAGIC = 0x544B4745
_FAULT_STATUS = 99


@dataclass(frozen=True, slots=True)
class BoardRun:
    """What came of a boot.

    Parameters
    ----------
    outputs : tuple of tuple of bytes
        For each run, the bytes of each output.
    instructions : float
        Of one inference, the mean of all runs.
    instructions_least, instructions_most : float
    stack_used_bytes : int
        Deepest use of the stack, from its top.
    """

    outputs: tuple[tuple[bytes, ...], ...]
    instructions: float
    instructions_least: float
    instructions_most: float
    stack_used_bytes: int


def has_qemu() -> bool:
    """Whether QEMU for Arm is on the path."""
    return shutil.which(QEMU) is not None


def machine_of(core: Core) -> Machine:
    """Return the machine that has a core (EmulatorError where QEMU has none)."""
    if core.machine is None:
        raise EmulatorError(f"QEMU has no machine with a {core.name}")
    return core.machine


def run_image(
    elf: Path,
    core: Core,
    inputs: Sequence[Sequence[bytes]],
    output_sizes_bytes: Sequence[int],
    *,
    period: int = LONGEST_PERIOD,
    extra: Sequence[str] = (),
    timeout_s: float = TIMEOUT_S,
) -> BoardRun:
    """Boot an image of the ``bench`` program once and run the model on every input.

    Parameters
    ----------
    elf : Path
    core : Core
    inputs : sequence of sequence of bytes
        For each run, the bytes of each input.
    output_sizes_bytes : sequence of int
        Bytes of each output.
    period : int
        SysTick ticks from one interrupt to the next.
    extra : sequence of str
        Further options of QEMU.
    timeout_s : float

    Raises
    ------
    EmulatorError
        If QEMU is missing or does not end in time.
    ExecutionError
        If the firmware faults, or a kernel refuses its arguments.
    """
    machine = machine_of(core)
    program = shutil.which(QEMU)
    if program is None:
        raise EmulatorError(f"{QEMU} is not installed\n{INSTALL_HINT}")
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        folder = Path(name)
        data = b"".join(part for run in inputs for part in run)
        (folder / "input.bin").write_bytes(_HEADER.pack(len(inputs), period) + data)
        command = [program, "-M", machine.name, "-kernel", str(elf.resolve()), "-display", "none"]
        command += ["-monitor", "none", "-serial", "none", "-icount", "shift=6"]
        command += ["-semihosting-config", "enable=on,target=native", *extra]
        _run(command, folder, timeout_s)
        return _result(folder, machine, len(inputs), output_sizes_bytes)


def _run(command: Sequence[str], folder: Path, timeout_s: float) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EmulatorError(f"the firmware did not end within {timeout_s:g} s") from error
    if (folder / "report.bin").exists():
        return
    said = " ".join(done.stderr.split())[:300]
    if done.returncode == _FAULT_STATUS:
        raise ExecutionError(f"the firmware stopped: {said}")
    raise EmulatorError(f"{QEMU} ended with status {done.returncode}: {said}")


def _result(
    folder: Path, machine: Machine, runs: int, output_sizes_bytes: Sequence[int]
) -> BoardRun:
    report = (folder / "report.bin").read_bytes()
    if len(report) != _REPORT.size:
        raise EmulatorError(f"the firmware's report has {len(report)} bytes, not {_REPORT.size}")
    magic, status, done, stack, total, least, most, _ = _REPORT.unpack(report)
    if status:
        raise ExecutionError("a kernel refused its arguments", status=status)
    if magic != _MAGIC or done != runs:
        raise EmulatorError(f"the firmware did {done} of {runs} runs")
    output = (folder / "output.bin").read_bytes()
    if len(output) != runs * sum(output_sizes_bytes):
        raise EmulatorError(f"the firmware wrote {len(output)} bytes of outputs")
    return BoardRun(
        outputs=split_outputs(output, output_sizes_bytes),
        instructions=machine.instructions(total) / max(runs, 1),
        instructions_least=machine.instructions(least),
        instructions_most=machine.instructions(most),
        stack_used_bytes=stack,
    )


def split_outputs(data: bytes, sizes_bytes: Sequence[int]) -> tuple[tuple[bytes, ...], ...]:
    """Cut what the firmware wrote into runs and outputs."""
    found: list[tuple[bytes, ...]] = []
    at = 0
    while at < len(data):
        parts: list[bytes] = []
        for size in sizes_bytes:
            parts.append(data[at : at + size])
            at += size
        found.append(tuple(parts))
    return tuple(found)
