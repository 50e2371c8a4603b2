"""A board that takes images by SMP over a serial line: MCUboot in serial recovery, one slot.

The parts of the protocol that an upload needs: parameters, upload with continuation, state,
confirmation, restart. Framing and CBOR are those of the ``smp`` library. What is not in flash is
forgotten with every restart: how far an upload had come, too.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgekit.deploy.serial import mcuboot
from edgekit.emulators.nor_flash import NorFlash
from edgekit.errors import FlashError, MissingDependencyError

BUFFER_BYTES = 512
INVALID, UNSUPPORTED = 3, 8


@dataclass(slots=True)
class SmpServer:
    """A bootloader in serial recovery.

    Parameters
    ----------
    flash : NorFlash
        Images go to its ``slot_address``.
    on_reset : callable
        Called when the board is to restart.
    """

    flash: NorFlash
    on_reset: Callable[[], None]
    confirmed: bool = False
    _line: bytearray = field(default_factory=bytearray)
    _message: bytearray = field(default_factory=bytearray)
    _length: int = 0
    _digest: bytes = b""
    _size: int = 0
    _offset: int = 0

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the line and return what is answered."""
        answers = b""
        for byte in data:
            self._line.append(byte)
            if byte == ord("\n"):
                answers += self._take_line(bytes(self._line))
                self._line.clear()
            elif len(self._line) > 2 * BUFFER_BYTES:
                self._line.clear()
        return answers

    def _take_line(self, line: bytes) -> bytes:
        start = line.rfind(b"\x06\x09")
        is_first = start >= 0
        if not is_first:
            start = line.rfind(b"\x04\x14")
        if start < 0:
            return b""
        try:
            part = base64.b64decode(line[start + 2 : -1], validate=True)
        except binascii.Error:
            self._length = 0
            return b""
        if is_first:
            if len(part) < 2:
                return b""
            self._length = int.from_bytes(part[:2], "big")
            self._message = bytearray(part[2:])
        else:
            self._message += part
        if not self._length or len(self._message) < self._length:
            return b""
        message = bytes(self._message[: self._length])
        self._length = 0
        if binascii.crc_hqx(message, 0) or len(message) < 10:
            return b""
        return self._answer(message[:-2])

    def _answer(self, message: bytes) -> bytes:
        try:
            import cbor2
            from smp import packet
        except ImportError as error:
            raise MissingDependencyError("serial", library="smp") from error
        first, flags, _, group, sequence, command = struct.unpack_from(">BBHHBB", message)
        operation = first & 7
        reply = cbor2.dumps(self._execute(operation, group, command, cbor2.loads(message[8:])))
        head = struct.pack(
            ">BBHHBB", first & ~7 | operation + 1, flags, len(reply), group, sequence, command
        )
        return b"".join(packet.encode(head + reply))

    def _execute(
        self, operation: int, group: int, command: int, body: dict[str, Any]
    ) -> dict[str, Any]:
        match (operation, group, command):
            case (0, 0, 6):  # read, OS group, parameters
                return {"buf_size": BUFFER_BYTES, "buf_count": 1}
            case (2, 0, 5):  # write, OS group, restart
                self.on_reset()
                return {}
            case (2, 1, 1):  # write, image group, upload
                return self._upload(body)
            case (0, 1, 0):  # read, image group, state
                return self._states()
            case (2, 1, 0):  # write, image group, state
                if body.get("hash") not in (None, self._found_digest()):
                    return {"rc": INVALID}
                self.confirmed = bool(body.get("confirm"))
                return self._states()
        return {"rc": UNSUPPORTED}

    @property
    def slot_offset(self) -> int:
        """Where the slot begins, from the begin of the flash."""
        return self.flash.map.slot_address - self.flash.map.address

    def program_address(self) -> int | None:
        """Return where the program in the slot begins; None where the image is not intact."""
        slot = self._slot()
        if not mcuboot.is_intact(slot):
            return None
        return self.flash.map.slot_address + mcuboot.program_offset(slot)

    def _upload(self, body: dict[str, Any]) -> dict[str, Any]:
        offset, data = body.get("off", -1), body.get("data", b"")
        if offset == 0:
            size, digest = body.get("len", 0), body.get("sha", b"")
            if not 0 < size <= self.flash.map.size_bytes - self.slot_offset:
                return {"rc": INVALID}
            if digest and digest == self._digest and self._offset:
                return {"off": self._offset}
            self._digest, self._size, self._offset = digest, size, 0
            self.confirmed = False
            for sector in self.flash.map.sectors_of(self.flash.map.slot_address, size):
                self.flash.erase(sector)
        if offset != self._offset or offset + len(data) > self._size:
            return {"off": self._offset}
        self._program(self.slot_offset + offset, data)
        self._offset += len(data)
        if self._offset < self._size:
            return {"off": self._offset}
        return {"off": self._offset, "match": mcuboot.is_intact(self._slot())}

    def _program(self, offset: int, data: bytes) -> None:
        """Program what has come; the units at both ends may hold other bytes already."""
        unit = self.flash.map.unit_bytes
        before = offset % unit
        padded = b"\xff" * before + data
        self.flash.program(offset - before, padded + b"\xff" * (-len(padded) % unit))

    def _slot(self) -> bytes:
        return bytes(self.flash.data[self.slot_offset :])

    def _found_digest(self) -> bytes | None:
        try:
            return mcuboot.recorded_digest(self._slot())
        except FlashError:
            return None

    def _states(self) -> dict[str, Any]:
        digest = self._found_digest()
        if digest is None:
            return {"images": []}
        return {
            "images": [
                {
                    "slot": 0,
                    "version": "0.0.0",
                    "hash": digest,
                    "bootable": mcuboot.is_intact(self._slot()),
                    "confirmed": self.confirmed,
                    "active": True,
                }
            ]
        }
