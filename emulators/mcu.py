"""The microcontroller emulator: real firmware under QEMU, counted to the instruction.

The generated C is compiled for the device's core and linked with the lengths of the device's
memories, so that what does not fit does not link; what is out of bounds faults. The outputs are
what the firmware computed. Instructions are exact and the same at every run. Time and energy are
modelled from them (:mod:`edgekit.emulators.mcu_model`): QEMU knows neither caches nor wait states
nor energy. :mod:`edgekit.emulators.mcu_rows` compares the model with published measurements.

Where QEMU or a cross compiler is missing, :func:`run_on_host` runs the same sources on this
computer: the same outputs, no instructions, and the plan's estimate of time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.converters.emitters.c_source import CModel, c_identifier, emit_c
from edgekit.deploy.cores import CORES, Core
from edgekit.deploy.firmware import FirmwareImage, build_image
from edgekit.deploy.host_program import build_host_program, run_host_program
from edgekit.deploy.memory_layout import machine_layout
from edgekit.deploy.toolchain import find_toolchain
from edgekit.dtypes import Array, from_device_bytes, to_device_bytes
from edgekit.emulators import mcu_rows
from edgekit.emulators.mcu_model import energy_of, latency_of
from edgekit.emulators.qemu_board import (
    LONGEST_PERIOD,
    BoardRun,
    has_qemu,
    machine_of,
    run_image,
    split_outputs,
)
from edgekit.emulators.validation import ValidationRow
from edgekit.errors import EmulatorError, UsageError
from edgekit.fit import check_fit
from edgekit.graph import Graph
from edgekit.package import Package
from edgekit.plan import Plan
from edgekit.profiles import DeviceProfile
from edgekit.runtime.trace import RunResult, Trace
from edgekit.selects import cases_taken

EMULATES = ("mcu",)
"""Kinds of device."""

Inputs = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class EmulatedBoard:
    """Firmware that is ready to boot.

    Parameters
    ----------
    graph : Graph
    profile : DeviceProfile
    core : Core
    model : CModel
    image : FirmwareImage
        Linked for the emulated machine.
    """

    graph: Graph
    profile: DeviceProfile
    core: Core
    model: CModel
    image: FirmwareImage

    def run(self, inputs: Sequence[Inputs], *, period: int = LONGEST_PERIOD) -> BoardRun:
        """Boot once and run every input (errors as :func:`run_image`)."""
        data = [input_bytes(self.graph, item) for item in inputs]
        return run_image(self.image.elf, self.core, data, self.model.outputs, period=period)


def core_of(profile: DeviceProfile) -> Core:
    """Return the core that firmware of a device is built for.

    Raises
    ------
    EmulatorError
        If edgekit does not build for the device or emulate it, with the reason.
    """
    note = profile.capabilities.note
    if profile.kind not in EMULATES or not profile.capabilities.emulate:
        reason = f": {note}" if note else ""
        raise EmulatorError(f"{profile.name} is not a device that is emulated{reason}")
    if profile.toolchain not in CORES:
        raise EmulatorError(f"{profile.name}: no compiler for {profile.toolchain!r}. {note}")
    return CORES[profile.toolchain]


def emulated_board(
    graph: Graph, plan: Plan, profile: DeviceProfile, directory: Path, *, program: str = "bench"
) -> EmulatedBoard:
    """Build the firmware of a planned model for the emulated device.

    Parameters
    ----------
    graph : Graph
        With static shapes and the data of its constants.
    plan : Plan
    profile : DeviceProfile
    directory : Path
        Receives sources, object files and the image.
    program : str
        What runs the model: ``bench`` feeds it from files, ``bare`` is what ``convert`` builds.

    Raises
    ------
    EmulatorError
        If the device cannot be emulated.
    MemoryBudgetError
        If the plan does not fit the device.
    ToolchainMissingError, BuildError
        If there is no compiler, or it refuses (a memory overflows).
    """
    core = core_of(profile)
    check_fit(plan)
    layout = machine_layout(profile, machine_of(core))
    model = emit_c(graph, plan, c_identifier(graph.name))
    image = build_image(
        model.files,
        core,
        layout,
        directory,
        program=program,
        uses_float=model.uses_float,
        kernels=model.kernels,
    )
    return EmulatedBoard(graph, profile, core, model, image)


def emulate_package(
    package: Package, plan: Plan, profile: DeviceProfile, inputs: Inputs
) -> RunResult:
    """Boot a package's model once on the emulated device; see :func:`emulate_firmware`."""
    return emulate_firmware(package.graph(), plan, profile, inputs)


def emulate_firmware(graph: Graph, plan: Plan, profile: DeviceProfile, inputs: Inputs) -> RunResult:
    """Run a model once on the emulated device.

    Returns
    -------
    RunResult
        Real outputs. The trace has exact instructions, modelled time and energy, and the memory
        of the firmware without what feeds it here. Where QEMU or a cross compiler is missing it is
        the host's run: no instructions, time and energy as the plan estimates them, and its
        ``executor`` says so.

    Raises
    ------
    EmulatorError
        If the device cannot be emulated.
    MemoryBudgetError
        If the plan does not fit the device.
    """
    core = core_of(profile)
    if not has_qemu() or find_toolchain() is None:
        return run_on_host(graph, plan, profile, inputs)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        run = emulated_board(graph, plan, profile, Path(name) / "bench").run([inputs])
        bare = emulated_board(graph, plan, profile, Path(name) / "bare", program="bare")
    latency_s = latency_of(profile, run.instructions)
    trace = Trace(
        kind="modelled",
        executor=f"QEMU {machine_of(core).name}",
        latency_s=latency_s,
        peak_bytes=memory_bytes(profile, plan, bare.image),
        energy_j=energy_of(profile, latency_s),
        instructions=round(run.instructions),
        cases=cases_taken(graph, plan, inputs),
    )
    return RunResult(output_arrays(graph, run.outputs[0]), trace)


def run_on_host(graph: Graph, plan: Plan, profile: DeviceProfile, inputs: Inputs) -> RunResult:
    """Run the generated C on this computer: the outputs of the device, and no instructions.

    Latency and energy in the trace are the plan's estimates.
    """
    check_fit(plan)
    model = emit_c(graph, plan, c_identifier(graph.name))
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        program = build_host_program(model.files, Path(name), kernels=model.kernels)
        data = run_host_program(program, [input_bytes(graph, inputs)])
    estimates = plan.estimates
    trace = Trace(
        kind="modelled",
        executor=f"generated C on this computer, not on {profile.name} (QEMU or compiler missing)",
        latency_s=estimates.latency_s if estimates else 0.0,
        peak_bytes={use.name: use.peak_bytes for use in plan.memories},
        energy_j=estimates.energy_j if estimates else None,
        cases=cases_taken(graph, plan, inputs),
    )
    return RunResult(output_arrays(graph, split_outputs(data, model.outputs)[0]), trace)


def memory_bytes(profile: DeviceProfile, plan: Plan, image: FirmwareImage) -> dict[str, int]:
    """Return what the image takes of each memory: constants and code, arena, data and stack."""
    constants = profile.constants_memory
    used = {profile.working_memory: image.arena_bytes, constants: image.flash_bytes}
    layout = machine_layout(profile, machine_of(core_of(profile)))
    if layout.arena is None:
        used[profile.working_memory] = image.ram_bytes
    return {use.name: used.get(use.name, use.peak_bytes) for use in plan.memories}


def input_bytes(graph: Graph, inputs: Inputs) -> list[bytes]:
    """Return the bytes of every input, in the model's order.

    Raises
    ------
    UsageError
        If an input is missing or has another shape or type.
    """
    parts: list[bytes] = []
    for name in graph.inputs:
        tensor = graph.tensors[name]
        array = inputs.get(name)
        if array is None:
            raise UsageError(f"no array for input {name}; inputs: {', '.join(graph.inputs)}")
        if tuple(array.shape) != tensor.static_shape or array.dtype != tensor.dtype.numpy:
            raise UsageError(
                f"input {name} is {array.dtype}{list(array.shape)}, the model takes "
                f"{tensor.dtype.value}{list(tensor.static_shape)}"
            )
        parts.append(to_device_bytes(array, tensor.dtype).tobytes())
    return parts


def output_arrays(graph: Graph, parts: Sequence[bytes]) -> dict[str, Array]:
    """Return the outputs of a run as arrays by name."""
    tensors = [graph.tensors[name] for name in graph.outputs]
    return {
        tensor.name: from_device_bytes(
            np.frombuffer(part, np.uint8), tensor.dtype, tensor.static_shape
        )
        for tensor, part in zip(tensors, parts, strict=True)
    }


def validation_rows() -> list[ValidationRow]:
    """Return every published row that this emulator claims."""
    return mcu_rows.published_rows()


def stated_error(profile: DeviceProfile) -> str:
    """Return what is known of the error of modelled time and energy on a device."""
    return mcu_rows.stated_error(profile)
