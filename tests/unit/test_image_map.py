"""What an image takes of each memory: sections of an ELF file against a device's memories."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgekit.deploy.elf_file import ElfFile, Section
from edgekit.deploy.image_map import INITIAL_VALUES, image_memories
from edgekit.profiles import load_profile

FLASH, AXI, DTCM = 0x08000000, 0x24000000, 0x20000000
sizes = st.integers(0, 5000)


def image_of(**sizes_bytes: int) -> ElfFile:
    """An image as the linker script lays it out for a board with two RAMs."""
    cursors = {FLASH: FLASH, AXI: AXI, DTCM: DTCM}
    places = {
        **dict.fromkeys(("vectors", "text", "rodata"), FLASH),
        **dict.fromkeys(("stack", "data", "bss"), DTCM),
        "arena": AXI,
        "comment": 0,
    }
    sections = []
    for name, memory in places.items():
        address = cursors.get(memory, 0)
        sections.append(Section(f".{name}", 1, address, 0, sizes_bytes.get(name, 0), 0))
        if memory:
            cursors[memory] += sizes_bytes.get(name, 0)
    return ElfFile(b"", tuple(sections))


@given(
    st.fixed_dictionaries(
        dict.fromkeys(("vectors", "text", "rodata", "stack", "data", "bss", "arena"), sizes)
    )
)
def test_every_byte_is_in_one_part_of_one_memory(found: dict[str, int]) -> None:
    image = image_of(**found, comment=99)
    memories = {memory.name: memory for memory in image_memories(image, load_profile("stm32h743"))}
    used = {name: memory.used_bytes for name, memory in memories.items()}
    in_flash = found["vectors"] + found["text"] + found["rodata"]
    if in_flash:
        assert used["flash"] == in_flash + found["data"]
    assert used.get("axi", 0) == found["arena"]
    assert used.get("dtcm", 0) == found["stack"] + found["data"] + found["bss"]
    for memory in memories.values():
        assert memory.used_bytes + memory.free_bytes == memory.capacity_bytes
        assert all(part.size_bytes > 0 for part in memory.parts)


def test_static_data_is_one_part_and_its_initial_values_lie_behind_the_constants() -> None:
    image = image_of(vectors=64, text=100, rodata=200, stack=80, data=12, bss=20, arena=1000)
    memories = {memory.name: memory for memory in image_memories(image, load_profile("stm32h743"))}
    static = [part for part in memories["dtcm"].parts if part.name == "static data"]
    assert [(part.address, part.size_bytes) for part in static] == [(DTCM + 80, 32)]
    last = memories["flash"].parts[-1]
    assert (last.name, last.address, last.size_bytes) == (INITIAL_VALUES, FLASH + 364, 12)
