"""Bad lines and boards that fall silent: survived, or an error of the family that exits with 6.

Whatever is returned is right: never a wrong result, never a wrong image called good.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from edgekit.deploy.serial import an3155, mcuboot, smp
from edgekit.deploy.serial.flash_map import flash_map_of
from edgekit.deploy.serial.link import Link
from edgekit.deploy.serial.monitor import Monitor
from edgekit.deploy.serial.ports import Port
from edgekit.deploy.serial.reset import WIRINGS
from edgekit.emulators.nor_flash import NorFlash
from edgekit.errors import DeviceError, LinkTimeoutError
from edgekit.profiles import load_profile
from tests.noisy_line import KINDS, NoisyLine, noise_of
from tests.rom_port import RomPort
from tests.smp_port import SmpPort
from tests.sum_firmware import HostBoard, build_host, expected, has_compiler

pytestmark = pytest.mark.emulated

FLASH = flash_map_of(load_profile("stm32f405"))
SLOT = FLASH.slot_address - FLASH.address
SEEDS = 5

with_compiler = pytest.mark.skipif(not has_compiler(), reason="no C compiler (cc)")
with_smp = pytest.mark.skipif(
    importlib.util.find_spec("smpclient") is None,
    reason="smpclient is not installed",
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_host(tmp_path_factory.mktemp("host"))


def ignore(done: int, total: int) -> None:
    """Take the progress of an upload."""


def survives(action: Callable[[], None]) -> bool:
    """Run it; errors that are not of the family DeviceError, which exits with 6, fail the test."""
    try:
        action()
    except DeviceError:
        return False
    return True


def infer(port: Port, patience_s: float = 0.6) -> None:
    """Say hello and compute; every result is compared with what is right."""
    monitor = Monitor.connect(Link(port, patience_s=patience_s, first_wait_s=0.01))
    monitor.run_wait_s = 0.02
    draw = np.random.default_rng(1)
    for run in (1, 2, 3):
        values = draw.integers(-128, 128, (1, 300)).astype(np.int8)
        assert np.array_equal(monitor.run({"x": values}).outputs["sums"], expected(values, run))


def flash_by_rom(port: Port, image: bytes) -> None:
    loader = an3155.Bootloader(port, WIRINGS["manual"])
    loader.connect()
    an3155.program(loader, FLASH, FLASH.address, image, ignore)


@with_compiler
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rate", "patience_s"), [(0.001, 5.0), (0.01, 0.4), (0.1, 0.4)])
def test_monitor_on_a_bad_line_is_right_or_fails(
    host: Path, tmp_path: Path, kind: str, rate: float, patience_s: float
) -> None:
    survived = 0
    for seed in range(SEEDS):
        board = HostBoard(host, tmp_path / "flash", -1)
        line = NoisyLine(board, noise_of(kind, rate, seed))
        survived += survives(partial(infer, line, patience_s))
        board.close()
    print(f"monitor, {kind} {rate:.1%}: {survived} of {SEEDS} survive")
    assert survived == SEEDS or rate > 0.001


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.0001, 0.001, 0.1])
def test_rom_bootloader_on_a_bad_line_gets_the_image_or_fails(kind: str, rate: float) -> None:
    survived = 0
    for seed in range(SEEDS):
        image = random.Random(seed).randbytes(3000)
        flash = NorFlash(FLASH)
        port = RomPort(flash, noise=noise_of(kind, rate, seed))
        is_done = survives(partial(flash_by_rom, port, image))
        assert not is_done or flash.data[: len(image)] == image
        survived += is_done
    print(f"an3155, {kind} {rate:.2%}: {survived} of {SEEDS} survive")
    assert survived or rate > 0.0001


@with_smp
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.0001, 0.001, 0.1])
def test_smp_on_a_bad_line_gets_the_image_or_fails(kind: str, rate: float) -> None:
    survived = 0
    for seed in range(SEEDS):
        image = mcuboot.wrap(random.Random(seed).randbytes(3000))
        flash = NorFlash(FLASH)
        port = SmpPort(flash, noise=noise_of(kind, rate, seed))
        upload = partial(smp.program, port, image, ignore, timeout_s=0.05)
        is_done = survives(upload)
        assert not is_done or flash.data[SLOT : SLOT + len(image)] == image
        survived += is_done
    print(f"smp, {kind} {rate:.2%}: {survived} of {SEEDS} survive")
    assert survived or rate > 0.0001


def test_rom_bootloader_that_falls_silent_at_any_moment_is_given_up_in_time() -> None:
    image = random.Random(1).randbytes(1500)
    whole = RomPort(NorFlash(FLASH), silent_after=1_000_000)
    flash_by_rom(whole, image)
    sent = 1_000_000 - (whole.silent_after or 0)
    for silent_after in range(0, sent - 300, 37):
        port = RomPort(NorFlash(FLASH), silent_after=silent_after)
        with pytest.raises(LinkTimeoutError):
            flash_by_rom(port, image)
        assert port.waited_s < an3155.SILENCE_S


@with_smp
@pytest.mark.parametrize("silent_after", [0, 30, 200, 1000, 2500, 4000])
def test_smp_bootloader_that_falls_silent_is_reported(silent_after: int) -> None:
    port = SmpPort(NorFlash(FLASH), silent_after=silent_after)
    image = mcuboot.wrap(random.Random(1).randbytes(3000))
    with pytest.raises(LinkTimeoutError):
        smp.program(port, image, ignore, timeout_s=0.05)


@with_compiler
def test_monitor_that_falls_silent_at_any_moment_is_reported(host: Path, tmp_path: Path) -> None:
    for frames in range(12):
        board = HostBoard(host, tmp_path / "flash", -1)
        original, left = board.write, iter(range(frames))

        def write(data: bytes, send=original, count=left) -> int | None:  # type: ignore[no-untyped-def]
            return send(data) if next(count, None) is not None else len(data)

        board.write = write  # type: ignore[assignment,method-assign]
        with pytest.raises(LinkTimeoutError):
            infer(board, patience_s=0.1)
        board.close()


@with_smp
def test_power_lost_at_every_percent_of_an_smp_upload_is_repaired_by_the_same_command() -> None:
    images = [mcuboot.wrap(random.Random(seed).randbytes(5000)) for seed in (1, 2)]

    def upload(port: SmpPort, image: bytes) -> None:
        smp.program(port, image, ignore)

    flash = NorFlash(FLASH)
    upload(SmpPort(flash), images[0])
    before = bytes(flash.data)
    flash.operations = 0
    upload(SmpPort(flash), images[1])
    operations = flash.operations
    for percent in range(100):
        cut = NorFlash(FLASH, bytearray(before), cut_at=operations * percent // 100)
        with pytest.raises(DeviceError):
            upload(SmpPort(cut), images[1])
        # Restarted, it has nothing but its flash: a complete image, or it waits.
        starts = SmpPort(cut).server.program_address() is not None
        held = bytes(cut.data[SLOT : SLOT + len(images[0])])
        assert not starts or held in images
        cut.cut_at = None
        upload(SmpPort(cut), images[1])
        assert SmpPort(cut).server.program_address() is not None
        assert cut.data[SLOT : SLOT + len(images[1])] == images[1]
