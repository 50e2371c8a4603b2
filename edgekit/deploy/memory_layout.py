"""Where firmware lies: the memories of a device, on the board or on an emulated machine.

A device has one memory for constants and code, one for the arena, and one for stack and static
data, which is the same as the arena's or, where the profile reserves room elsewhere, another one.
On an emulated machine the same memories get other addresses; their lengths stay the device's.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from string import Template

from edgekit.deploy.cores import Machine, Span
from edgekit.errors import EmulatorError, ProfileError
from edgekit.profiles import DeviceProfile, Memory


@dataclass(frozen=True, slots=True)
class MemoryLayout:
    """Addresses and lengths that firmware is linked to.

    Parameters
    ----------
    device : str
    flash, ram : Span
        Code and constants; stack and static data.
    arena : Span or None
        None where the arena lies in ``ram``.
    vectors : Span or None
        None where the vector table is at the begin of ``flash``.
    boot : Span or None
        What the boot ROM looks for, where it is a range of its own before ``flash``.
    """

    device: str
    flash: Span
    ram: Span
    arena: Span | None = None
    vectors: Span | None = None
    boot: Span | None = None

    def linker_script(self, stack_bytes: int) -> str:
        """Return the linker script, with so many bytes for the stack."""
        template = resources.files("edgekit") / "csrc" / "firmware" / "link.ld.in"
        arena = self.arena or Span(self.ram.address, 0)
        vectors = self.vectors or Span(self.flash.address, 0)
        boot = self.boot or Span(self.flash.address, 0)
        return Template(template.read_text()).substitute(
            DEVICE=self.device,
            FLASH_ORIGIN=hex(self.flash.address),
            FLASH_LENGTH=self.flash.size_bytes,
            RAM_ORIGIN=hex(self.ram.address),
            RAM_LENGTH=self.ram.size_bytes,
            ARENA_ORIGIN=hex(arena.address),
            ARENA_LENGTH=arena.size_bytes,
            ARENA_REGION="ARENA" if self.arena else "RAM",
            VECTORS_ORIGIN=hex(vectors.address),
            VECTORS_LENGTH=vectors.size_bytes,
            VECTORS_REGION="VECTORS" if self.vectors else "FLASH",
            BOOT_ORIGIN=hex(boot.address),
            BOOT_LENGTH=boot.size_bytes,
            BOOT_REGION="BOOT" if self.boot else "FLASH",
            STACK_BYTES=stack_bytes,
        )


def board_layout(profile: DeviceProfile) -> MemoryLayout:
    """Return where firmware lies on the board.

    Raises
    ------
    ProfileError
        If the profile does not say where its memories are mapped.
    """
    flash, ram, data = _memories(profile)
    arena = None if data is ram else _span(profile, ram)
    return MemoryLayout(profile.name, _span(profile, flash), _span(profile, data), arena)


def machine_layout(profile: DeviceProfile, machine: Machine) -> MemoryLayout:
    """Return where firmware lies on an emulated machine, with the lengths of the device.

    Raises
    ------
    EmulatorError
        If a memory of the device is larger than what the machine has for it.
    """
    flash, ram, data = _memories(profile)
    if data is ram:
        spans = {flash.name: machine.flash, ram.name: machine.ram}
    else:
        spans = {flash.name: machine.flash, ram.name: machine.arena, data.name: machine.data}
    fitted = {
        name: Span(span.address, min(span.size_bytes, profile.memory(name).capacity_bytes.integer))
        for name, span in spans.items()
    }
    for memory in (ram, data):
        if fitted[memory.name].size_bytes < memory.capacity_bytes.integer:
            raise EmulatorError(
                f"{profile.name}: {memory.name} has {memory.capacity_bytes.integer:,} bytes, "
                f"QEMU's {machine.name} only {fitted[memory.name].size_bytes:,}"
            )
    return MemoryLayout(
        profile.name,
        fitted[flash.name],
        fitted[data.name],
        None if data is ram else fitted[ram.name],
        machine.vectors,
    )


def _memories(profile: DeviceProfile) -> tuple[Memory, Memory, Memory]:
    """Return the memories of constants, of the arena, and of stack and static data."""
    if profile.flash is None:
        raise ProfileError(f"{profile.name} has no memory for constants", key="constants_memory")
    reserved = [
        memory
        for memory in profile.memories
        if memory.kind == "ram" and memory.reserved_bytes and memory.reserved_bytes.value > 0
    ]
    ram = profile.ram
    data = ram if ram in reserved or not reserved else reserved[0]
    return profile.flash, ram, data


def _span(profile: DeviceProfile, memory: Memory) -> Span:
    if memory.address is None:
        raise ProfileError(
            f"{profile.name}: firmware cannot be linked without the address",
            key=f"memories[{memory.name}].address",
        )
    return Span(memory.address.integer, memory.capacity_bytes.integer)
