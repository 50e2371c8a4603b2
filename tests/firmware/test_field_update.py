"""Field update by the real firmware under QEMU: bootloader, two slots, images of two versions.

The machine (mps2-an386) has RAM where boards have flash, which a driver writes as NOR flash is; it
outlives a reset. Power that is lost within an operation: tests/emulated/test_update.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekit.deploy.cores import CORES, Span
from edgekit.deploy.firmware import PROGRAMS
from edgekit.deploy.memory_layout import MemoryLayout
from edgekit.deploy.serial import update
from edgekit.deploy.serial.link import BoardError, Link
from edgekit.deploy.serial.monitor import Monitor
from edgekit.deploy.toolchain import Toolchain
from tests.qemu_port import QemuPort
from tests.sum_firmware import build_image_for, expected

pytestmark = [pytest.mark.toolchain, pytest.mark.emulated]

MACHINE = "mps2-an386"
RAM = Span(0x20000000, 64 * 1024)
SLOTS = (0x00100000, 0x00180000)
SLOT_BYTES = 0x00080000

Images = dict[int, bytes]


def build(folder: Path, program: str, address: int, size_bytes: int, term: int = 0) -> bytes:
    layout = MemoryLayout("mps2", Span(address, size_bytes), RAM)
    return build_image_for(
        folder,
        CORES["cortex-m4"].without_float(),
        layout,
        drivers=(),
        board="boards/mps2.h",
        program=PROGRAMS[program],
        term=term,
    )


def build_version(folder: Path, term: int) -> Images:
    """Return the same program linked to each slot, by address."""
    found: Images = {}
    for index, slot in enumerate(SLOTS):
        address = slot + update.IMAGE_OFFSET
        room = SLOT_BYTES - update.IMAGE_OFFSET
        where = folder / f"{term}-{index}"
        found[address] = build(where, "monitor_mps2", address, room, term)
    return found


@dataclass(frozen=True)
class Programs:
    boot: bytes
    versions: dict[int, Images]


@pytest.fixture(scope="module")
def programs(qemu: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    folder = tmp_path_factory.mktemp("update")
    boot = build(folder / "boot", "boot_mps2", 0, 0x10000)
    return Programs(boot, {term: build_version(folder, term) for term in (1, 2)})


@pytest.fixture
def port(programs: Programs) -> Iterator[QemuPort]:
    board = QemuPort(programs.boot, MACHINE)
    yield board
    board.uart.close()


def ignore(done: int, total: int) -> None:
    """Take the progress."""


def restart(port: QemuPort) -> Link:
    """Start the board anew and return a link to what runs then."""
    assert update.restart(Link(port))
    return Link(port)


def check_runs(link: Link, term: int) -> None:
    monitor = Monitor.connect(link)
    assert monitor.model.name == f"sum{term}"
    assert monitor.model.has_update
    values = np.arange(-150, 150).clip(-128, 127).astype(np.int8).reshape(1, 300)
    assert np.array_equal(monitor.run({"x": values}).outputs["sums"], expected(values, 1, term))


def test_update_runs_from_the_other_slot_and_stays_once_confirmed(
    port: QemuPort, programs: Programs
) -> None:
    link = Link(port)
    assert update.board_slots(link).running is None
    update.install(link, programs.versions[1], ignore)
    link = restart(port)
    check_runs(link, 1)
    update.confirm(link)
    first = update.board_slots(link).running
    update.install(link, programs.versions[2], ignore)
    link = restart(port)
    check_runs(link, 2)
    assert update.board_slots(link).running == 1 - (first or 0)
    update.confirm(link)
    check_runs(restart(port), 2)


def test_update_that_does_not_confirm_is_left_at_the_next_start(
    port: QemuPort, programs: Programs
) -> None:
    link = Link(port)
    update.install(link, programs.versions[1], ignore)
    link = restart(port)
    update.confirm(link)
    update.install(link, programs.versions[2], ignore)
    check_runs(restart(port), 2)
    check_runs(restart(port), 1)


def test_restart_in_the_middle_of_an_update_leaves_the_old_image(
    port: QemuPort, programs: Programs
) -> None:
    link = Link(port)
    update.install(link, programs.versions[1], ignore)
    link = restart(port)
    update.confirm(link)
    target = 1 - (update.board_slots(link).running or 0)
    image = programs.versions[2][SLOTS[target] + update.IMAGE_OFFSET]
    padded = image + b"\xff" * (-len(image) % 32)
    for share in (0.0, 0.3, 0.7, 1.0):
        link.request(update.BEGIN, bytes([target]), name="update begin")
        for offset in range(0, int(len(padded) * share), update.PART_BYTES):
            part = padded[offset : offset + update.PART_BYTES]
            link.request(update.WRITE, struct.pack("<I", offset) + part, name="update write")
        link = restart(port)
        check_runs(link, 1)
    # The same again, to its end.
    update.install(link, programs.versions[2], ignore)
    check_runs(restart(port), 2)


def test_image_that_is_not_what_its_header_says_is_refused(
    port: QemuPort, programs: Programs
) -> None:
    link = Link(port)
    address = SLOTS[0] + update.IMAGE_OFFSET
    image = programs.versions[1][address]
    link.request(update.BEGIN, b"\0", name="update begin")
    damaged = bytearray(image + b"\xff" * (-len(image) % 32))
    damaged[100] ^= 1
    for offset in range(0, len(damaged), update.PART_BYTES):
        part = bytes(damaged[offset : offset + update.PART_BYTES])
        link.request(update.WRITE, struct.pack("<I", offset) + part, name="update write")
    header = update.header_of(image, version=1, address=address).encode()
    with pytest.raises(BoardError):
        link.request(update.FINISH, header, name="update finish")
    assert update.board_slots(restart(port)).running is None
