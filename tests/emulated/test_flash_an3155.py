"""Flashing by the ROM bootloader: RFC 2217 with parity and modem lines, then QEMU and inference."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from edgekit.deploy.serial import an3155
from edgekit.deploy.serial.flash_map import flash_map_of
from edgekit.deploy.serial.image_facts import ImageFacts
from edgekit.deploy.serial.link import Link
from edgekit.deploy.serial.monitor import Monitor
from edgekit.deploy.serial.ports import open_port
from edgekit.deploy.serial.programmer import flash_board
from edgekit.deploy.serial.reset import WIRINGS
from edgekit.deploy.toolchain import find_toolchain
from edgekit.emulators.nor_flash import NorFlash
from edgekit.emulators.qemu_board import has_qemu
from edgekit.emulators.serial_board import Noise, emulated_board
from edgekit.errors import DeviceError, LinkTimeoutError
from edgekit.profiles import load_profile
from tests.rom_port import RomPort
from tests.sum_firmware import build_firmware, expected

PROFILE = load_profile("stm32f405")
FLASH = flash_map_of(PROFILE)

on_qemu = pytest.mark.skipif(
    not has_qemu() or find_toolchain() is None, reason="no qemu-system-arm or cross compiler"
)


def image_of(seed: int, size: int = 20_000) -> bytes:
    return random.Random(seed).randbytes(size)


def flash_directly(port: RomPort, image: bytes) -> None:
    loader = an3155.Bootloader(port, WIRINGS["manual"])
    loader.connect()
    an3155.program(loader, FLASH, FLASH.address, image, lambda done, total: None)


@on_qemu
@pytest.mark.toolchain
@pytest.mark.slow
def test_flash_over_rfc2217_then_inferences(tmp_path: Path) -> None:
    pytest.importorskip("serial", reason="pyserial is not installed")
    image = build_firmware(tmp_path, term=5)
    facts = ImageFacts("image.bin", "an3155", FLASH.address, len(image), sha256="")
    with emulated_board(FLASH) as emulated:
        report = flash_board(
            PROFILE,
            image,
            facts,
            url=emulated.url,
            wiring=WIRINGS["dtr-rts"],
            progress=lambda done, total: None,
        )
        assert report.is_verified
        assert emulated.board.flash.data[: len(image)] == image
        events = emulated.board.events
        assert "parity=E" in events
        start = events.index("rts=1")
        assert events[start : start + 3] == ["rts=1", "dtr=1", "dtr=0"]
        assert emulated.board.state == "application"
        draw = np.random.default_rng(1)
        with open_port(emulated.url) as port:
            monitor = Monitor.connect(Link(port))
            assert monitor.model.name == "sum5"
            for run in range(1, 21):
                values = draw.integers(-128, 128, (1, 300)).astype(np.int8)
                outputs = monitor.run({"x": values}).outputs
                assert np.array_equal(outputs["sums"], expected(values, run, 5))


def test_rom_is_silent_without_even_parity() -> None:
    pytest.importorskip("serial", reason="pyserial is not installed")
    with emulated_board(FLASH) as emulated, open_port(emulated.url, parity="N") as port:
        loader = an3155.Bootloader(port, WIRINGS["dtr-rts"], answer_s=0.05)
        with pytest.raises(LinkTimeoutError):
            loader.connect()


def test_image_is_written_and_the_rest_left_alone() -> None:
    flash = NorFlash(FLASH)
    last = FLASH.sector_at(len(FLASH.sectors) - 1)
    flash.data[last.start] = 7
    image = image_of(1)
    flash_directly(RomPort(flash), image)
    assert flash.data[: len(image)] == image
    assert flash.data[last.start] == 7


def test_power_lost_at_every_percent_never_starts_a_part() -> None:
    old, new = image_of(1), image_of(2)
    flash = NorFlash(FLASH)
    flash_directly(RomPort(flash), old)
    before = bytes(flash.data)
    flash.operations = 0
    flash_directly(RomPort(flash), new)
    operations = flash.operations
    for percent in range(100):
        cut = NorFlash(FLASH, bytearray(before), cut_at=operations * percent // 100)
        port = RomPort(cut)
        with pytest.raises(DeviceError):
            flash_directly(port, new)
        assert port.has_lost_power
        starts = bytes(cut.data[: len(new)])
        assert cut.is_blank() or starts in (old, new)
        cut.cut_at = None
        flash_directly(RomPort(cut), new)
        assert cut.data[: len(new)] == new


def test_bits_that_flip_while_flashing_are_found() -> None:
    image = image_of(1)
    flash = NorFlash(FLASH)
    flash_directly(RomPort(flash, flip_at_write=3), image)
    assert flash.data[: len(image)] == image


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [0.0005, 0.1])
def test_noise_ends_with_the_right_image_or_an_error(rate: float, seed: int) -> None:
    image = image_of(seed, 3000)
    flash = NorFlash(FLASH)
    # Errors of the family DeviceError are what exit code 6 stands for; any other fails the test.
    is_done = True
    try:
        flash_directly(RomPort(flash, noise=Noise(rate, random=random.Random(seed))), image)
    except DeviceError:
        is_done = False
    assert not is_done or flash.data[: len(image)] == image
