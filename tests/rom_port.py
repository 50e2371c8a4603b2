"""The emulated ROM bootloader as a port, without a socket between: fast, and with faults."""

from __future__ import annotations

from edgekit.emulators.nor_flash import NorFlash, PowerLostError
from edgekit.emulators.rom_bootloader import RomBootloader
from edgekit.emulators.serial_board import Noise


class RomPort:
    """What arrives is there at once; what has not arrived never will.

    ``waited_s`` adds up the time that a client spends on waiting for nothing. ``silent_after`` is
    the number of bytes to come until the board hangs.
    """

    def __init__(
        self,
        flash: NorFlash,
        *,
        noise: Noise | None = None,
        flip_at_write: int = -1,
        silent_after: int | None = None,
    ) -> None:
        self.timeout: float | None = 1.0
        self.parity = "E"
        self.dtr = self.rts = False
        self.has_lost_power = False
        self.waited_s = 0.0
        self.silent_after = silent_after
        self._flash = flash
        self._flip_at_write = flip_at_write
        self._rom = RomBootloader(flash, lambda address: None)
        self._noise = noise or Noise()
        self._arrived = b""

    def read(self, size: int = 1) -> bytes:
        data, self._arrived = self._arrived[:size], self._arrived[size:]
        if len(data) < size:
            self.waited_s += self.timeout or 0.0
        return data

    def write(self, data: bytes, /) -> int | None:
        if self.silent_after is not None:
            self.silent_after -= len(data)
        if self.has_lost_power or (self.silent_after or 0) < 0:
            return len(data)
        try:
            answer = self._rom.feed(self._noise.spoil(data))
        except PowerLostError:
            self.has_lost_power = True
            return len(data)
        self._arrived += self._noise.spoil(answer)
        if len(data) > 200:
            self._flip_at_write -= 1
            if self._flip_at_write == 0:
                self._flash.flip(100, 3)
        return len(data)

    def reset_input_buffer(self) -> None:
        self._arrived = b""
