"""Drivers of serial ports on the QEMU machines that have these ports: real firmware answers.

The port of nRF52840 is that of nRF51 (machine ``microbit``), the one of RP2040 and RP2350 is the
PL011 that Stellaris has too (``lm3s6965evb``). USART of STM32F4: tests/emulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekit.deploy.cores import CORES, Span
from edgekit.deploy.memory_layout import MemoryLayout
from edgekit.deploy.serial.link import Link
from edgekit.deploy.serial.monitor import Monitor
from edgekit.deploy.toolchain import Toolchain
from tests.qemu_port import QemuPort
from tests.sum_firmware import build_image_for, expected

pytestmark = [pytest.mark.toolchain, pytest.mark.emulated]


@dataclass(frozen=True)
class Machine:
    """A machine, its core and memories, the driver of its port and where that lies."""

    name: str
    core: str
    ram_bytes: int
    driver: str
    board: str


MACHINES = (
    Machine(
        "microbit",
        "cortex-m0plus",
        16 * 1024,
        "uart_nrf.c",
        "#define EK_UART0 0x40002000u\n#define EK_UART_TX 24u\n#define EK_UART_RX 25u\n"
        "#define EK_CLOCK_HZ 16000000u\n#define EK_UART_INTERRUPT 2u\n",
    ),
    Machine(
        "lm3s6965evb",
        "cortex-m3",
        64 * 1024,
        "uart_pl011.c",
        "#define EK_UART0 0x4000C000u\n#define EK_CLOCK_HZ 50000000u\n"
        "#define EK_UART_INTERRUPT 5u\n",
    ),
)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.driver)
def test_firmware_answers_by_the_driver(machine: Machine, qemu: Toolchain, tmp_path: Path) -> None:
    (tmp_path / "test_board.h").write_text(machine.board)
    layout = MemoryLayout("test", Span(0, 256 * 1024), Span(0x20000000, machine.ram_bytes))
    drivers = ("board_fixed.c", machine.driver)
    image = build_image_for(
        tmp_path, CORES[machine.core], layout, drivers=drivers, board="test_board.h"
    )
    port = QemuPort(image, machine.name)
    try:
        monitor = Monitor.connect(Link(port))
        draw = np.random.default_rng(1)
        for run in range(1, 6):
            values = draw.integers(-128, 128, (1, 300)).astype(np.int8)
            assert np.array_equal(monitor.run({"x": values}).outputs["sums"], expected(values, run))
    finally:
        port.uart.close()
