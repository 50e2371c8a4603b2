"""MCUboot and Zephyr boards over a serial line, through the ``smp`` and ``smpclient`` libraries.

Source: Zephyr, "Simple Management Protocol" (SMP over console): lines of base64 with CRC-16.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from edgekit.deploy.serial import mcuboot
from edgekit.deploy.serial.ports import Port
from edgekit.errors import DeviceError, FlashError, LinkTimeoutError, MissingDependencyError

if TYPE_CHECKING:
    from smpclient import SMPClient

TIMEOUT_S = 2.5
ERASE_S_PER_BYTE = 2.5e-5
ATTEMPTS = 5
"""Without a byte more that has arrived."""
SILENT_ATTEMPTS = 2
SILENCE_S = 20.0
"""A board that answers nothing for so long, whatever it was doing, is given up."""
LINE_BYTES = 128
LEAST_MESSAGE_BYTES = 96
SMALL_BYTES = 192
MOST_MESSAGE_BYTES = 65536

Progress = Callable[[int, int], None]


class PortTransport:
    """What ``smpclient`` needs of a line, on a port that is open already.

    Parameters
    ----------
    port : Port
    """

    def __init__(self, port: Port) -> None:
        self._port = port
        self._buffer_bytes = 0
        self._most_bytes = MOST_MESSAGE_BYTES
        self.received_bytes = 0

    async def connect(self, address: str, timeout_s: float) -> None:
        """Forget what came before the session."""
        self._port.reset_input_buffer()

    async def disconnect(self) -> None:
        """Do nothing: the port belongs to the caller."""

    def initialize(self, smp_server_transport_buffer_size: int) -> None:
        """Take the size of the board's buffer, as the board gives it."""
        self._buffer_bytes = smp_server_transport_buffer_size

    @property
    def mtu(self) -> int:
        """Largest message in bytes."""
        return self.max_unencoded_size

    @property
    def max_unencoded_size(self) -> int:
        """Largest message in bytes; length and CRC share the board's buffer."""
        return max(min(self._buffer_bytes - 4, self._most_bytes), LEAST_MESSAGE_BYTES)

    def shrink(self) -> None:
        """Send smaller messages from now on: a bad line spoils long ones first."""
        self._most_bytes = max(min(self.max_unencoded_size, self._most_bytes) // 2, SMALL_BYTES)

    async def send(self, data: bytes) -> None:
        """Send one message."""
        from smp import packet

        for line in packet.encode(data, line_length=LINE_BYTES):
            self._port.write(line)

    async def receive(self) -> bytes:
        """Wait for one message; what is damaged is dropped."""
        from smp import exceptions, packet

        decoder = packet.decode()
        next(decoder)
        while True:
            line = await self._line()
            try:
                decoder.send(line)
            except StopIteration as complete:
                return bytes(complete.value)
            except (exceptions.SMPException, ValueError):
                decoder = packet.decode()
                next(decoder)

    async def send_and_receive(self, data: bytes) -> bytes:
        """Send one message and wait for the answer."""
        await self.send(data)
        return await self.receive()

    async def _line(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n"):
            self._port.timeout = 0
            data = self._port.read(1)
            if data:
                line += data
                self.received_bytes += len(data)
            else:
                await asyncio.sleep(0.002)
        start = max(line.rfind(b"\x06\x09"), line.rfind(b"\x04\x14"), 0)
        return bytes(line[start:])


def program(port: Port, image: bytes, progress: Progress, *, timeout_s: float = TIMEOUT_S) -> None:
    """Upload an image, have it checked against its SHA-256, confirm it and restart the board.

    Parameters
    ----------
    port : Port
        Open, no parity.
    image : bytes
        As the board's bootloader takes it; for MCUboot signed by its ``imgtool``.
    progress : callable
        Told how many bytes of how many are done.
    timeout_s : float
        For one answer.

    Raises
    ------
    LinkTimeoutError
        If the board does not answer.
    FlashError
        If the board refuses the image, or holds another one than was sent.
    MissingDependencyError
        If the libraries are not installed.
    """
    try:
        from smpclient import SMPClient
    except ImportError as error:
        raise MissingDependencyError("serial", library="smpclient") from error
    transport = PortTransport(port)
    as_library_asks: Any = transport
    client = SMPClient(as_library_asks, "", timeout_s)
    library = logging.getLogger("smpclient")
    before = library.level
    # It logs every lost message with all its bytes; what matters is raised.
    library.setLevel(logging.CRITICAL)
    try:
        asyncio.run(_program(client, transport, image, progress, timeout_s))
    finally:
        library.setLevel(before)


async def _program(
    client: SMPClient,
    transport: PortTransport,
    image: bytes,
    progress: Progress,
    timeout_s: float,
) -> None:
    from smp.exceptions import SMPException
    from smpclient.exceptions import SMPClientException

    failure: DeviceError = LinkTimeoutError("an SMP request", timeout_s)
    furthest = attempts = silent = 0

    def advanced(done: int, total: int) -> None:
        nonlocal furthest, attempts
        if done > furthest:
            furthest, attempts = done, 0
        progress(done, total)

    while attempts < ATTEMPTS:
        attempts += 1
        heard_bytes = transport.received_bytes
        try:
            await client.connect()
            await _upload(client, image, advanced, timeout_s)
            return
        except TimeoutError:
            failure = LinkTimeoutError("an SMP request", timeout_s)
            transport.shrink()
        except (SMPException, SMPClientException, ValueError) as error:
            failure = FlashError(f"the upload failed ({_first_line(error)})")
        silent = 0 if transport.received_bytes > heard_bytes else silent + 1
        if silent == SILENT_ATTEMPTS:
            raise LinkTimeoutError("an SMP request (is the bootloader running?)", SILENCE_S)
    raise failure


async def _upload(client: SMPClient, image: bytes, progress: Progress, timeout_s: float) -> None:
    from smp.error import MGMT_ERR, ErrorV1
    from smpclient.generics import success
    from smpclient.requests.image_management import ImageStatesRead, ImageStatesWrite
    from smpclient.requests.os_management import ResetWrite

    first_s = timeout_s + len(image) * ERASE_S_PER_BYTE
    async for offset in client.upload(image, first_timeout_s=first_s):
        progress(offset, len(image))
    states = await client.request(ImageStatesRead())
    if not success(states) or not states.images:
        raise FlashError("the board does not say which images it holds")
    digest = image_digest(image)
    held = [state for state in states.images if bytes(state.hash or b"") == digest]
    if not held:
        raise FlashError("the image on the board is not the one that was sent")
    if not any(state.bootable in (None, True) for state in held):
        raise FlashError("the board finds the image damaged: send it again")
    confirmed = await client.request(ImageStatesWrite(hash=digest, confirm=True))
    # A bootloader with a single slot has nothing to confirm.
    has_nothing = isinstance(confirmed, ErrorV1) and confirmed.rc == MGMT_ERR.ENOTSUP
    if not success(confirmed) and not has_nothing:
        raise FlashError("the board does not confirm the image")
    try:
        await client.request(ResetWrite(), timeout_s=timeout_s)
    except TimeoutError:
        # Some boards restart before they have answered.
        time.sleep(0.1)


def image_digest(image: bytes) -> bytes:
    """Return the SHA-256 that a board names an image by.

    An image for MCUboot carries it; any other image is named by the digest of all its bytes.
    """
    return mcuboot.recorded_digest(image) if mcuboot.is_image(image) else sha256(image).digest()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
