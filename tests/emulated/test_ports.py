"""Finding ports and saying why one will not open, with real terminals and real locks."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import click
import pytest

from edgekit.cli.port_names import complete_port
from edgekit.deploy.serial.ports import choose_port, find_ports, holders_of, open_port
from edgekit.errors import DeviceError, DeviceNotFoundError
from edgekit.profiles import load_profile

pytest.importorskip("serial", reason="pyserial is not installed")

HOLDER = """
import sys
import serial
port = serial.Serial(sys.argv[1], exclusive=True)
print(1, flush=True)
input()
"""
NOBODY = 65534


@pytest.fixture
def terminal() -> Iterator[str]:
    """Path of a terminal that can be opened like a serial port."""
    controller, terminal = pty.openpty()
    yield os.ttyname(terminal)
    os.close(controller)
    os.close(terminal)


@contextmanager
def held(path: str) -> Iterator[int]:
    """Have another process hold a port, locked as well-behaved programs do; yields its id."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "1\n"
    try:
        yield process.pid
    finally:
        process.communicate("\n", timeout=30)


def test_port_that_another_process_holds_is_named_with_the_process(terminal: str) -> None:
    with held(terminal) as holder:
        assert any(str(holder) in name for name in holders_of(terminal))
        with (
            pytest.raises(DeviceError, match=f"in use by .*{holder}") as caught,
            open_port(terminal),
        ):
            pass
        assert caught.value.exit_code == 6
    with open_port(terminal) as port:
        assert port.timeout is not None


def test_port_that_edgekit_holds_is_locked_for_others(terminal: str) -> None:
    with open_port(terminal):
        done = subprocess.run(
            [sys.executable, "-c", HOLDER, terminal], input="\n", capture_output=True, text=True
        )
    assert done.returncode != 0
    assert "lock" in done.stderr


def test_port_that_may_not_be_opened_has_a_hint(terminal: str) -> None:
    os.chmod(terminal, 0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(DeviceError, match="dialout") as caught, open_port(terminal):
            pass
    finally:
        os.seteuid(before)
    assert "usermod" in str(caught.value)


def test_port_that_does_not_exist_is_reported_with_those_that_do(terminal: str) -> None:
    with pytest.raises(DeviceNotFoundError, match="ttyNOSUCH"), open_port("/dev/ttyNOSUCH"):
        pass
    with pytest.raises(DeviceNotFoundError), open_port("socket://127.0.0.1:1"):
        pass


def test_boards_are_found_by_their_usb_identifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    from serial.tools import list_ports

    profile = load_profile("stm32f405")
    assert profile.serial is not None
    vendor, product = (int(part, 16) for part in profile.serial.usb_ids[0].split(":"))
    own = SimpleNamespace(device="/dev/ttyACM3", vid=vendor, pid=product)
    other = SimpleNamespace(device="/dev/ttyUSB0", vid=0x1234, pid=0x5678)
    plain = SimpleNamespace(device="/dev/ttyS0", vid=None, pid=None)

    monkeypatch.setattr(list_ports, "comports", lambda: [plain, other, own])
    completed = complete_port(
        click.Context(click.Command("flash")), click.Option(["--port"]), "/dev/ttyU"
    )
    assert completed == ["/dev/ttyUSB0"]
    assert find_ports(profile) == ("/dev/ttyACM3",)
    assert choose_port(profile) == "/dev/ttyACM3"

    monkeypatch.setattr(list_ports, "comports", lambda: [plain, other])
    with pytest.raises(DeviceNotFoundError, match="/dev/ttyUSB0"):
        choose_port(profile)

    second = SimpleNamespace(device="/dev/ttyACM4", vid=vendor, pid=product)
    monkeypatch.setattr(list_ports, "comports", lambda: [own, second])
    with pytest.raises(DeviceNotFoundError, match="several"):
        choose_port(profile)
