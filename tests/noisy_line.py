"""A port whose bytes are changed, lost and repeated on their way, in both directions."""

from __future__ import annotations

import random

from edgekit.deploy.serial.ports import Port
from edgekit.emulators.serial_board import Noise

KINDS = ("changed", "dropped", "doubled")


def noise_of(kind: str, rate: float, seed: int) -> Noise:
    """Return noise of one kind."""
    return Noise(**{kind: rate}, random=random.Random(seed))


class NoisyLine:
    """Another port behind a bad cable."""

    def __init__(self, port: Port, noise: Noise) -> None:
        self._port = port
        self._noise = noise
        self.dtr = self.rts = False
        self.parity = "N"

    @property
    def timeout(self) -> float | None:
        return self._port.timeout

    @timeout.setter
    def timeout(self, value: float | None) -> None:
        self._port.timeout = value

    def read(self, size: int = 1) -> bytes:
        return self._noise.spoil(self._port.read(size))

    def write(self, data: bytes, /) -> int | None:
        self._port.write(self._noise.spoil(data))
        return len(data)

    def reset_input_buffer(self) -> None:
        self._port.reset_input_buffer()
