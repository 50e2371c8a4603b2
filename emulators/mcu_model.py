"""Time and energy of firmware from its instructions: what QEMU does not model.

``cycles = instructions x cycles an instruction``, ``latency = cycles / clock`` and ``energy =
power x latency``. The power of a profile is ``supply x current a hertz x clock``: the core runs
behind a linear regulator, so that its current depends on the clock and not on the supply. Which
instructions they are is left out: over four networks that compute, move and wait in different
shares, the published power of one board differs by 1.5 %.

The constants and their error are in :mod:`edgekit.emulators.mcu_rows`.
"""

from __future__ import annotations

from edgekit.errors import EmulatorError
from edgekit.estimate import idle_power_w
from edgekit.profiles import DeviceProfile, Processor


def latency_of(profile: DeviceProfile, instructions: float) -> float:
    """Return the modelled time of so many instructions, in seconds."""
    processor = processor_of(profile)
    cycles = processor.cycles_per_instruction
    return instructions * (cycles.value if cycles else 1.0) / processor.clock_hz.value


def energy_of(profile: DeviceProfile, latency_s: float) -> float:
    """Return the modelled energy of so many busy seconds, in joules."""
    power = processor_of(profile).active_power_w
    return ((power.value if power else 0.0) + idle_power_w(profile)) * latency_s


def processor_of(profile: DeviceProfile) -> Processor:
    """Return the core that firmware runs on.

    Raises
    ------
    EmulatorError
        If the device has none.
    """
    for processor in profile.processors:
        if processor.kind == "mcu" or processor.core == profile.toolchain:
            return processor
    raise EmulatorError(f"{profile.name} has no microcontroller core")
