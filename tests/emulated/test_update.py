"""Field update in C, on a flash that loses power: a complete image is left at every moment.

The monitor and the update logic run as a sanitized host program (tests/monitor_host.c); the client
is the one that speaks to boards.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgekit.deploy.serial import update
from edgekit.deploy.serial.framing import Frame
from edgekit.deploy.serial.link import BoardError, Link
from edgekit.deploy.serial.monitor import Monitor
from edgekit.errors import DeviceError, LinkTimeoutError, MemoryBudgetError
from tests.sum_firmware import HostBoard, build_host, expected, has_compiler

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.skipif(not has_compiler(), reason="no C compiler (cc)"),
]

SLOT_BYTES = 8192
BASES = (0x08000000, 0x08002000)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_host(tmp_path_factory.mktemp("host"))


def images(seed: int, size: int = 3000) -> dict[int, bytes]:
    draw = random.Random(seed)
    return {base + update.IMAGE_OFFSET: draw.randbytes(size) for base in BASES}


def install(host: Path, flash: Path, seed: int, cut: int = -1) -> int:
    """Run an update; return the host's exit status."""
    board = HostBoard(host, flash, cut)
    try:
        update.install(Link(board, patience_s=0.2), images(seed), lambda done, total: None)
    except DeviceError:
        assert cut >= 0
    return board.close()


def boot(host: Path, flash: Path) -> bytes | None:
    """Return the image that the bootloader starts, None where it waits."""
    done = subprocess.run([host, flash, "-1", "boot"], capture_output=True, text=True, check=True)
    slot = int(done.stdout)
    if slot < 0:
        return None
    content = flash.read_bytes()[slot * SLOT_BYTES :][:SLOT_BYTES]
    return update.read_slot(content, BASES[slot])[1]


def confirm(host: Path, flash: Path, slot: int) -> None:
    board = HostBoard(host, flash, -1, "app", slot)
    update.confirm(Link(board))
    assert board.close() == 0


def is_one_of(image: bytes | None, *seeds: int) -> bool:
    return any(image in images(seed).values() for seed in seeds)


def test_blank_board_waits_then_runs_what_was_installed(host: Path, tmp_path: Path) -> None:
    flash = tmp_path / "flash"
    assert boot(host, flash) is None
    assert install(host, flash, 1) == 0
    assert is_one_of(boot(host, flash), 1)


def test_image_that_does_not_confirm_is_left_after_one_start(host: Path, tmp_path: Path) -> None:
    flash = tmp_path / "flash"
    install(host, flash, 1)
    assert is_one_of(boot(host, flash), 1)
    confirm(host, flash, 0)
    install(host, flash, 2)
    assert is_one_of(boot(host, flash), 2)
    assert is_one_of(boot(host, flash), 1)


def test_confirmed_image_stays(host: Path, tmp_path: Path) -> None:
    flash = tmp_path / "flash"
    for slot, seed in ((0, 1), (1, 2), (0, 3)):
        install(host, flash, seed)
        assert is_one_of(boot(host, flash), seed)
        confirm(host, flash, slot)
        assert is_one_of(boot(host, flash), seed)


def test_power_lost_at_every_percent_leaves_a_complete_image(host: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    install(host, old, 1)
    boot(host, old)
    confirm(host, old, 0)
    erased, programmed = SLOT_BYTES // 256, (3008 + update.HEADER_BYTES) // 8
    operations = erased + programmed
    seen = set()
    for percent in range(101):
        flash = tmp_path / "flash"
        flash.write_bytes(old.read_bytes())
        status = install(host, flash, 2, cut=operations * percent // 100)
        assert status == (42 if percent < 100 else 0)
        started = boot(host, flash)
        assert is_one_of(started, 1, 2)
        seen.add(is_one_of(started, 2))
        # The same command again repairs the board.
        assert install(host, flash, 3) == 0
        if percent % 10 == 0:
            assert is_one_of(boot(host, flash), 3)
    assert seen == {True, False}


def test_power_lost_within_the_header_leaves_the_old_image(host: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    install(host, old, 1)
    last = SLOT_BYTES // 256 + (3008 + update.HEADER_BYTES) // 8
    for cut in range(last - 4, last):
        flash = tmp_path / "flash"
        flash.write_bytes(old.read_bytes())
        assert install(host, flash, 2, cut=cut) == 42
        assert is_one_of(boot(host, flash), 1)


def test_power_lost_within_a_mark_leaves_a_complete_image(host: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    install(host, new, 1)
    boot(host, new)
    confirm(host, new, 0)
    install(host, new, 2)
    flash = tmp_path / "flash"
    operations = update.HEADER_BYTES // 8
    for cut in range(operations + 1):
        # While the bootloader notes that it starts the new image ...
        flash.write_bytes(new.read_bytes())
        done = subprocess.run([host, flash, str(cut), "boot"], capture_output=True, check=False)
        assert done.returncode == (42 if cut < operations else 0)
        assert is_one_of(boot(host, flash), 1, 2)
        # ... and while the new image confirms itself.
        flash.write_bytes(new.read_bytes())
        assert is_one_of(boot(host, flash), 2)
        board = HostBoard(host, flash, cut, "app", 1)
        if cut < operations:
            with pytest.raises(DeviceError):
                update.confirm(Link(board, patience_s=0.2))
        else:
            update.confirm(Link(board))
        board.close()
        assert is_one_of(boot(host, flash), 1, 2)
    assert is_one_of(boot(host, flash), 2)


def test_bit_flips_never_start_a_damaged_image(host: Path, tmp_path: Path) -> None:
    flash = tmp_path / "flash"
    install(host, flash, 1)
    confirm(host, flash, 0)
    install(host, flash, 2)
    content = flash.read_bytes()
    draw = random.Random(3)
    for _ in range(40):
        damaged = bytearray(content)
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        flash.write_bytes(damaged)
        assert is_one_of(boot(host, flash), 1, 2)


def test_images_that_do_not_fit_are_refused(host: Path, tmp_path: Path) -> None:
    board = HostBoard(host, tmp_path / "flash", -1)
    link = Link(board)
    with pytest.raises(MemoryBudgetError):
        update.install(link, images(1, 8000), lambda done, total: None)
    with pytest.raises(DeviceError, match="0x08000400"):
        update.install(link, {0x1234: b"x"}, lambda done, total: None)
    with pytest.raises(BoardError):
        link.request(update.FINISH, bytes(32), name="finish")
    assert board.close() == 0


def test_monitor_of_the_host_program_computes(host: Path, tmp_path: Path) -> None:
    board = HostBoard(host, tmp_path / "flash", -1)
    monitor = Monitor.connect(Link(board))
    values = np.arange(-150, 150).clip(-128, 127).astype(np.int8).reshape(1, 300)
    for run in (1, 2, 3):
        assert np.array_equal(monitor.run({"x": values}).outputs["sums"], expected(values, run))
    assert board.close() == 0


def test_repeated_requests_are_executed_once(host: Path, tmp_path: Path) -> None:
    board = HostBoard(host, tmp_path / "flash", -1)
    monitor = Monitor.connect(Link(board))
    values = np.ones((1, 300), np.int8)
    original = board.write

    def twice(data: bytes) -> int | None:
        original(data)
        return original(data)

    board.write = twice  # type: ignore[assignment]
    for run in (1, 2, 3):
        assert np.array_equal(monitor.run({"x": values}).outputs["sums"], expected(values, run))
    assert board.close() == 0


def test_fuzzed_requests_leave_the_monitor_sane(host: Path, tmp_path: Path) -> None:
    """Random bytes, and random bodies in undamaged frames, under address and UB sanitizers."""
    draw = random.Random(5)
    board = HostBoard(host, tmp_path / "flash", -1)
    board.timeout = 0
    for number in range(3000):
        if draw.random() < 0.3:
            board.write(draw.randbytes(draw.randrange(1, 400)))
        else:
            body = draw.randbytes(draw.choice([0, 1, 4, 5, 6, 32, 36, draw.randrange(241)]))
            if body and draw.random() < 0.7:
                body = bytes([draw.randrange(3)]) + body[1:]
            if len(body) > 4 and draw.random() < 0.7:
                body = body[:1] + draw.randrange(400).to_bytes(4, "little") + body[5:]
            board.write(Frame(draw.randrange(13), number, body).encode())
        board.read(65536)
    board.timeout = 0.2
    while board.read(65536):
        pass
    assert Monitor.connect(Link(board)).model.name == "sum"
    assert board.close() == 0


def test_silent_board_is_reported(host: Path, tmp_path: Path) -> None:
    board = HostBoard(host, tmp_path / "flash", -1)
    board.write = lambda data: len(data)  # type: ignore[assignment,method-assign]
    with pytest.raises(LinkTimeoutError, match="hello"):
        Monitor.connect(Link(board, patience_s=0.3))
    board.close()
