"""UF2: the file that the boot ROM of RP2040 and RP2350 takes as a copy onto its drive.

Source: Microsoft, "USB Flashing Format (UF2)", github.com/microsoft/uf2. A block has 512 bytes and
carries 256. Family identifiers are those of uf2families.json there.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path

from edgekit.errors import DeviceError, DeviceNotFoundError, UsageError

MAGICS = (0x0A324655, 0x9E5D5157, 0x0AB16F30)
FAMILY_PRESENT = 0x2000
PAYLOAD_BYTES = 256
BLOCK_BYTES = 512
FAMILIES: Mapping[str, int] = {"rp2040": 0xE48BFF56, "rp2350": 0xE48BFF59}
"""RP2350: the image runs in the secure state of the Arm cores."""

BOARD_IDS: Mapping[str, str] = {"rp2040": "RPI-RP2", "rp2350": "RP2350"}
"""``Board-ID`` of the boot ROM, as its drive says (RP2040 data sheet, 2.8.4.2; RP2350, 5.5.2)."""

INFO_FILE = "INFO_UF2.TXT"


def to_uf2(image: bytes, *, address: int, device: str) -> bytes:
    """Return an image as a UF2 file.

    Raises
    ------
    UsageError
        If the device takes no UF2 files, or ``address`` is no multiple of 256.
    """
    if device not in FAMILIES:
        raise UsageError(f"{device} takes no UF2 files; those that do: {', '.join(FAMILIES)}")
    if address % PAYLOAD_BYTES:
        raise UsageError(f"0x{address:08x} is no multiple of {PAYLOAD_BYTES}")
    parts = [image[i : i + PAYLOAD_BYTES] for i in range(0, len(image), PAYLOAD_BYTES)]
    blocks = []
    for number, part in enumerate(parts):
        head = struct.pack(
            "<8I",
            *MAGICS[:2],
            FAMILY_PRESENT,
            address + number * PAYLOAD_BYTES,
            PAYLOAD_BYTES,
            number,
            len(parts),
            FAMILIES[device],
        )
        blocks.append((head + part).ljust(BLOCK_BYTES - 4, b"\0") + struct.pack("<I", MAGICS[2]))
    return b"".join(blocks)


def find_drive(device: str, mounts: str | None = None) -> Path:
    """Return where the drive of a board in its boot ROM is mounted.

    Parameters
    ----------
    device : str
        Drives of other chips are passed by.
    mounts : str, optional
        Content of ``/proc/mounts``, for systems where it lies elsewhere.

    Raises
    ------
    DeviceNotFoundError
        If there is none of that chip.
    """
    text = Path("/proc/mounts").read_text() if mounts is None else mounts
    others = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 2:
            continue
        folder = Path(fields[1].replace("\\040", " "))
        found = _board_id(folder)
        if found == BOARD_IDS[device]:
            return folder
        if found is not None:
            others.append(f"{folder} is of {found or 'an unnamed board'}\n")
    raise DeviceNotFoundError(
        f"no drive of a board with {BOARD_IDS[device]} in its bootloader is mounted\n"
        f"{''.join(others)}"
        "hold BOOTSEL while plugging in; mount the drive if that does not happen by itself"
    )


def _board_id(folder: Path) -> str | None:
    """Return what the drive says; None where it is no drive of a boot ROM."""
    try:
        lines = (folder / INFO_FILE).read_text(errors="replace").splitlines()
    except OSError:
        return None
    found = (line.partition(":")[2] for line in lines if line.startswith("Board-ID:"))
    return next(found, "").strip()


def copy_to_drive(content: bytes, drive: Path, device: str) -> None:
    """Copy a UF2 file onto the drive of a board, which restarts by itself when all has arrived.

    Raises
    ------
    DeviceNotFoundError
        If it is no such drive, or that of another chip.
    DeviceError
        If the drive goes away too early or is full.
    """
    found = _board_id(drive)
    if found is None:
        raise DeviceNotFoundError(f"{drive} is not the drive of a board in its bootloader")
    if found != BOARD_IDS[device]:
        raise DeviceNotFoundError(
            f"{drive} is the drive of {found or 'an unnamed board'}, not of {BOARD_IDS[device]}"
        )
    try:
        with (drive / "firmware.uf2").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DeviceError(f"{drive}: copying failed ({error.strerror}); try again") from error
