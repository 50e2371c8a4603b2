"""Images on their way into flash: UF2 files, slots, sectors."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.deploy.serial import uf2, update
from edgekit.deploy.serial.flash_map import FlashMap, flash_map_of
from edgekit.deploy.serial.image_facts import ImageFacts, choose_protocol
from edgekit.deploy.serial.programmer import FlashReport, check_product, flash_board
from edgekit.deploy.serial.reset import WIRINGS
from edgekit.errors import DeviceError, MemoryBudgetError, UsageError
from edgekit.profiles import load_profile

BOARDS = ("stm32f405", "stm32f746", "stm32h743", "stm32h7a3", "stm32l4r5", "stm32u575")


@given(st.binary(min_size=1, max_size=2000))
def test_uf2_blocks_carry_the_image_to_consecutive_addresses(image: bytes) -> None:
    content = uf2.to_uf2(image, address=0x10000000, device="rp2040")
    assert len(content) == 512 * (-(-len(image) // 256))
    found = b""
    for number in range(len(content) // 512):
        block = content[512 * number : 512 * number + 512]
        head = struct.unpack_from("<8I", block)
        assert head[:2] == (0x0A324655, 0x9E5D5157)
        assert head[3] == 0x10000000 + 256 * number
        assert head[5:] == (number, len(content) // 512, 0xE48BFF56)
        assert block[-4:] == struct.pack("<I", 0x0AB16F30)
        found += block[32 : 32 + head[4]]
    assert found[: len(image)] == image


def test_uf2_is_refused_for_other_devices() -> None:
    with pytest.raises(UsageError, match="rp2040"):
        uf2.to_uf2(b"x", address=0, device="stm32f405")


def test_uf2_drive_is_found_and_written(tmp_path) -> None:  # type: ignore[no-untyped-def]
    drive = tmp_path / "RPI RP2"
    drive.mkdir()
    mounts = f"/dev/sda1 {str(drive).replace(' ', chr(92) + '040')} vfat rw 0 0\n"
    with pytest.raises(DeviceError, match="BOOTSEL"):
        uf2.find_drive("rp2040", mounts)
    info = "UF2 Bootloader v3.0\nModel: Raspberry Pi RP2\nBoard-ID: {}\n"
    (drive / "INFO_UF2.TXT").write_text(info.format("RP2350"))
    with pytest.raises(DeviceError, match="of RP2350"):
        uf2.find_drive("rp2040", mounts)
    with pytest.raises(DeviceError, match="not of RPI-RP2"):
        uf2.copy_to_drive(b"content", drive, "rp2040")
    (drive / "INFO_UF2.TXT").write_text(info.format("RPI-RP2"))
    assert uf2.find_drive("rp2040", mounts) == drive
    uf2.copy_to_drive(b"content", drive, "rp2040")
    assert (drive / "firmware.uf2").read_bytes() == b"content"


def test_board_is_flashed_by_a_file_on_its_drive(tmp_path) -> None:  # type: ignore[no-untyped-def]
    image = bytes(range(256)) * 3
    facts = ImageFacts("image.bin", "uf2", 0x10000000, len(image), sha256="")
    done: list[int] = []

    def flash(drive: Path) -> FlashReport:
        return flash_board(
            load_profile("rp2040"),
            image,
            facts,
            url=str(drive),
            wiring=WIRINGS["manual"],
            progress=lambda sent, total: done.append(sent),
        )

    with pytest.raises(DeviceError, match="bootloader"):
        flash(tmp_path)
    (tmp_path / uf2.INFO_FILE).write_text("UF2 Bootloader\nBoard-ID: RPI-RP2\n")
    report = flash(tmp_path)
    assert (report.port, report.protocol) == (str(tmp_path), "uf2")
    assert not report.is_verified
    assert done == [len(image)]
    written = (tmp_path / "firmware.uf2").read_bytes()
    assert written == uf2.to_uf2(image, address=0x10000000, device="rp2040")


@given(st.binary(min_size=1, max_size=500), st.integers(0, 2**32 - 1), st.data())
def test_slots_are_read_back_and_damage_is_found(
    image: bytes, version: int, data: st.DataObject
) -> None:
    content = update.slot_content(image, version=version, address=0x08001400)
    header, found = update.read_slot(content, 0x08001000)
    assert (header.version, found) == (version, image)
    places = [*range(update.HEADER_BYTES), *range(update.IMAGE_OFFSET, len(content))]
    position = data.draw(st.sampled_from(places))
    damaged = bytearray(content)
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DeviceError):
        update.read_slot(bytes(damaged), 0x08001000)


@pytest.mark.parametrize("device", BOARDS)
def test_sectors_cover_the_flash_of_the_profile(device: str) -> None:
    profile = load_profile(device)
    flash = flash_map_of(profile)
    assert profile.flash is not None
    assert flash.size_bytes == profile.flash.capacity_bytes.integer
    assert flash.sectors_of(flash.address, flash.size_bytes) == tuple(range(len(flash.sectors)))


def test_sectors_touched_and_refused() -> None:
    flash = FlashMap("board", 0x1000, (16, 16, 64))
    assert flash.sectors_of(0x1000, 17) == (0, 1)
    assert flash.sectors_of(0x1010, 17) == (1, 2)
    with pytest.raises(MemoryBudgetError):
        flash.sectors_of(0x1000, 97)
    with pytest.raises(DeviceError):
        flash.sectors_of(0x0FF0, 4)
    with pytest.raises(DeviceError):
        flash.sectors_of(0x1008, 4)


def test_protocol_is_the_device_s() -> None:
    assert choose_protocol(load_profile("stm32l4r5"), None) == "an3155"
    assert choose_protocol(load_profile("rp2040"), None) == "uf2"
    with pytest.raises(UsageError, match="an3155"):
        choose_protocol(load_profile("stm32l4r5"), "uf2")
    with pytest.raises(DeviceError, match="esp-rom"):
        choose_protocol(load_profile("esp32s3"), None)


def test_board_of_another_type_is_refused() -> None:
    profile = load_profile("stm32l4r5")
    check_product(profile, 0x470)
    with pytest.raises(DeviceError, match="stm32f405"):
        check_product(profile, 0x413)
