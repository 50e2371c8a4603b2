"""NOR flash as microcontrollers have it: erased to ones, programming only clears bits.

Power can be cut at any operation: a unit that was being programmed keeps its old content, and a
sector that was being erased is left half erased.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgekit.deploy.serial.flash_map import FlashMap
from edgekit.errors import EmulatorError


class PowerLostError(EmulatorError):
    """The emulated board has no power any more."""


@dataclass(slots=True)
class NorFlash:
    """Content of a flash.

    Parameters
    ----------
    map : FlashMap
    data : bytearray
        All ones where not given.
    operations : int
        Units programmed and KiB erased so far.
    cut_at : int or None
        Operation at which power is lost.
    """

    map: FlashMap
    data: bytearray = field(default_factory=bytearray)
    operations: int = 0
    cut_at: int | None = None

    def __post_init__(self) -> None:
        if not self.data:
            self.data = bytearray(b"\xff" * self.map.size_bytes)

    def program(self, offset: int, data: bytes) -> None:
        """Clear bits; each unit is one operation.

        Raises
        ------
        PowerLostError
            At the operation ``cut_at``.
        """
        for start in range(0, len(data), self.map.unit_bytes):
            self._spend()
            for index, byte in enumerate(data[start : start + self.map.unit_bytes]):
                self.data[offset + start + index] &= byte

    def erase(self, sector: int) -> None:
        """Set a sector to ones; each KiB is one operation (errors as :meth:`program`)."""
        span = self.map.sector_at(sector)
        for start in range(span.start, span.stop, 1024):
            self._spend()
            self.data[start : start + 1024] = b"\xff" * min(1024, span.stop - start)

    def flip(self, offset: int, bit: int) -> None:
        """Let one bit age: it reads as its opposite from now on."""
        self.data[offset] ^= 1 << bit

    def is_blank(self) -> bool:
        """Whether the first word, which the core loads into the stack pointer, is erased."""
        return self.data[:4] == b"\xff" * 4

    def _spend(self) -> None:
        if self.cut_at is not None and self.operations >= self.cut_at:
            raise PowerLostError("the emulated board lost its power")
        self.operations += 1
