"""The bootloader in the ROM of STM32 microcontrollers, over a UART.

Source: STMicroelectronics, application note AN3155 revision 20, "USART protocol used in the STM32
bootloader". 8 data bits, even parity. Every message ends with the exclusive-or of its bytes (of a
single byte: with its complement) and is answered by ACK or NACK.

An image is written so that a board which loses power half-way never starts a part of it: the
sector with the vector table is erased first, everything else is written and read back, and the
first unit of the image (initial stack pointer and reset vector) is written last.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from typing import TypeVar

from edgekit.deploy.serial.flash_map import FlashMap
from edgekit.deploy.serial.ports import Port
from edgekit.deploy.serial.reset import ResetWiring
from edgekit.errors import DeviceError, FlashError, LinkTimeoutError

SYNC = 0x7F
ACK = 0x79
NACK = 0x1F
GET = 0x00
GET_ID = 0x02
READ = 0x11
GO = 0x21
WRITE = 0x31
EXTENDED_ERASE = 0x44
BLOCK_BYTES = 256

ANSWER_S = 1.0
ERASE_S_PER_BYTE = 2.5e-5
"""A sector of 128 KiB takes up to 2 s (STM32F405 data sheet, table 40); half as much again."""
RETRIES = 8
CONNECT_TRIES = 5
PASSES = 4
RESYNCHRONISE_S = 0.02
"""For the answer to one byte; adapters at USB hold bytes back for up to 16 ms."""
SILENCE_S = 10.0
"""A board that answers nothing for so long, whatever it was doing, is given up."""

Progress = Callable[[int, int], None]
T = TypeVar("T")


class RefusedError(FlashError):
    """The bootloader answered NACK, or something that is no answer."""


class SilentBoardError(LinkTimeoutError):
    """The board has stopped answering; repeating a command does not help."""


@dataclass(slots=True)
class Bootloader:
    """A board whose ROM bootloader listens.

    Parameters
    ----------
    port : Port
        Open, even parity.
    wiring : ResetWiring
        How the board is brought back into the bootloader when the line is out of step.
    answer_s : float
        How long to wait for a short answer.
    """

    port: Port
    wiring: ResetWiring
    answer_s: float = ANSWER_S
    commands: frozenset[int] = field(default=frozenset(), init=False)

    def connect(self) -> None:
        """Bring the board into its bootloader and learn what it understands.

        Raises
        ------
        LinkTimeoutError
            If nothing answers.
        """
        for _ in range(CONNECT_TRIES):
            self.wiring.enter_bootloader(self.port)
            self.port.reset_input_buffer()
            # Out of a manual reset it may be in the middle of a command: NACK is a sign of life.
            self.port.write(bytes([SYNC]))
            if self._read(1) in (bytes([ACK]), bytes([NACK])):
                break
        else:
            raise LinkTimeoutError(
                "the first byte (is the bootloader running, is the parity of the line even?)",
                CONNECT_TRIES * self.answer_s,
            )
        self.commands = frozenset(self._retried("Get", lambda: self._list(GET))[1:])

    def product_id(self) -> int:
        """Return the product identifier (AN2606 lists them)."""
        return int.from_bytes(self._retried("GetID", lambda: self._list(GET_ID)), "big")

    def read(self, address: int, size_bytes: int) -> bytes:
        """Return up to 256 bytes of memory."""
        return self._retried("Read", lambda: self._read_block(address, size_bytes))

    def write(self, address: int, data: bytes) -> None:
        """Program up to 256 bytes, a multiple of 4, into erased flash."""
        try:
            self._write_block(address, data)
        except (LinkTimeoutError, RefusedError):
            self._resynchronise()
            self._retried("Write", lambda: self._write_if_missing(address, data))

    def erase(self, flash: FlashMap, sector: int) -> None:
        """Erase one sector."""
        self._retried("Erase", lambda: self._erase_sector(flash, sector))

    def start(self, address: int) -> None:
        """Leave the bootloader and run what lies at an address."""
        self._retried("Go", lambda: self._command(GO, self._address(address)))

    def _read_block(self, address: int, size_bytes: int) -> bytes:
        count = size_bytes - 1
        self._command(READ, self._address(address), bytes([count, count ^ 0xFF]))
        return self._exactly(size_bytes)

    def _write_block(self, address: int, data: bytes) -> None:
        message = bytes([len(data) - 1]) + data
        self._command(WRITE, self._address(address), message + checksum(message))

    def _write_if_missing(self, address: int, data: bytes) -> None:
        # Perhaps only the answer was lost; flash with error correction takes no second write.
        if self._read_block(address, len(data)) != data:
            self._write_block(address, data)

    def _erase_sector(self, flash: FlashMap, sector: int) -> None:
        message = struct.pack(">HH", 0, sector)
        wait_s = self.answer_s + flash.sectors[sector] * ERASE_S_PER_BYTE
        self._command(EXTENDED_ERASE, message + checksum(message), wait_s=wait_s)

    def _list(self, command: int) -> bytes:
        self._command(command)
        data = self._exactly(self._exactly(1)[0] + 1)
        self._acknowledged(self.answer_s)
        return data

    @staticmethod
    def _address(address: int) -> bytes:
        data = struct.pack(">I", address)
        return data + checksum(data)

    def _command(self, command: int, *parts: bytes, wait_s: float = 0.0) -> None:
        """Send a command and its parts; each is acknowledged, the last one after ``wait_s``."""
        for index, part in enumerate((bytes([command, command ^ 0xFF]), *parts)):
            self.port.write(part)
            self._acknowledged(wait_s if wait_s and index == len(parts) else self.answer_s)

    def _acknowledged(self, wait_s: float) -> None:
        answer = self._read(1, wait_s)
        if not answer:
            raise LinkTimeoutError("a command of the bootloader", wait_s)
        if answer[0] != ACK:
            raise RefusedError(
                "the bootloader refuses a command: flash is protected, or the line is bad",
                code=answer[0],
            )

    def _exactly(self, size_bytes: int) -> bytes:
        data = self._read(size_bytes)
        if len(data) != size_bytes:
            raise LinkTimeoutError("a command of the bootloader", self.answer_s)
        return data

    def _read(self, size_bytes: int, wait_s: float | None = None) -> bytes:
        # 11 bits a byte at the slowest usual rate: the time to wait grows with the size.
        self.port.timeout = (wait_s or self.answer_s) + size_bytes * 11 / 9600
        return self.port.read(size_bytes)

    def _retried(self, name: str, action: Callable[[], T]) -> T:
        failure: DeviceError = LinkTimeoutError(name, self.answer_s)
        for _ in range(RETRIES):
            try:
                return action()
            except SilentBoardError:
                raise
            except (LinkTimeoutError, RefusedError) as error:
                failure = error
                self._resynchronise()
        raise failure

    def _resynchronise(self) -> None:
        """Bring both ends back to the start of a command.

        A bootloader that still waits for the rest of a message gets bytes until it refuses them;
        what that may have written by chance is found when the image is read back.

        Raises
        ------
        SilentBoardError
            If it answers none of them.
        """
        self.port.reset_input_buffer()
        has_answered = False
        for _ in range(BLOCK_BYTES + 8):
            self.port.write(bytes([SYNC]))
            self.port.timeout = RESYNCHRONISE_S
            answer = self.port.read(1)
            if answer == bytes([NACK]):
                break
            has_answered = has_answered or bool(answer)
        else:
            if not has_answered:
                raise SilentBoardError("anything", SILENCE_S)
        self.port.reset_input_buffer()


def checksum(data: bytes) -> bytes:
    """Return the exclusive-or of all bytes, as one byte."""
    return bytes([reduce(xor, data)])


def program(
    loader: Bootloader, flash: FlashMap, address: int, image: bytes, progress: Progress
) -> None:
    """Write an image, read it back, and put its first unit in place last.

    Parameters
    ----------
    loader : Bootloader
        Connected.
    flash : FlashMap
    address : int
        Where the image begins: with a sector.
    image : bytes
    progress : callable
        Told how many bytes of how many are done; each counts twice, written and read back.

    Raises
    ------
    FlashError
        If what is read back differs after several attempts.
    LinkTimeoutError
        If the board stops answering.
    MemoryBudgetError
        If the image is larger than the flash.
    """
    padded = image + b"\xff" * (-len(image) % flash.unit_bytes)
    head, body = padded[: flash.unit_bytes], padded[flash.unit_bytes :]
    body_address = address + len(head)
    for sector in flash.sectors_of(address, len(padded)):
        loader.erase(flash, sector)
    for _ in range(PASSES):
        _write_missing(loader, body_address, body, progress)
        wrong = _first_difference(loader, body_address, body, progress)
        if wrong is None and loader.read(address, len(head)).strip(b"\xff") == b"":
            break
        # A block was spoilt on the way: bits cannot be set again, so that everything begins anew.
        for sector in flash.sectors_of(address, len(padded)):
            loader.erase(flash, sector)
    else:
        raise FlashError("what was read back differs from the image", address=wrong or address)
    loader.write(address, head)
    if loader.read(address, len(head)) != head:
        raise FlashError("what was read back differs from the image", address=address)


def _write_missing(loader: Bootloader, address: int, data: bytes, progress: Progress) -> None:
    for offset in range(0, len(data), BLOCK_BYTES):
        block = data[offset : offset + BLOCK_BYTES]
        loader.write(address + offset, block)
        progress(offset + len(block), 2 * len(data))


def _first_difference(
    loader: Bootloader, address: int, data: bytes, progress: Progress
) -> int | None:
    for offset in range(0, len(data), BLOCK_BYTES):
        block = data[offset : offset + BLOCK_BYTES]
        for _ in range(RETRIES):
            if loader.read(address + offset, len(block)) == block:
                break
        else:
            return address + offset
        progress(len(data) + offset + len(block), 2 * len(data))
    return None
