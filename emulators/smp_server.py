"""A board that takes images by SMP over a serial line, as MCUboot's serial recovery does.

The parts of the protocol that an upload needs: parameters, upload with SHA-256 and continuation,
state, confirmation, restart. Framing and CBOR are those of the ``smp`` library.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgekit.emulators.nor_flash import NorFlash
from edgekit.errors import MissingDependencyError

BUFFER_BYTES = 512
INVALID, UNSUPPORTED = 3, 8


@dataclass(slots=True)
class SmpServer:
    """A bootloader in serial recovery.

    Parameters
    ----------
    flash : NorFlash
        Images go to its begin.
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

    def _upload(self, body: dict[str, Any]) -> dict[str, Any]:
        offset, data = body.get("off", -1), body.get("data", b"")
        if offset == 0:
            size, digest = body.get("len", 0), body.get("sha", b"")
            if not 0 < size <= self.flash.map.size_bytes:
                return {"rc": INVALID}
            if digest and digest == self._digest and self._offset:
                return {"off": self._offset}
            self._digest, self._size, self._offset = digest, size, 0
            self.confirmed = False
            for sector in self.flash.map.sectors_of(self.flash.map.address, size):
                self.flash.erase(sector)
        if offset != self._offset or offset + len(data) > self._size:
            return {"off": self._offset}
        self._program(offset, data)
        self._offset += len(data)
        if self._offset < self._size:
            return {"off": self._offset}
        return {"off": self._offset, "match": self._found_digest() == self._digest}

    def _program(self, offset: int, data: bytes) -> None:
        """Program what has come; the units at both ends may hold other bytes already."""
        unit = self.flash.map.unit_bytes
        before = offset % unit
        padded = b"\xff" * before + data
        self.flash.program(offset - before, padded + b"\xff" * (-len(padded) % unit))

    def is_complete(self) -> bool:
        """Whether flash holds the image whose SHA-256 came with it."""
        return bool(self._size) and self._found_digest() == self._digest

    def image(self) -> bytes:
        """Return what was uploaded."""
        return bytes(self.flash.data[: self._size])

    def _found_digest(self) -> bytes:
        return hashlib.sha256(self.flash.data[: self._size]).digest()

    def _states(self) -> dict[str, Any]:
        return {
            "images": [
                {
                    "slot": 0,
                    "version": "0.0.0",
                    "hash": self._found_digest(),
                    "bootable": self.is_complete(),
                    "confirmed": self.confirmed,
                    "active": True,
                }
            ]
        }
