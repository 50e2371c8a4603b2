"""Field update: an image goes into the slot that does not run, and becomes valid at one stroke.

The board's side is ``csrc/monitor/update.c``; layout and rules are in docs/serial-protocol.md. An
image runs where it was linked to, so that an update carries one image for each slot, and the board
says which one it needs.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgekit.deploy.serial.link import Link
from edgekit.errors import DeviceError, FlashError, MemoryBudgetError

MAGIC = 0x55504B45
FORMAT = 1
HEADER_BYTES = 32
IMAGE_OFFSET = 1024
PART_BYTES = 224
NO_SLOT = 0xFFFFFFFF

STATUS, BEGIN, WRITE, FINISH, CONFIRM, RESTART = range(6, 12)
ERASE_WAIT_S = 20.0
CHECK_WAIT_S = 5.0

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class SlotHeader:
    """What stands before an image in its slot.

    Parameters
    ----------
    version : int
        The higher one runs.
    address : int
        Where the image lies, ``IMAGE_OFFSET`` behind the begin of its slot.
    size_bytes, crc : int
    """

    version: int
    address: int
    size_bytes: int
    crc: int

    def encode(self) -> bytes:
        """Return the header's bytes."""
        words = (MAGIC, FORMAT, self.version, self.address, self.size_bytes, self.crc, 0)
        data = struct.pack("<7I", *words)
        return data + struct.pack("<I", zlib.crc32(data))


def header_of(image: bytes, *, version: int, address: int) -> SlotHeader:
    """Return the header of an image."""
    return SlotHeader(version, address, len(image), zlib.crc32(image))


def slot_content(image: bytes, *, version: int, address: int) -> bytes:
    """Return a whole slot, as a programmer writes it into a board that is new."""
    header = header_of(image, version=version, address=address).encode()
    return header.ljust(IMAGE_OFFSET, b"\xff") + image


def read_slot(content: bytes, slot_address: int) -> tuple[SlotHeader, bytes]:
    """Return header and image of a slot's content.

    Raises
    ------
    DeviceError
        If header or image are not what was written, or belong elsewhere.
    """
    data = content[:HEADER_BYTES]
    if len(data) < HEADER_BYTES or data[:4] != struct.pack("<I", MAGIC):
        raise DeviceError("the slot holds no image")
    words = struct.unpack("<8I", data)
    if zlib.crc32(data[:-4]) != words[7] or words[1] != FORMAT:
        raise DeviceError("the header of the slot is damaged or of another format")
    header = SlotHeader(*words[2:6])
    image = content[IMAGE_OFFSET : IMAGE_OFFSET + header.size_bytes]
    if header.address != slot_address + IMAGE_OFFSET:
        raise DeviceError(f"the image belongs to 0x{header.address:08x}, not into this slot")
    if len(image) != header.size_bytes or zlib.crc32(image) != header.crc:
        raise DeviceError("the image in the slot is damaged")
    return header, image


@dataclass(frozen=True, slots=True)
class SlotState:
    """A slot as the board sees it.

    Parameters
    ----------
    address, version, size_bytes, crc : int
    is_valid, is_tried, is_confirmed : bool
        The image is complete; was started; has said that it works.
    """

    address: int
    version: int
    size_bytes: int
    crc: int
    is_valid: bool
    is_tried: bool
    is_confirmed: bool


@dataclass(frozen=True, slots=True)
class BoardSlots:
    """Both slots.

    Parameters
    ----------
    running : int or None
        Index of the slot that runs; None in the bootloader.
    slot_bytes : int
    slots : tuple of SlotState
    """

    running: int | None
    slot_bytes: int
    slots: tuple[SlotState, ...]

    @property
    def target(self) -> int:
        """Slot that an update goes into: never the one that runs or is the last good one."""
        if self.running is not None:
            return 1 - self.running
        first, second = self.slots
        if first.is_valid and second.is_valid:
            return 0 if first.version < second.version else 1
        return 1 if first.is_valid else 0


def board_slots(link: Link) -> BoardSlots:
    """Ask a board for its slots (errors as :meth:`Link.request`)."""
    body = link.request(STATUS, name="update status", wait_s=CHECK_WAIT_S)
    running, slot_bytes = struct.unpack_from("<II", body)
    slots = []
    for index in range(2):
        address, version, size, crc, flags = struct.unpack_from("<4IB", body, 8 + 17 * index)
        marks = (bool(flags & 1), bool(flags & 2), bool(flags & 4))
        slots.append(SlotState(address, version, size, crc, *marks))
    return BoardSlots(None if running == NO_SLOT else running, slot_bytes, tuple(slots))


def install(link: Link, images: Mapping[int, bytes], progress: Progress) -> BoardSlots:
    """Send an image into the free slot and make it valid; it runs at the next start.

    Parameters
    ----------
    link : Link
        To a board whose firmware takes updates.
    images : mapping of address to bytes
        The same program linked to each slot's address.
    progress : callable
        Told how many bytes of how many are done.

    Returns
    -------
    BoardSlots
        As they are afterwards.

    Raises
    ------
    DeviceError
        If no image is for the free slot, or the board or the line fails.
    MemoryBudgetError
        If the image is larger than the slot.
    FlashError
        If the board does not call the image valid.
    """
    before = board_slots(link)
    target = before.target
    address = before.slots[target].address + IMAGE_OFFSET
    if address not in images:
        linked = ", ".join(f"0x{known:08x}" for known in images)
        raise DeviceError(f"the free slot needs an image for 0x{address:08x}; there is: {linked}")
    image = images[address]
    if len(image) > before.slot_bytes - IMAGE_OFFSET:
        raise MemoryBudgetError(
            required_bytes=len(image),
            available_bytes=before.slot_bytes - IMAGE_OFFSET,
            memory=f"update slot {target}",
        )
    version = 1 + max((slot.version for slot in before.slots if slot.is_valid), default=0)
    link.request(BEGIN, bytes([target]), name="update begin", wait_s=ERASE_WAIT_S)
    padded = image + b"\xff" * (-len(image) % 32)
    for offset in range(0, len(padded), PART_BYTES):
        part = padded[offset : offset + PART_BYTES]
        link.request(WRITE, struct.pack("<I", offset) + part, name="update write")
        progress(min(offset + len(part), len(image)), len(image))
    header = header_of(image, version=version, address=address).encode()
    link.request(FINISH, header, name="update finish", wait_s=CHECK_WAIT_S)
    after = board_slots(link)
    slot = after.slots[target]
    if not slot.is_valid or (slot.version, slot.crc) != (version, zlib.crc32(image)):
        raise FlashError("the board does not call the new image valid", address=address)
    return after


def confirm(link: Link) -> None:
    """Tell a board that the image which runs works, so that it is kept (errors as ``request``)."""
    link.request(CONFIRM, name="update confirm")


def restart(link: Link) -> bool:
    """Have a board start anew, from the slot that is to run.

    The request is sent once: a board that starts twice takes an image on trial for one that has
    failed. Where the answer does not come, ask for the slots to see what happened.

    Returns
    -------
    bool
        Whether the board answered that it restarts.
    """
    return link.send_once(RESTART)
