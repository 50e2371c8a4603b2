"""How the flash of a board is divided: sectors to erase, units to program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.errors import DeviceError, MemoryBudgetError, ProfileError
from edgekit.profiles import DeviceProfile

KIB = 1024

BOOTLOADER_BYTES = 64 * KIB
"""Left to a bootloader in flash, MCUboot, whose first slot lies behind it."""

_MIXED_SECTORS: Mapping[str, tuple[int, ...]] = {
    "stm32f405": (*[16 * KIB] * 4, 64 * KIB, *[128 * KIB] * 7),
    "stm32f746": (*[32 * KIB] * 4, 128 * KIB, *[256 * KIB] * 3),
}
"""Sectors that differ in size: RM0090, table 5 (STM32F405); RM0385, table 3 (STM32F746)."""

_PROGRAM_UNITS: Mapping[str, int] = {"stm32h743": 32, "stm32h7a3": 16, "stm32u575": 16}
"""Bytes that are programmed at once: RM0433, RM0455, RM0456; 8 on the others."""


@dataclass(frozen=True, slots=True)
class FlashMap:
    """Flash of one board.

    Parameters
    ----------
    name : str
        The device, for messages.
    address : int
        Of the first byte.
    sectors : tuple of int
        Bytes of each.
    unit_bytes : int
        Bytes that are programmed at once.
    """

    name: str
    address: int
    sectors: tuple[int, ...]
    unit_bytes: int = 8

    @property
    def size_bytes(self) -> int:
        """Bytes of all sectors."""
        return sum(self.sectors)

    @property
    def slot_address(self) -> int:
        """Where an image for MCUboot goes: the first sector behind ``BOOTLOADER_BYTES``.

        Raises
        ------
        MemoryBudgetError
            If there is none.
        """
        for index in range(len(self.sectors)):
            start = self.sector_at(index).start
            if start >= BOOTLOADER_BYTES:
                return self.address + start
        raise MemoryBudgetError(
            required_bytes=BOOTLOADER_BYTES + 1,
            available_bytes=self.size_bytes,
            memory=f"flash of {self.name}",
        )

    def sector_at(self, index: int) -> range:
        """Return the offsets of a sector from the begin of the flash."""
        start = sum(self.sectors[:index])
        return range(start, start + self.sectors[index])

    def sectors_of(self, address: int, size_bytes: int) -> tuple[int, ...]:
        """Return the indices of the sectors that a range of addresses touches.

        Raises
        ------
        MemoryBudgetError
            If the range is larger than the flash.
        DeviceError
            If it begins elsewhere, or not with a sector.
        """
        start = address - self.address
        if not 0 <= start < self.size_bytes:
            raise DeviceError(
                f"the image begins at 0x{address:08x}, outside the flash of {self.name} "
                f"(0x{self.address:08x}, {self.size_bytes:,} bytes)"
            )
        if start + size_bytes > self.size_bytes:
            raise MemoryBudgetError(
                required_bytes=size_bytes,
                available_bytes=self.size_bytes - start,
                memory=f"flash of {self.name}",
            )
        touched = [
            index
            for index in range(len(self.sectors))
            if self.sector_at(index).start < start + size_bytes
            and self.sector_at(index).stop > start
        ]
        if touched and self.sector_at(touched[0]).start != start:
            raise DeviceError(f"the image begins at 0x{address:08x}, inside a sector of the flash")
        return tuple(touched)


def flash_map_of(profile: DeviceProfile) -> FlashMap:
    """Return the flash of a device.

    Raises
    ------
    ProfileError
        If the profile does not say where the flash lies or how large its sectors are.
    """
    flash = profile.flash
    if flash is None or flash.address is None or flash.sector_bytes is None:
        raise ProfileError(
            f"{profile.name}: flashing needs the address and the sector size of the flash",
            key="memories[flash]",
        )
    uniform = flash.sector_bytes.integer
    count = flash.capacity_bytes.integer // uniform
    sectors = _MIXED_SECTORS.get(profile.name, (uniform,) * count)
    unit_bytes = _PROGRAM_UNITS.get(profile.name, 8)
    return FlashMap(profile.name, flash.address.integer, sectors, unit_bytes)
