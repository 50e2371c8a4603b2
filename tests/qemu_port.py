"""The UART of a QEMU machine as a port, without a socket of ours between."""

from __future__ import annotations

import queue

from edgekit.emulators.serial_board import QemuUart


class QemuPort:
    """The UART of QEMU as a port."""

    def __init__(self, image: bytes, machine: str) -> None:
        self.timeout: float | None = 1.0
        self.dtr = self.rts = False
        self._arrived: queue.Queue[bytes] = queue.Queue()
        self._left = b""
        self.uart = QemuUart(image, self._arrived.put, machine)

    def read(self, size: int = 1) -> bytes:
        try:
            self._left = self._left or self._arrived.get(timeout=self.timeout or 0.001)
        except queue.Empty:
            return b""
        data, self._left = self._left[:size], self._left[size:]
        return data

    def write(self, data: bytes, /) -> int | None:
        self.uart.write(data)
        return len(data)

    def reset_input_buffer(self) -> None:
        self._left = b""
