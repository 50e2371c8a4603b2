"""Firmware that answers ``edgekit monitor``: which boards it is built for, and how.

An image is the model, its kernels, the monitor of ``csrc/monitor`` and the driver of one serial
port; ``flash`` writes it. It is linked to where the board's bootloader expects it.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.converters.emitters.c_source import CModel
from edgekit.deploy.cores import CORES, Span
from edgekit.deploy.elf_file import ElfFile
from edgekit.deploy.firmware import FirmwareImage, Objects, compile_objects, link_image
from edgekit.deploy.memory_layout import MemoryLayout, board_layout
from edgekit.deploy.serial import mcuboot
from edgekit.deploy.serial.flash_map import flash_map_of
from edgekit.deploy.serial.image_facts import FACTS_NAME, PROTOCOLS, FlashImages, ImageFacts
from edgekit.deploy.serial.monitor import DTYPES
from edgekit.deploy.toolchain import BuildError
from edgekit.errors import MemoryBudgetError
from edgekit.graph import Graph, Tensor
from edgekit.profiles import DeviceProfile

MAX_NAME_BYTES = 120
MAX_RANK = 6

MONITOR_STACK_BYTES = 2048
"""For the monitor, on top of what the model takes; tests compare it with the call graph."""

BOOT2_BYTES = 256
"""Second stage of RP2040, the last four bytes its CRC."""


@dataclass(frozen=True, slots=True)
class MonitorBoard:
    """A board whose serial port there is a driver for.

    Parameters
    ----------
    program : str
        Key of :data:`edgekit.deploy.firmware.PROGRAMS`.
    port : str
        Where to connect, for people.
    layout : str
        Of the image for the board's own boot ROM, as in :class:`ImageFacts`.
    avoided : tuple of str
        Memories that hold nothing as long as everything fits elsewhere.
    """

    program: str
    port: str
    layout: str = "raw"
    avoided: tuple[str, ...] = ()


_USART1 = "USART1: PA9 sends, PA10 receives"
_RP2 = "UART0: GP0 sends, GP1 receives"

BOARDS: Mapping[str, MonitorBoard] = {
    # The core-coupled memory is reached by no DMA, and the emulated board has none.
    "stm32f405": MonitorBoard("monitor_stm32f4", _USART1, avoided=("ccm",)),
    "stm32f746": MonitorBoard("monitor_stm32", _USART1),
    "stm32h743": MonitorBoard("monitor_stm32", _USART1),
    "stm32h7a3": MonitorBoard("monitor_stm32", _USART1),
    "stm32l4r5": MonitorBoard("monitor_stm32", _USART1),
    "stm32u575": MonitorBoard("monitor_stm32", _USART1),
    "nano33ble": MonitorBoard("monitor_nrf", "pins TX and RX", layout="mcuboot"),
    "rp2040": MonitorBoard("monitor_rp2040", _RP2, layout="rp2040"),
    "rp2350": MonitorBoard("monitor_rp2350", _RP2, layout="rp2350"),
}
"""Devices that images for ``flash`` are built for; ``csrc/firmware/boards`` has their registers."""


@dataclass(frozen=True, slots=True)
class FlashParts:
    """What a package gets for ``flash``.

    Parameters
    ----------
    parts : mapping of part name to bytes
        ``firmware/image.bin``, ``firmware/image-<protocol>.bin``, ``firmware/image.json``.
    images : tuple of ImageFacts
    notes : tuple of str
        Which images there are not, and why.
    """

    parts: Mapping[str, bytes]
    images: tuple[ImageFacts, ...]
    notes: tuple[str, ...] = ()


def has_monitor(graph: Graph, profile: DeviceProfile) -> bool:
    """Whether an image for ``flash`` can be built."""
    known = set(DTYPES.values())
    tensors = [graph.tensors[name] for name in (*graph.inputs, *graph.outputs)]
    return profile.name in BOARDS and all(
        tensor.dtype.value in known and len(tensor.static_shape) <= MAX_RANK for tensor in tensors
    )


def monitor_parts(
    graph: Graph, model: CModel, profile: DeviceProfile, folder: Path, bare: FirmwareImage
) -> FlashParts:
    """Build the images that ``flash`` writes, one for each protocol of the device.

    Parameters
    ----------
    graph : Graph
    model : CModel
        What was generated for ``graph``.
    profile : DeviceProfile
        One for which :func:`has_monitor` holds.
    folder : Path
        For object files.
    bare : FirmwareImage
        Of the model alone; the monitor's stack comes on top of the model's.

    Raises
    ------
    ToolchainMissingError, BuildError
        If there is no compiler, or it refuses the sources.
    """
    files = {**model.files, "monitor_model.c": monitor_source(graph)}
    model = replace(model, files=files)
    stack_bytes = bare.stack_bytes + MONITOR_STACK_BYTES
    objects = _compile(model, profile, folder)
    parts: dict[str, bytes] = {}
    facts: list[ImageFacts] = []
    notes: list[str] = []
    spoken = profile.serial.protocols if profile.serial else ()
    for protocol in (name for name in spoken if name in PROTOCOLS):
        try:
            place = _place(profile, protocol)
            image = _link(objects, profile, place, folder / protocol, stack_bytes)
        except MemoryBudgetError as error:
            notes.append(f"No image for flash by {protocol}: {error}")
            continue
        except BuildError as error:
            lines = [line for line in str(error).splitlines() if "overflow" in line]
            if not lines:
                raise
            reason = lines[0].rpartition(": ")[2]
            notes.append(f"No image for flash by {protocol}, too large with the monitor: {reason}")
            continue
        content = _finished(place, ElfFile.read(image.elf))
        name = f"firmware/image{f'-{protocol}' if facts else ''}.bin"
        parts[name] = content
        facts.append(_facts(name, protocol, place, content, image, graph, profile))
    if facts:
        parts[FACTS_NAME] = FlashImages(profile.name, tuple(facts)).to_json()
    return FlashParts(parts, tuple(facts), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an image goes, and where in it the program is linked to."""

    layout: str
    address: int
    offset_bytes: int


def _place(profile: DeviceProfile, protocol: str) -> _Place:
    flash = flash_map_of(profile)
    if protocol == "smp":
        return _Place("mcuboot", flash.slot_address, mcuboot.HEADER_BYTES)
    layout = BOARDS[profile.name].layout
    return _Place(layout, flash.address, BOOT2_BYTES if layout == "rp2040" else 0)


def _compile(model: CModel, profile: DeviceProfile, folder: Path) -> Objects:
    baud = profile.serial.baud.integer if profile.serial else 115200
    return compile_objects(
        model.files,
        CORES[profile.toolchain],
        folder,
        program=BOARDS[profile.name].program,
        defines=(f"EK_BAUD={baud}u", f'EK_BOARD="boards/{profile.name}.h"', "EK_HAS_VTOR=1"),
        uses_float=model.uses_float,
        kernels=model.kernels,
    )


def _link(
    objects: Objects, profile: DeviceProfile, place: _Place, folder: Path, stack_bytes: int
) -> FirmwareImage:
    whole = _shifted(board_layout(profile), place)
    if BOARDS[profile.name].avoided:
        one_memory = replace(whole, ram=whole.arena or whole.ram, arena=None)
        try:
            return link_image(objects, one_memory, folder, stack_bytes=stack_bytes)
        except BuildError:
            # Something overflows: then with every memory.
            return link_image(objects, whole, folder, stack_bytes=stack_bytes)
    return link_image(objects, whole, folder, stack_bytes=stack_bytes)


def _shifted(layout: MemoryLayout, place: _Place) -> MemoryLayout:
    """Return a layout whose program begins where the image's program does."""
    start = place.address + place.offset_bytes
    end = layout.flash.address + layout.flash.size_bytes
    boot = Span(place.address, BOOT2_BYTES) if place.layout == "rp2040" else None
    return replace(layout, flash=Span(start, end - start), boot=boot)


def _finished(place: _Place, elf: ElfFile) -> bytes:
    """Return the image: what was linked, its CRC, and what the bootloader needs around it."""
    first, binary = elf.binary()
    # Linkers may begin the first segment with a page, headers of the file in it.
    start = place.address + place.offset_bytes
    end = elf.symbols()["ek_image_end"][0]
    program = binary[start - first : end - first]
    program += zlib.crc32(program).to_bytes(4, "little")
    if place.layout == "mcuboot":
        return mcuboot.wrap(program)
    if place.layout == "rp2040":
        boot = binary[place.address - first : start - first].ljust(BOOT2_BYTES, b"\xff")[:-4]
        return boot + boot_checksum(boot).to_bytes(4, "little") + program
    return program


def boot_checksum(data: bytes) -> int:
    """Return the CRC that the boot ROM of RP2040 compares (data sheet, section 2.8.1.3.1)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def _facts(
    name: str,
    protocol: str,
    place: _Place,
    content: bytes,
    image: FirmwareImage,
    graph: Graph,
    profile: DeviceProfile,
) -> ImageFacts:
    return ImageFacts(
        file=name,
        protocol=protocol,
        address=place.address,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        layout=place.layout,
        contains=(f"model {graph.name}", "monitor", f"driver of {BOARDS[profile.name].port}"),
        flash_bytes=image.flash_bytes,
        static_bytes=image.static_bytes,
        arena_bytes=image.arena_bytes,
        stack_bytes=image.stack_bytes,
        baud=profile.serial.baud.integer if profile.serial else 115200,
    )


def monitor_source(graph: Graph) -> bytes:
    """Return ``monitor_model.c``: names, types and shapes of inputs and outputs."""
    tensors = [graph.tensors[name] for name in (*graph.inputs, *graph.outputs)]
    rows = "".join(f"    {_row(tensor)},\n" for tensor in tensors)
    return (
        "/* What the monitor tells about the model. */\n"
        '#include "../monitor/monitor.h"\n\n'
        f"const char *const ek_monitor_model_name = {_text(graph.name)};\n\n"
        f"const ek_monitor_tensor ek_monitor_tensors[] = {{\n{rows}}};\n"
    ).encode()


def _row(tensor: Tensor) -> str:
    codes = {name: code for code, name in DTYPES.items()}
    shape = tensor.static_shape
    scale, zero_point = 0.0, 0
    if tensor.quantization is not None and tensor.quantization.axis is None:
        scale = float(tensor.quantization.scale[0])
        zero_point = int(tensor.quantization.zero_point[0])
    dims = ", ".join(f"{dim}u" for dim in shape) or "0"
    return (
        f"{{.name = {_text(tensor.name)}, .bytes = {tensor.size_bytes}u, "
        f".dtype = {codes[tensor.dtype.value]}, .rank = {len(shape)}, .shape = {{{dims}}}, "
        f".scale = {scale!r}f, .zero_point = {zero_point}}}"
    )


def _text(name: str) -> str:
    """Return a C string of at most ``MAX_NAME_BYTES`` bytes."""
    data = name.encode()[:MAX_NAME_BYTES]
    safe = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in data)
    return f'"{safe}"'
