"""A bootloader that speaks SMP as a port, without a socket between: fast, and with faults."""

from __future__ import annotations

from edgekit.emulators.nor_flash import NorFlash, PowerLostError
from edgekit.emulators.serial_board import Noise
from edgekit.emulators.smp_server import SmpServer
from edgekit.errors import DeviceError


class SmpPort:
    """What arrives is there at once.

    A board without power takes its port along, as boards at USB do. ``silent_after`` is the number
    of bytes to come until the board hangs.
    """

    def __init__(
        self, flash: NorFlash, *, noise: Noise | None = None, silent_after: int | None = None
    ) -> None:
        self.timeout: float | None = 1.0
        self.parity = "N"
        self.dtr = self.rts = False
        self.has_lost_power = False
        self.server = SmpServer(flash, lambda: None)
        self._noise = noise or Noise()
        self._silent_after = silent_after
        self._arrived = b""

    def read(self, size: int = 1) -> bytes:
        if self.has_lost_power:
            raise DeviceError("the connection was lost")
        data, self._arrived = self._arrived[:size], self._arrived[size:]
        return data

    def write(self, data: bytes, /) -> int | None:
        if self._silent_after is not None:
            self._silent_after -= len(data)
            if self._silent_after < 0:
                return len(data)
        try:
            answer = self.server.feed(self._noise.spoil(data))
        except PowerLostError:
            self.has_lost_power = True
            return len(data)
        self._arrived += self._noise.spoil(answer)
        return len(data)

    def reset_input_buffer(self) -> None:
        self._arrived = b""
