"""The UART bootloader in the ROM of STM32 microcontrollers, as a state machine over bytes.

Written from AN3155 revision 20, apart from the client (:mod:`edgekit.deploy.serial.an3155`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from edgekit.emulators.nor_flash import NorFlash

ACK, NACK = b"\x79", b"\x1f"
COMMANDS = bytes([0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44])
VERSION = 0x31

PRODUCT_IDS = {
    "stm32f405": 0x413,
    "stm32f746": 0x449,
    "stm32h743": 0x450,
    "stm32h7a3": 0x480,
    "stm32l4r5": 0x470,
    "stm32u575": 0x482,
}
"""AN2606, "STM32 microcontroller system memory boot mode", table of device identifiers."""

Machine = Generator[None, int, None]


@dataclass(slots=True)
class RomBootloader:
    """A bootloader that waits for its first byte.

    Parameters
    ----------
    flash : NorFlash
    on_go : callable
        Called with the address that is to be run.
    """

    flash: NorFlash
    on_go: Callable[[int], None]
    _answers: bytearray = field(default_factory=bytearray, init=False)
    _machine: Machine | None = field(default=None, init=False)

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the line and return what is answered."""
        if self._machine is None:
            self._machine = self._run()
            next(self._machine)
        for byte in data:
            self._machine.send(byte)
        answers = bytes(self._answers)
        self._answers.clear()
        return answers

    def _run(self) -> Machine:
        while (yield) != 0x7F:
            pass
        self._answers += ACK
        handlers = {0x00: self._get, 0x01: self._version, 0x02: self._id}
        with_data = {0x11: self._read, 0x21: self._go, 0x31: self._write, 0x44: self._erase}
        while True:
            command = yield
            complement = yield
            if command ^ complement != 0xFF or command not in COMMANDS:
                self._answers += NACK
                continue
            self._answers += ACK
            if command in handlers:
                handlers[command]()
            else:
                yield from with_data[command]()

    def _get(self) -> None:
        self._answers += bytes([len(COMMANDS), VERSION]) + COMMANDS + ACK

    def _version(self) -> None:
        self._answers += bytes([VERSION, 0, 0]) + ACK

    def _id(self) -> None:
        product = PRODUCT_IDS.get(self.flash.map.name, 0x413)
        self._answers += b"\x01" + product.to_bytes(2, "big") + ACK

    def _take(self, count: int) -> Generator[None, int, bytes | None]:
        """Return so many bytes, or None where the exclusive-or that follows is wrong."""
        data = bytearray()
        total = 0
        for _ in range(count + 1):
            byte = yield
            data.append(byte)
            total ^= byte
        return None if total else bytes(data[:-1])

    def _take_address(self) -> Generator[None, int, int | None]:
        data = yield from self._take(4)
        if data is None:
            self._answers += NACK
            return None
        offset = int.from_bytes(data, "big") - self.flash.map.address
        if not 0 <= offset < self.flash.map.size_bytes:
            self._answers += NACK
            return None
        self._answers += ACK
        return offset

    def _read(self) -> Machine:
        offset = yield from self._take_address()
        if offset is None:
            return
        count = yield
        complement = yield
        if count ^ complement != 0xFF or offset + count >= self.flash.map.size_bytes:
            self._answers += NACK
            return
        self._answers += ACK + self.flash.data[offset : offset + count + 1]

    def _write(self) -> Machine:
        offset = yield from self._take_address()
        if offset is None:
            return
        count = yield
        data = yield from self._rest_of_write(count)
        if data is None or offset + len(data) > self.flash.map.size_bytes or offset % 4:
            self._answers += NACK
            return
        self.flash.program(offset, data)
        self._answers += ACK

    def _rest_of_write(self, count: int) -> Generator[None, int, bytes | None]:
        data = bytearray()
        total = count
        for _ in range(count + 2):
            byte = yield
            data.append(byte)
            total ^= byte
        return None if total or (count + 1) % 4 else bytes(data[:-1])

    def _erase(self) -> Machine:
        high = yield
        low = yield
        count = (high << 8 | low) + 1
        total = high ^ low
        if high == 0xFF or count > len(self.flash.map.sectors):
            # Mass erase and nonsense alike: the checksum is taken, nothing is erased.
            yield
            self._answers += NACK
            return
        numbers = []
        for _ in range(count):
            high = yield
            low = yield
            total ^= high ^ low
            numbers.append(high << 8 | low)
        total ^= yield
        if total or any(number >= len(self.flash.map.sectors) for number in numbers):
            self._answers += NACK
            return
        for number in numbers:
            self.flash.erase(number)
        self._answers += ACK

    def _go(self) -> Machine:
        offset = yield from self._take_address()
        if offset is not None:
            self.on_go(self.flash.map.address + offset)
