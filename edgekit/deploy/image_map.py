"""What of each memory a firmware image takes, part by part and to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby

from edgekit.deploy.elf_file import ElfFile, Section
from edgekit.profiles import DeviceProfile, Memory

PARTS = {
    ".vectors": "vectors",
    ".text": "code",
    ".rodata": "constants",
    ".stack": "stack",
    ".data": "static data",
    ".bss": "static data",
    ".arena": "arena",
}
"""What the sections of the linker script hold."""

INITIAL_VALUES = "initial values"
"""Of static data: they lie in flash and are copied at start-up."""


@dataclass(frozen=True, slots=True)
class ImagePart:
    """One part of an image: where it begins, and its bytes."""

    name: str
    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ImageMemory:
    """What an image takes of one memory.

    Parameters
    ----------
    name : str
        As in the profile.
    capacity_bytes : int
    parts : tuple of ImagePart
        By address; what takes nothing is left out.
    """

    name: str
    capacity_bytes: int
    parts: tuple[ImagePart, ...]

    @property
    def used_bytes(self) -> int:
        """Bytes of all parts together."""
        return sum(part.size_bytes for part in self.parts)

    @property
    def free_bytes(self) -> int:
        """Bytes that the image leaves to the application."""
        return self.capacity_bytes - self.used_bytes

    def to_json(self) -> dict[str, object]:
        """Return all of it as commands answer it."""
        return {
            "name": self.name,
            "capacity_bytes": self.capacity_bytes,
            "used_bytes": self.used_bytes,
            "free_bytes": self.free_bytes,
            "parts": [asdict(part) for part in self.parts],
        }


def image_memories(image: ElfFile, profile: DeviceProfile) -> tuple[ImageMemory, ...]:
    """Return what an image takes of each memory of the device that it is linked to.

    Parameters
    ----------
    image : ElfFile
        Linked for the board, not for an emulated machine.
    profile : DeviceProfile

    Returns
    -------
    tuple of ImageMemory
        In the order of the profile; memories that it does not touch are left out.
    """
    found = []
    for memory in profile.memories:
        parts = _joined(
            section
            for section in image.sections
            if section.size_bytes and _lies_in(section, memory)
        )
        if memory is profile.flash:
            parts += tuple(_initial_values(image, parts))
        if parts:
            found.append(ImageMemory(memory.name, memory.capacity_bytes.integer, parts))
    return tuple(found)


def _joined(sections: Iterator[Section]) -> tuple[ImagePart, ...]:
    """Return sections as parts by address, neighbours that hold the same in one."""
    ordered = sorted(sections, key=lambda section: section.address)
    parts = []
    for name, group in groupby(ordered, key=lambda section: PARTS[section.name]):
        members = list(group)
        size_bytes = sum(section.size_bytes for section in members)
        parts.append(ImagePart(name, members[0].address, size_bytes))
    return tuple(parts)


def _initial_values(image: ElfFile, parts: tuple[ImagePart, ...]) -> Iterator[ImagePart]:
    size_bytes = image.size_bytes(".data")
    if size_bytes and parts:
        end = max(part.address + part.size_bytes for part in parts)
        yield ImagePart(INITIAL_VALUES, end, size_bytes)


def _lies_in(section: Section, memory: Memory) -> bool:
    if section.name not in PARTS or memory.address is None:
        return False
    offset = section.address - memory.address.integer
    return 0 <= offset < memory.capacity_bytes.integer
