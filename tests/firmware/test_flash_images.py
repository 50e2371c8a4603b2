"""What ``flash`` writes, board by board: complete, where boot ROMs look, with stack enough."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path

import msgspec
import pytest

from edgekit.converters.emitters.c_source import emit_c
from edgekit.deploy.cores import CORES
from edgekit.deploy.firmware import FirmwareImage, build_image
from edgekit.deploy.memory_layout import board_layout
from edgekit.deploy.monitor_firmware import BOARDS, has_monitor, monitor_parts
from edgekit.deploy.serial import an3155, mcuboot, uf2
from edgekit.deploy.serial.flash_map import FlashMap, flash_map_of
from edgekit.deploy.serial.image_facts import FACTS_NAME, PROTOCOLS, ImageFacts
from edgekit.deploy.serial.reset import WIRINGS
from edgekit.deploy.stack_bound import EXCEPTION_FRAME_BYTES, FLOAT_FRAME_BYTES, CallGraph
from edgekit.deploy.toolchain import Toolchain
from edgekit.emulators.nor_flash import NorFlash
from edgekit.ops import registry
from edgekit.pipeline.firmware_files import firmware_files
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from tests.rom_port import RomPort
from tests.single_node_graphs import graph_of

pytestmark = pytest.mark.toolchain

Parts = tuple[dict[str, bytes], tuple[ImageFacts, ...], FirmwareImage]

ROM_BOARDS = sorted(name for name, board in BOARDS.items() if board.layout == "raw")


def build(device: str, folder: Path) -> Parts:
    """Return parts and facts of a model of one layer, and the image of that model alone."""
    profile = load_profile(device)
    case = next(c for c in registry()["fully_connected"].cases() if c.id == "int8_channel_row")
    graph, _ = graph_of("fully_connected", case)
    plan = build_plan(graph, profile, executor="reference")
    model = emit_c(graph, plan, "layer")
    assert has_monitor(graph, profile)
    bare = build_image(
        model.files,
        CORES[profile.toolchain],
        board_layout(profile),
        folder / "bare",
        program="bare",
        uses_float=model.uses_float,
        kernels=model.kernels,
    )
    flash = monitor_parts(graph, model, profile, folder / "monitor", bare)
    assert not flash.notes, flash.notes
    return dict(flash.parts), flash.images, bare


@pytest.fixture(scope="module")
def parts_of(toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    known: dict[str, Parts] = {}

    def find(device: str) -> Parts:
        if device not in known:
            known[device] = build(device, tmp_path_factory.mktemp(device))
        return known[device]

    return find


def program_in(content: bytes, facts: ImageFacts) -> tuple[int, bytes]:
    """Return where the program lies, and what lies there."""
    if facts.layout == "mcuboot":
        assert mcuboot.is_intact(content)
        start = mcuboot.program_offset(content)
        size = struct.unpack_from("<I", content, 12)[0]
        return facts.address + start, content[start : start + size]
    start = 256 if facts.layout == "rp2040" else 0
    return facts.address + start, content[start:]


@pytest.mark.parametrize("device", sorted(BOARDS))
def test_images_start_where_they_lie_and_carry_their_checksum(device: str, parts_of) -> None:  # type: ignore[no-untyped-def]
    profile = load_profile(device)
    parts, images, bare = parts_of(device)
    spoken = [name for name in profile.serial.protocols if name in PROTOCOLS]
    assert [facts.protocol for facts in images] == spoken
    assert images[0].file == "firmware/image.bin"
    assert set(parts) == {facts.file for facts in images} | {FACTS_NAME}
    flash = flash_map_of(profile)
    for facts in images:
        content = parts[facts.file]
        assert facts.size_bytes == len(content)
        assert facts.sha256 == hashlib.sha256(content).hexdigest()
        assert flash.address <= facts.address
        assert facts.address + len(content) <= flash.address + flash.size_bytes
        assert facts.flash_bytes > bare.flash_bytes
        start, program = program_in(content, facts)
        stack, reset = struct.unpack_from("<2I", program)
        rams = [memory for memory in profile.memories if memory.kind == "ram" and memory.address]
        assert any(
            ram.address.integer < stack <= ram.address.integer + ram.capacity_bytes.integer
            for ram in rams
        )
        assert reset % 2 == 1
        assert start < reset < start + len(program)
        assert program[-4:] == zlib.crc32(program[:-4]).to_bytes(4, "little")
        # A vector table lies at a multiple of its size, rounded up to a power of two.
        assert start % 512 == 0 or facts.layout == "rp2040"


@pytest.mark.parametrize("device", ["nano33ble", "stm32l4r5"])
def test_images_for_mcuboot_are_what_other_tools_read(
    device: str,
    parts_of,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    reader = pytest.importorskip("smpclient.mcuboot", reason="smpclient is not installed")
    parts, images, _ = parts_of(device)
    facts = next(image for image in images if image.protocol == "smp")
    content = parts[facts.file]
    path = tmp_path / "image.bin"
    path.write_bytes(content)
    info = reader.ImageInfo.load_file(str(path))
    assert info.header.hdr_size == mcuboot.HEADER_BYTES
    digest = info.get_tlv(reader.IMAGE_TLV.SHA256).value
    assert digest == mcuboot.recorded_digest(content)
    assert facts.address == flash_map_of(load_profile(device)).slot_address


def test_damage_to_an_image_for_mcuboot_is_found() -> None:
    content = mcuboot.wrap(bytes(range(256)))
    for position in (0, 8, 12, 500, 512, 700, len(content) - 40, len(content) - 1):
        damaged = bytearray(content)
        damaged[position] ^= 4
        assert not mcuboot.is_intact(bytes(damaged))
    assert mcuboot.is_intact(content + b"\xff" * 100)


def test_rp2040_has_a_second_stage_with_its_checksum(parts_of) -> None:  # type: ignore[no-untyped-def]
    parts, images, _ = parts_of("rp2040")
    content = parts[images[0].file]
    # The same polynomial as zlib's, bits taken from the other end.
    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in content[:252])
    expected = int(f"{zlib.crc32(mirrored) ^ 0xFFFFFFFF:032b}"[::-1], 2)
    assert struct.unpack_from("<I", content, 252)[0] == expected
    assert content[:4] != b"\xff" * 4
    blocks = uf2.to_uf2(content, address=images[0].address, device="rp2040")
    assert len(blocks) % 512 == 0


def test_rp2350_has_an_image_definition(parts_of) -> None:  # type: ignore[no-untyped-def]
    parts, images, _ = parts_of("rp2350")
    block = struct.pack("<5I", 0xFFFFDED3, 0x10210142, 0x1FF, 0, 0xAB123579)
    position = parts[images[0].file].find(block)
    assert 0 <= position < 4096
    assert position % 4 == 0


@pytest.mark.parametrize("device", ROM_BOARDS)
def test_images_pass_the_rom_bootloader_of_every_flash(device: str, parts_of) -> None:  # type: ignore[no-untyped-def]
    parts, images, _ = parts_of(device)
    flash: FlashMap = flash_map_of(load_profile(device))
    content = parts[images[0].file]
    memory = NorFlash(flash)
    loader = an3155.Bootloader(RomPort(memory), WIRINGS["manual"])
    loader.connect()
    an3155.program(loader, flash, images[0].address, content, lambda done, total: None)
    assert memory.data[: len(content)] == content


def test_stack_holds_monitor_model_and_interrupts(toolchain: Toolchain, tmp_path: Path) -> None:
    """Calls by pointer are taken together: the deepest handler, then the deepest of the model."""
    _, images, bare = build("stm32f405", tmp_path)
    if bare.stack_bound_bytes is None:
        pytest.skip("the compiler does not say how much stack functions take")
    graph = CallGraph.read((tmp_path / "monitor/objects").glob("*.ci"))
    for callees in graph.calls.values():
        callees.discard("__indirect_call")
    handlers = [name for name in graph.use_bytes if "monitor.c:" in name]
    assert any(name.endswith(":run") for name in handlers)
    frame = EXCEPTION_FRAME_BYTES + FLOAT_FRAME_BYTES
    needed = (
        graph.bound_bytes("ek_reset")
        + max(graph.bound_bytes(name) for name in handlers)
        + bare.stack_bound_bytes
        + 2 * frame
        + graph.bound_bytes("ek_uart_handler")
        + max(graph.bound_bytes(name) for name in graph.use_bytes if "systick" in name)
    )
    assert needed <= images[0].stack_bytes
    print(f"stack of the monitor image: {needed} of {images[0].stack_bytes} bytes at most")


def test_image_that_is_too_large_with_the_monitor_is_left_out_and_named(
    toolchain: Toolchain, tmp_path: Path
) -> None:
    profile = load_profile("stm32l4r5")
    flash = profile.flash
    assert flash is not None
    small = msgspec.structs.replace(flash.capacity_bytes, value=68 * 1024)
    memories = tuple(
        msgspec.structs.replace(memory, capacity_bytes=small) if memory is flash else memory
        for memory in profile.memories
    )
    # Behind MCUboot's 64 KiB only 4 are left.
    case = next(c for c in registry()["fully_connected"].cases() if c.id == "int8_channel_row")
    graph, _ = graph_of("fully_connected", case)
    plan = build_plan(graph, profile, executor="reference")
    made = firmware_files(graph, plan, msgspec.structs.replace(profile, memories=memories))
    assert [facts.protocol for facts in made.flash_images] == ["an3155"]
    assert any("smp" in note and "overflow" in note for note in made.notes)
