"""Serial ports: opened by URL, found by USB identifiers, and why one will not open.

Every URL of pyserial works: ``/dev/ttyACM0``, ``COM3``, ``rfc2217://host:port`` (with parity and
modem lines), ``socket://host:port``.
"""

from __future__ import annotations

import errno
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from edgekit.errors import DeviceError, DeviceNotFoundError, MissingDependencyError
from edgekit.profiles import DeviceProfile

Parity = Literal["N", "E"]


class Port(Protocol):
    """What is used of a pyserial port."""

    timeout: float | None
    dtr: bool
    rts: bool

    def read(self, size: int = 1) -> bytes:
        """Return up to so many bytes; fewer where ``timeout`` seconds have passed."""

    def write(self, data: bytes, /) -> int | None:
        """Send bytes."""

    def reset_input_buffer(self) -> None:
        """Forget what has arrived and was not read."""


POLL_S = 0.02


class TimedPort:
    """A port of pyserial whose time limit can be changed at every read.

    pyserial configures a port anew when its own time limit is changed, which takes 50 ms over RFC
    2217.

    Parameters
    ----------
    serial_port : object of pyserial
        With a time limit of ``POLL_S``.
    """

    def __init__(self, serial_port: Any) -> None:
        self._serial = serial_port
        self.timeout: float | None = 1.0

    @property
    def parity(self) -> str:
        """``N`` or ``E``."""
        return str(self._serial.parity)

    @parity.setter
    def parity(self, value: str) -> None:
        self._serial.parity = value

    @property
    def dtr(self) -> bool:
        """Data terminal ready."""
        return bool(self._serial.dtr)

    @dtr.setter
    def dtr(self, value: bool) -> None:
        self._serial.dtr = value

    @property
    def rts(self) -> bool:
        """Request to send."""
        return bool(self._serial.rts)

    @rts.setter
    def rts(self, value: bool) -> None:
        self._serial.rts = value

    def read(self, size: int = 1) -> bytes:
        """Return up to so many bytes; fewer where ``timeout`` seconds have passed."""
        deadline = time.monotonic() + (self.timeout or 0.0)
        data = bytearray()
        while len(data) < size:
            waiting = self._serial.in_waiting
            if not waiting and time.monotonic() >= deadline:
                break
            data += self._serial.read(min(max(waiting, 1), size - len(data)))
        return bytes(data)

    def write(self, data: bytes, /) -> int | None:
        """Send bytes."""
        self._serial.write(data)
        return len(data)

    def reset_input_buffer(self) -> None:
        """Forget what has arrived and was not read."""
        self._serial.reset_input_buffer()


@contextmanager
def open_port(url: str, *, baud: int = 115200, parity: Parity = "N") -> Iterator[Port]:
    """Open a port; modem lines are released, so that opening alone resets no board.

    Parameters
    ----------
    url : str
    baud : int
    parity : str
        ``N``, or ``E`` as bootloaders of STM32 need it.

    Raises
    ------
    DeviceNotFoundError
        If there is no such port; those that exist are named.
    DeviceError
        If it may not be opened or is in use, with what to do; or if it disappears while in use.
    """
    serial = _pyserial()
    try:
        port = serial.serial_for_url(
            url, baudrate=baud, parity=parity, timeout=POLL_S, exclusive=True, do_not_open=True
        )
        port.dtr = False
        port.rts = False
        with warnings.catch_warnings():
            # pyserial 3.5 still calls Thread.setDaemon.
            warnings.simplefilter("ignore", DeprecationWarning)
            port.open()
    except (serial.SerialException, OSError, ValueError) as error:
        raise _explained(url, error) from error
    try:
        yield TimedPort(port)
    except (serial.SerialException, OSError) as error:
        raise DeviceError(f"{url}: the connection was lost ({error}); check the cable") from error
    finally:
        port.close()


def port_names() -> tuple[str, ...]:
    """Return the serial ports of this computer (MissingDependencyError without pyserial)."""
    _pyserial()
    from serial.tools import list_ports

    return tuple(sorted(port.device for port in list_ports.comports()))


def find_ports(profile: DeviceProfile) -> tuple[str, ...]:
    """Return the ports of this computer whose USB identifiers are those of a device."""
    _pyserial()
    from serial.tools import list_ports

    wanted = set(profile.serial.usb_ids) if profile.serial else set()
    return tuple(
        sorted(
            port.device
            for port in list_ports.comports()
            if port.vid is not None and f"{port.vid:04x}:{port.pid:04x}" in wanted
        )
    )


def choose_port(profile: DeviceProfile) -> str:
    """Return the one port that a device is on.

    Raises
    ------
    DeviceNotFoundError
        If there is none, or more than one.
    """
    found = find_ports(profile)
    if len(found) == 1:
        return found[0]
    if found:
        raise DeviceNotFoundError(
            f"several boards could be {profile.name}: {', '.join(found)}; choose with --port"
        )
    ids = ", ".join(profile.serial.usb_ids) if profile.serial else "none known"
    raise DeviceNotFoundError(
        f"no port with a USB identifier of {profile.name} ({ids}) was found\n"
        f"connect the board, or name its port with --port. {_existing()}"
    )


def holders_of(path: str) -> tuple[str, ...]:
    """Return the processes of this computer that have a device file open, as ``name (pid)``."""
    try:
        device = os.stat(path).st_rdev
    except OSError:
        return ()
    names = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = any(os.stat(link).st_rdev == device for link in (process / "fd").iterdir())
            if held and int(process.name) != os.getpid():
                names.append(f"{(process / 'comm').read_text().strip()} ({process.name})")
        except OSError:
            continue
    return tuple(sorted(names))


def _pyserial() -> Any:
    try:
        import serial
    except ImportError as error:
        raise MissingDependencyError("serial", library="pyserial") from error
    return serial


def _existing() -> str:
    names = port_names()
    return f"Ports here: {', '.join(names)}" if names else "No serial port was found here."


def _explained(url: str, error: Exception) -> DeviceError:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EACCES or "Permission denied" in str(error):
        return DeviceError(
            f"{url}: you may not open this port\n"
            "sudo usermod -a -G dialout $USER, then log in again"
        )
    if code == errno.EBUSY or "busy" in str(error).lower() or "exclusively" in str(error):
        holders = ", ".join(holders_of(url))
        return DeviceError(f"{url} is in use" + (f" by {holders}: close it" if holders else ""))
    if "://" in url:
        return DeviceNotFoundError(f"{url}: nothing answers there ({error})")
    return DeviceNotFoundError(f"{url} cannot be opened ({error})\n{_existing()}")
