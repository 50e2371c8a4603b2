"""A board on a serial line: bootloader, flash, and QEMU running what is in the flash.

One TCP port stands for the board's serial line. Over ``rfc2217://`` the client's parity and modem
lines are seen: DTR holds the board in reset, RTS selects the bootloader, the ROM bootloader needs
even parity and the application none, as on real boards. Over ``socket://`` there are neither; such
a board starts in its bootloader where it has no image, and leaves it when told to. What boots is
the content of the flash, read back from it, and nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from edgekit.deploy.serial.flash_map import FlashMap
from edgekit.emulators.nor_flash import NorFlash, PowerLostError
from edgekit.emulators.qemu_board import INSTALL_HINT, QEMU, has_qemu
from edgekit.emulators.rom_bootloader import RomBootloader
from edgekit.emulators.smp_server import SmpServer
from edgekit.emulators.stm32_bridge import BRIDGED, bridge_program, bridged
from edgekit.errors import EdgekitError, EmulatorError, MissingDependencyError

logger = logging.getLogger(__name__)

MACHINE = "netduinoplus2"
"""The machine of QEMU 7.2 whose flash lies where that of STM32 lies: an STM32F405."""

BOARDS = frozenset({"stm32f405"}) | BRIDGED
"""Devices whose firmware the machine runs; after a start, others answer nothing."""

QEMU_START_S = 20.0

BootProtocol = Literal["an3155", "smp"]


def check_application(device: str) -> None:
    """Refuse a device whose firmware could be written but not started on this computer.

    Parameters
    ----------
    device : str
        One of :data:`BOARDS`.

    Raises
    ------
    EmulatorError
        If QEMU is not installed.
    ToolchainMissingError, BuildError
        If there is no compiler for the bridge, or it refuses.
    """
    if not has_qemu():
        raise EmulatorError(f"{QEMU} is not installed\n{INSTALL_HINT}")
    if device in BRIDGED:
        bridge_program(device)


class Peer(Protocol):
    """What answers bytes."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes and return the answer."""


@dataclass(slots=True)
class Noise:
    """A line that changes, loses and repeats bytes.

    Parameters
    ----------
    changed, dropped, doubled : float
        Probability that a byte is replaced by a random one, does not arrive, arrives twice.
    random : Random
    """

    changed: float = 0.0
    dropped: float = 0.0
    doubled: float = 0.0
    random: random.Random = field(default_factory=lambda: random.Random(1))

    def spoil(self, data: bytes) -> bytes:
        """Return what arrives."""
        if not (self.changed or self.dropped or self.doubled):
            return data
        arrived = bytearray()
        for byte in data:
            if self.random.random() < self.dropped:
                continue
            if self.random.random() < self.changed:
                byte = self.random.randrange(256)
            arrived.append(byte)
            if self.random.random() < self.doubled:
                arrived.append(byte)
        return bytes(arrived)


@dataclass(slots=True)
class SerialBoard:
    """The board behind its line, without the line.

    Parameters
    ----------
    flash : NorFlash
    protocol : str
        What its bootloader speaks: ``an3155`` or ``smp``.
    send : callable
        Puts bytes on the line towards the client.
    parity : str
        What the client has set.
    events : list of str
        What happened to parity and modem lines.
    silent_after : int or None
        Bytes to come from the client until the board hangs and answers nothing more.
    """

    flash: NorFlash
    protocol: BootProtocol
    send: Callable[[bytes], None]
    parity: str = "N"
    events: list[str] = field(default_factory=list)
    silent_after: int | None = None
    _dtr: bool = False
    _rts: bool = False
    _has_power: bool = True
    _bootloader: Peer | None = None
    _qemu: QemuUart | None = None
    _restarts: bool = False

    def __post_init__(self) -> None:
        self.start()

    @property
    def state(self) -> str:
        """``off``, ``reset``, ``bootloader`` or ``application``."""
        if not self._has_power:
            return "off"
        if self._dtr:
            return "reset"
        return "bootloader" if self._bootloader else "application"

    def set_line(self, name: str, asserted: bool) -> None:
        """See a modem line change: the end of DTR is the end of reset."""
        self.events.append(f"{name}={int(asserted)}")
        if name == "rts":
            self._rts = asserted
            return
        was_held, self._dtr = self._dtr, asserted
        if was_held and not asserted:
            self.start()
        elif asserted:
            self.stop()

    def start(self) -> None:
        """Leave reset: into the bootloader where RTS says so or there is no image."""
        self.stop()
        if self.protocol == "smp":
            bootloader = SmpServer(self.flash, self._restart_soon)
            address = bootloader.program_address()
            self._start(bootloader, address)
        else:
            is_blank = self.flash.is_blank()
            address = None if is_blank else self.flash.map.address
            self._start(RomBootloader(self.flash, self._go), address)

    def _start(self, bootloader: Peer, address: int | None) -> None:
        if self._rts or address is None:
            self._bootloader = bootloader
        else:
            self._go(address)

    def stop(self) -> None:
        """Stop whatever runs."""
        self._bootloader = None
        if self._qemu:
            self._qemu.close()
            self._qemu = None

    def power_on(self, cut_at: int | None = None) -> None:
        """Come back after power was lost; it may be lost again."""
        self._has_power = True
        self.silent_after = None
        self.flash.cut_at = cut_at
        self.start()

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self.silent_after is not None:
            data, rest = data[: self.silent_after], data[self.silent_after :]
            self.silent_after -= len(data)
            if rest:
                self.stop()
                self._has_power = False
                return
        if self.state == "bootloader" and self._bootloader:
            if self.protocol == "an3155" and self.parity != "E":
                return
            try:
                answer = self._bootloader.feed(data)
            except PowerLostError:
                self.stop()
                self._has_power = False
                return
            self.send(answer)
            if self._restarts:
                self._restarts = False
                self.start()
        elif self._qemu and self.parity == "N":
            self._qemu.write(data)

    def _restart_soon(self) -> None:
        self._restarts = True

    def _go(self, address: int) -> None:
        self._bootloader = None
        start = address - self.flash.map.address
        content, device = bytes(self.flash.data), self.flash.map.name
        if device not in BOARDS:
            return
        if device in BRIDGED:
            content = bridged(content, start, device)
        # What a bootloader does last: stack pointer and start come from the program's table.
        content = content[start : start + 8] + content[8:]
        self._qemu = QemuUart(content, self._from_application)

    def _from_application(self, data: bytes) -> None:
        if self.parity == "N":
            self.send(data)


class QemuUart:
    """QEMU running a flash image; its first UART is a stream of bytes.

    Parameters
    ----------
    image : bytes
        Content of the flash.
    receive : callable
        Called with what the firmware sends, from a thread.
    machine : str
        QEMU's name of the board.

    Raises
    ------
    EmulatorError
        If QEMU is not installed or does not start.
    """

    def __init__(
        self, image: bytes, receive: Callable[[bytes], None], machine: str = MACHINE
    ) -> None:
        program = shutil.which(QEMU)
        if program is None:
            raise EmulatorError(f"{QEMU} is not installed\n{INSTALL_HINT}")
        self._folder = tempfile.TemporaryDirectory(prefix="edgekit-")
        path = Path(self._folder.name) / "flash.img"
        path.write_bytes(image)
        # A UART writes byte by byte, which TCP would hold back for 40 ms each time.
        uart = Path(self._folder.name) / "uart"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(uart))
            server.listen(1)
            server.settimeout(QEMU_START_S)
            options = ["-M", machine, "-kernel", str(path), "-display", "none", "-monitor", "none"]
            self._process = subprocess.Popen(
                [program, *options, "-serial", f"unix:{uart}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                self._socket, _ = server.accept()
            except TimeoutError as error:
                self._process.kill()
                self._process.wait()
                self._folder.cleanup()
                raise EmulatorError(f"{QEMU} did not start in {QEMU_START_S:g} s") from error
        self._receive = receive
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Send bytes to the firmware."""
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    def close(self) -> None:
        """End QEMU."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._folder.cleanup()

    def _loop(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._socket.recv(4096):
                self._receive(data)


class _Lines:
    """The settings that ``serial.rfc2217.PortManager`` sets on a port: they reach the board."""

    def __init__(self, board: SerialBoard) -> None:
        self._board = board
        self.baudrate = 115200
        self.bytesize = 8
        self.stopbits = 1
        self.xonxoff = self.rtscts = self.break_condition = False
        self.cts = self.dsr = self.cd = True
        self.ri = False

    @property
    def parity(self) -> str:
        return self._board.parity

    @parity.setter
    def parity(self, value: str) -> None:
        self._board.parity = value
        self._board.events.append(f"parity={value}")

    @property
    def dtr(self) -> bool:
        return self._board._dtr

    @dtr.setter
    def dtr(self, value: bool) -> None:
        self._board.set_line("dtr", value)

    @property
    def rts(self) -> bool:
        return self._board._rts

    @rts.setter
    def rts(self, value: bool) -> None:
        self._board.set_line("rts", value)

    def reset_input_buffer(self) -> None:
        pass

    def reset_output_buffer(self) -> None:
        pass


class _Server:
    """One TCP port, one client at a time."""

    def __init__(
        self, flash: NorFlash, protocol: BootProtocol, telnet: bool, noise: Noise, tcp_port: int
    ) -> None:
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()
        self._noise = noise
        self._telnet = telnet
        self.board = SerialBoard(flash, protocol, self._send)
        self.socket = socket.create_server(("127.0.0.1", tcp_port))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        scheme = "rfc2217" if self._telnet else "socket"
        return f"{scheme}://127.0.0.1:{self.socket.getsockname()[1]}"

    def close(self) -> None:
        for open_socket in (self.socket, self._connection):
            if open_socket:
                with contextlib.suppress(OSError):
                    open_socket.shutdown(socket.SHUT_RDWR)
                open_socket.close()
        self._thread.join()
        self.board.stop()

    def write(self, data: bytes) -> None:
        """Send raw bytes, telnet commands among them."""
        with self._lock, contextlib.suppress(OSError):
            if self._connection:
                self._connection.sendall(data)

    def _send(self, data: bytes) -> None:
        data = self._noise.spoil(data)
        self.write(data.replace(b"\xff", b"\xff\xff") if self._telnet else data)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection = connection
            try:
                self._talk(connection)
            except OSError:
                pass
            except EdgekitError as error:
                # The board hangs; whoever offers it learns why.
                logger.error("%s", error)
            self._connection = None
            connection.close()

    def _talk(self, connection: socket.socket) -> None:
        manager: Any = None
        if self._telnet:
            from serial.rfc2217 import PortManager

            manager = PortManager(_Lines(self.board), self)
        while data := connection.recv(4096):
            plain = b"".join(manager.filter(data)) if manager else data
            if plain:
                self.board.receive(self._noise.spoil(plain))


@dataclass(frozen=True, slots=True)
class EmulatedPort:
    """A board that can be reached.

    Parameters
    ----------
    url : str
        For ``--port``.
    board : SerialBoard
    """

    url: str
    board: SerialBoard


@contextmanager
def emulated_board(
    flash_map: FlashMap,
    *,
    protocol: BootProtocol = "an3155",
    has_modem_lines: bool = True,
    noise: Noise | None = None,
    flash: NorFlash | None = None,
    tcp_port: int = 0,
) -> Iterator[EmulatedPort]:
    """Offer a board on a TCP port of this computer.

    Parameters
    ----------
    flash_map : FlashMap
    protocol : str
        What its bootloader speaks.
    has_modem_lines : bool
        ``rfc2217://`` with parity and modem lines, else ``socket://``.
    noise : Noise, optional
    flash : NorFlash, optional
        Content of the flash; empty without it.
    tcp_port : int
        0: one that is free.

    Raises
    ------
    OSError
        If the port is taken.
    MissingDependencyError
        If pyserial is not installed.
    """
    try:
        import serial.rfc2217  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("serial", library="pyserial") from error
    memory, line = flash or NorFlash(flash_map), noise or Noise()
    server = _Server(memory, protocol, has_modem_lines, line, tcp_port)
    try:
        yield EmulatedPort(server.url, server.board)
    finally:
        server.close()
