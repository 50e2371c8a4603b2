"""Firmware of one STM32 on QEMU's machine of another: a program that stands between them.

QEMU 7.2 has one STM32 with a Cortex-M4, the STM32F405 (``netduinoplus2``). Firmware for a later one
runs the same instructions but talks to another USART. ``csrc/emulated/usart_bridge.c`` takes the
faults of these accesses and performs them on the USART that there is. It lies in the last 4 KiB
of the machine's flash. Three words of the firmware's vector table change: reset and hard fault
lead to the bridge, and a reserved entry, which no core reads, makes up for it, so that the
firmware's own check of its image holds or fails as it would without.

What the machine cannot give: more than 192 KiB of RAM at 0x20000000 or 1 MiB of flash.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from functools import cache
from pathlib import Path

from edgekit.deploy.cores import CORES
from edgekit.deploy.elf_file import ElfFile
from edgekit.deploy.firmware import CSRC
from edgekit.deploy.toolchain import require_toolchain
from edgekit.errors import EmulatorError

BRIDGED = frozenset({"stm32l4r5"})
"""Devices whose firmware runs behind the bridge; ``csrc/firmware/boards`` has their registers."""

FLASH_ADDRESS = 0x08000000
FLASH_BYTES = 1 << 20
BRIDGE_OFFSET = FLASH_BYTES - 4096

RESET, HARD_FAULT, RESERVED = 4, 12, 32
"""Offsets in a vector table (Armv7-M Architecture Reference Manual, B1.5.3)."""

_WORD = struct.Struct("<I")
_CRC_TABLE = tuple(zlib.crc32(bytes([value]), 0xFFFFFFFF) ^ 0xFFFFFFFF for value in range(256))


def bridged(content: bytes, start: int, device: str) -> bytes:
    """Return the content of a flash with the bridge in it, for ``netduinoplus2``.

    Parameters
    ----------
    content : bytes
        Of the device's flash.
    start : int
        Offset of the vector table of the program that is to run.
    device : str
        One of :data:`BRIDGED`.

    Raises
    ------
    EmulatorError
        If something lies in the flash where the machine has none, or the bridge.
    ToolchainMissingError, BuildError
        If the bridge cannot be built.
    """
    if content[BRIDGE_OFFSET:].strip(b"\xff"):
        raise EmulatorError(
            f"{device}: the emulated machine has {BRIDGE_OFFSET:,} bytes of flash for firmware"
        )
    image = bytearray(content[:BRIDGE_OFFSET].ljust(FLASH_BYTES, b"\xff"))
    table = bytes(image[start : start + RESERVED + _WORD.size])
    program, reset, fault = bridge_program(device)
    entries = table[RESET : RESET + 4] + table[HARD_FAULT : HARD_FAULT + 4]
    image[BRIDGE_OFFSET : BRIDGE_OFFSET + len(program)] = entries + program[len(entries) :]
    changed = bytearray(table)
    _WORD.pack_into(changed, RESET, reset)
    _WORD.pack_into(changed, HARD_FAULT, fault)
    changed[RESERVED:] = same_crc(bytes(changed[:RESERVED]), table)
    image[start : start + len(changed)] = changed
    return bytes(image)


@cache
def bridge_program(device: str) -> tuple[bytes, int, int]:
    """Return the bridge for a device, and the addresses of its reset and fault handlers.

    Raises
    ------
    ToolchainMissingError, BuildError
        If there is no compiler, or it refuses.
    """
    toolchain, core = require_toolchain(), CORES["cortex-m4"].without_float()
    folder = CSRC / "emulated"
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        target, elf = Path(name) / "bridge.o", Path(name) / "bridge.elf"
        flags = (
            *toolchain.compile_flags(core),
            f"-I{CSRC / 'firmware'}",
            f'-DEK_BOARD="boards/{device}.h"',
        )
        toolchain.compile(folder / "usart_bridge.c", target, flags)
        toolchain.link([target], folder / "bridge.ld", elf, core)
        first, program = ElfFile.read(elf).binary()
    if first != FLASH_ADDRESS + BRIDGE_OFFSET:
        raise EmulatorError(f"the bridge was linked to 0x{first:08x}")
    reset, fault = struct.unpack_from("<II", program, 2 * _WORD.size)
    return program, reset, fault


def same_crc(prefix: bytes, original: bytes) -> bytes:
    """Return four bytes behind ``prefix`` that bring CRC-32 to where ``original`` brings it.

    Parameters
    ----------
    prefix, original : bytes
        ``original`` is four bytes longer.
    """
    wanted = zlib.crc32(original) ^ 0xFFFFFFFF
    # Backwards: the highest byte of a state says which entry of the table made it.
    indices = []
    for _ in range(4):
        index = _HIGHEST[wanted >> 24]
        indices.append(index)
        wanted = ((wanted ^ _CRC_TABLE[index]) << 8) & 0xFFFFFFFF
    state = zlib.crc32(prefix) ^ 0xFFFFFFFF
    found = bytearray()
    for index in reversed(indices):
        found.append((state ^ index) & 0xFF)
        state = (state >> 8) ^ _CRC_TABLE[index]
    return bytes(found)


_HIGHEST = {entry >> 24: index for index, entry in enumerate(_CRC_TABLE)}
