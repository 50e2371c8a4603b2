"""How commands show a firmware image: what it takes of each memory, and what is left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgekit.cli.output import table

if TYPE_CHECKING:
    from edgekit.deploy.image_map import ImageMemory


def show_image(memories: Iterable[ImageMemory]) -> None:
    """Print a table of memories and of the parts of the image in each."""
    rows: list[tuple[str, ...]] = []
    for memory in memories:
        sizes = (memory.used_bytes, memory.capacity_bytes, memory.free_bytes)
        rows.append((memory.name, *(f"{size:,}" for size in sizes), ""))
        for part in memory.parts:
            rows.append((f"  {part.name}", f"{part.size_bytes:,}", "", "", f"0x{part.address:08x}"))
    table(("firmware", "bytes", "of", "left", "address"), rows)
