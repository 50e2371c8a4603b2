"""Firmware for STM32L4R5 on the emulated STM32F405: the bridge between their serial ports."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.deploy.serial.flash_map import flash_map_of
from edgekit.deploy.serial.link import Link
from edgekit.deploy.serial.monitor import Monitor
from edgekit.deploy.serial.ports import open_port
from edgekit.deploy.toolchain import find_toolchain
from edgekit.dtypes import Array
from edgekit.emulators.nor_flash import NorFlash
from edgekit.emulators.qemu_board import has_qemu
from edgekit.emulators.serial_board import emulated_board
from edgekit.emulators.stm32_bridge import BRIDGE_OFFSET, bridged, same_crc
from edgekit.errors import DeviceError, EmulatorError
from edgekit.ops import registry
from edgekit.ops.evaluate import evaluate
from edgekit.pipeline.firmware_files import firmware_files
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from tests.single_node_graphs import graph_of

pytestmark = pytest.mark.emulated

PROFILE = load_profile("stm32l4r5")
FLASH = flash_map_of(PROFILE)


@dataclass(frozen=True)
class Firmware:
    """An image for ``flash``, inputs of its model, and the outputs that are right."""

    image: bytes
    inputs: dict[str, Array]
    expected: dict[str, Array]


@pytest.fixture(scope="module")
def firmware() -> Firmware:
    if find_toolchain() is None or not has_qemu():
        pytest.skip("no cross compiler for Cortex-M, or qemu-system-arm is not installed")
    pytest.importorskip("serial", reason="pyserial is not installed")
    case = next(c for c in registry()["fully_connected"].cases() if c.id == "int8_channel_row")
    graph, inputs = graph_of("fully_connected", case)
    plan = build_plan(graph, PROFILE, executor="reference")
    image = firmware_files(graph, plan, PROFILE).files["firmware/image.bin"]
    return Firmware(image, inputs, evaluate(graph, inputs))


def flash_with(image: bytes) -> NorFlash:
    flash = NorFlash(FLASH)
    flash.data[: len(image)] = image
    return flash


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=36, max_size=36))
def test_four_bytes_bring_any_checksum_back(prefix: bytes, original: bytes) -> None:
    assert zlib.crc32(prefix + same_crc(prefix, original)) == zlib.crc32(original)


@pytest.mark.toolchain
def test_image_is_run_as_it_was_written(firmware: Firmware) -> None:
    with emulated_board(FLASH, flash=flash_with(firmware.image)) as board:
        with open_port(board.url) as port:
            outputs = Monitor.connect(Link(port)).run(firmware.inputs).outputs
        assert bytes(board.board.flash.data[: len(firmware.image)]) == firmware.image
    for name, expected in firmware.expected.items():
        assert np.array_equal(outputs[name], expected)


@pytest.mark.toolchain
@pytest.mark.parametrize("offset", [12, 32, 2000, -1])
def test_a_flipped_bit_is_found_as_it_would_be_without_the_bridge(
    firmware: Firmware, offset: int
) -> None:
    image = bytearray(firmware.image)
    image[offset] ^= 0x40
    with (
        emulated_board(FLASH, flash=flash_with(bytes(image))) as board,
        open_port(board.url) as port,
        pytest.raises(DeviceError),
    ):
        Monitor.connect(Link(port)).run(firmware.inputs)


@pytest.mark.toolchain
def test_only_three_words_change(firmware: Firmware) -> None:
    content = bytes(flash_with(firmware.image).data)
    image = bridged(content, 0, "stm32l4r5")
    changed = [
        at for at in range(0, BRIDGE_OFFSET, 4) if image[at : at + 4] != content[at : at + 4]
    ]
    assert changed == [4, 12, 32]
    assert zlib.crc32(image[:BRIDGE_OFFSET]) == zlib.crc32(content[:BRIDGE_OFFSET])


def test_firmware_beyond_the_machines_flash_is_refused() -> None:
    flash = NorFlash(FLASH)
    flash.data[BRIDGE_OFFSET] = 0
    with pytest.raises(EmulatorError, match="flash for firmware"):
        bridged(bytes(flash.data), 0, "stm32l4r5")
