"""Flashing by SMP through smpclient, then the board boots what was sent and computes."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from edgekit.deploy.serial import mcuboot, smp
from edgekit.deploy.serial.flash_map import flash_map_of
from edgekit.deploy.serial.link import Link
from edgekit.deploy.serial.monitor import Monitor
from edgekit.deploy.serial.ports import open_port
from edgekit.deploy.toolchain import find_toolchain
from edgekit.emulators.nor_flash import NorFlash
from edgekit.emulators.qemu_board import has_qemu
from edgekit.emulators.serial_board import emulated_board
from edgekit.profiles import load_profile
from tests.sum_firmware import build_firmware, expected

pytest.importorskip("smpclient", reason="smpclient is not installed")

FLASH = flash_map_of(load_profile("stm32f405"))
SLOT = FLASH.slot_address


@pytest.mark.skipif(
    not has_qemu() or find_toolchain() is None, reason="no qemu-system-arm or cross compiler"
)
@pytest.mark.toolchain
@pytest.mark.slow
def test_flash_by_smp_then_inferences(tmp_path: Path) -> None:
    image = mcuboot.wrap(build_firmware(tmp_path, term=9, address=SLOT + mcuboot.HEADER_BYTES))
    with (
        emulated_board(FLASH, protocol="smp", has_modem_lines=False) as emulated,
        open_port(emulated.url) as port,
    ):
        done: list[int] = []
        smp.program(port, image, lambda sent, total: done.append(sent))
        assert done[-1] == len(image)
        start = FLASH.slot_address - FLASH.address
        assert emulated.board.flash.data[start : start + len(image)] == image
        assert emulated.board.state == "application"
        monitor = Monitor.connect(Link(port))
        draw = np.random.default_rng(2)
        for run in range(1, 21):
            values = draw.integers(-128, 128, (1, 300)).astype(np.int8)
            outputs = monitor.run({"x": values}).outputs
            assert np.array_equal(outputs["sums"], expected(values, run, 9))


def test_flash_that_does_not_hold_the_image_is_reported() -> None:
    flash = NorFlash(FLASH)
    image = mcuboot.wrap(random.Random(1).randbytes(2000))
    with (
        emulated_board(FLASH, protocol="smp", has_modem_lines=False, flash=flash) as emulated,
        open_port(emulated.url) as port,
    ):

        def age(sent: int, total: int) -> None:
            if sent == total:
                flash.flip(SLOT - FLASH.address + 1000, 2)

        with pytest.raises(smp.FlashError):
            smp.program(port, image, age)
        assert emulated.board.state == "bootloader"
