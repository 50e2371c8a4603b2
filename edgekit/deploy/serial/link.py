"""Requests and answers over framed serial lines, with repetition where the line spoils them."""

from __future__ import annotations

import secrets
import struct
import time
from dataclasses import dataclass, field

from edgekit.deploy.serial.framing import Frame, FrameReader
from edgekit.deploy.serial.ports import Port
from edgekit.errors import DeviceError, LinkTimeoutError

ANSWER = 0x80
ERROR = 0xFF

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 4.0
POLL_S = 0.05

STATUS_TEXT = {
    101: "the request is not valid, or data did not arrive as it was sent",
    102: "outside the tensor, the flash or the slot",
    400: "the firmware on the board cannot do this",
    501: "the image in its flash is damaged: flash it again",
}


class BoardError(DeviceError):
    """The board refused a request.

    Parameters
    ----------
    command : str
    status : int
        ``ek_status`` of the firmware.
    """

    def __init__(self, command: str, status: int) -> None:
        reason = STATUS_TEXT.get(status, "see edgekit/status.h")
        super().__init__(f"the board refused {command}: status {status} ({reason})")
        self.command = command
        self.status = status


@dataclass(slots=True)
class Link:
    """A board that speaks frames.

    Parameters
    ----------
    port : Port
    patience_s : float
        How long one request is repeated before the board counts as silent.
    first_wait_s : float
        Before a request is sent for the second time; then twice as long each time.
    repeats : int
        Requests of this link that had to be sent again, so far.
    received_bytes : int
        Whatever came, damaged or not.
    """

    port: Port
    patience_s: float = 10.0
    first_wait_s: float = FIRST_WAIT_S
    repeats: int = 0
    received_bytes: int = 0
    _sequence: int = field(default_factory=lambda: secrets.randbelow(65536))
    _reader: FrameReader = field(default_factory=FrameReader)

    def request(
        self, kind: int, body: bytes = b"", *, name: str, wait_s: float | None = None
    ) -> bytes:
        """Send a request until its answer comes, and return the answer's body.

        Parameters
        ----------
        kind : int
        body : bytes
        name : str
            For messages.
        wait_s : float, optional
            Another ``first_wait_s``, for what takes its time.

        Raises
        ------
        LinkTimeoutError
            If no undamaged answer came within ``patience_s`` (at least four times ``wait_s``).
        BoardError
            If the board refused.
        """
        self._sequence = (self._sequence + 1) % 65536
        wire = Frame(kind, self._sequence, body).encode()
        wait_s = wait_s or self.first_wait_s
        patience_s = max(self.patience_s, 4 * wait_s)
        deadline = time.monotonic() + patience_s
        while True:
            self.port.write(wire)
            answer = self._await(kind, min(deadline, time.monotonic() + wait_s))
            if answer is not None:
                break
            if time.monotonic() >= deadline:
                raise LinkTimeoutError(name, patience_s)
            self.repeats += 1
            wait_s = min(2 * wait_s, max(LONGEST_WAIT_S, wait_s))
        if answer.kind == ERROR:
            raise BoardError(name, struct.unpack_from("<I", answer.body, 1)[0])
        return answer.body

    def send_once(self, kind: int, *, wait_s: float = 1.0) -> bool:
        """Send a request that is not to be repeated; return whether it was answered in time."""
        self._sequence = (self._sequence + 1) % 65536
        self.port.write(Frame(kind, self._sequence).encode())
        return self._await(kind, time.monotonic() + wait_s) is not None

    def _await(self, kind: int, until: float) -> Frame | None:
        while True:
            left = until - time.monotonic()
            self.port.timeout = min(POLL_S, max(left, 0.001))
            for frame in self._reader.feed(self._read()):
                if frame.sequence != self._sequence:
                    continue
                if frame.kind == kind | ANSWER:
                    return frame
                if frame.kind == ERROR and len(frame.body) == 5 and frame.body[0] == kind:
                    return frame
            if left <= 0:
                return None

    def _read(self) -> bytes:
        """Return what has arrived: a byte as soon as there is one, and all that follows it."""
        data = self.port.read(1)
        if data:
            self.port.timeout = 0
            data += self.port.read(4096)
        self.received_bytes += len(data)
        return data
