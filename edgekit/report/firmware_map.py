"""The firmware image as a picture: what lies where in each memory, to scale."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from edgekit.deploy.image_map import ImageMemory
from edgekit.report.tables import html_table

WIDTH, HEIGHT = 1040, 92
LEFT, RIGHT = 14, 14
STRIP_TOP, STRIP_HEIGHT = 8, 8
PARTS_TOP, PARTS_HEIGHT = 32, 34
COLOURS = 8
LABEL_WIDTH = 7.0
"""Pixels that a letter of a label takes."""


def firmware_section(memories: Iterable[ImageMemory]) -> str:
    """Return a map and a table for each memory of an image, or nothing where there is none."""
    parts: list[str] = []
    for memory in memories:
        parts.append(
            f"<p><b>{escape(memory.name)}</b>: {memory.used_bytes:,} of "
            f"{memory.capacity_bytes:,} bytes, {memory.free_bytes:,} left</p>"
        )
        parts.append(image_map(memory))
        rows = [
            (part.name, f"0x{part.address:08x}", f"{part.size_bytes:,}") for part in memory.parts
        ]
        parts.append(html_table(("part", "address", "bytes"), rows, numeric=(2,)))
    if not parts:
        return ""
    parts.append(
        '<p class="key">Upper strip: the whole memory. Below it the image, addresses to the '
        "right, widths in proportion to bytes.</p>"
    )
    return "\n".join(["<h2>Firmware image</h2>", *parts])


def image_map(memory: ImageMemory) -> str:
    """Return the map of one memory as an SVG element."""
    inner = WIDTH - LEFT - RIGHT
    share = memory.used_bytes / max(memory.capacity_bytes, 1)
    found = [
        f'<svg class="map" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="firmware in {escape(memory.name)}">',
        f'<g class="c7"><rect x="{LEFT}" y="{STRIP_TOP}" width="{inner}" '
        f'height="{STRIP_HEIGHT}" opacity="0.25"/></g>',
        f'<g class="c0"><rect x="{LEFT}" y="{STRIP_TOP}" width="{max(inner * share, 1.0):.1f}" '
        f'height="{STRIP_HEIGHT}"/></g>',
    ]
    x = float(LEFT)
    for index, part in enumerate(memory.parts):
        width = inner * part.size_bytes / max(memory.used_bytes, 1)
        title = f"{part.name}\n{part.size_bytes:,} bytes at 0x{part.address:08x}"
        label = f"{part.name} {part.size_bytes:,}"
        text = ""
        if len(label) * LABEL_WIDTH < width:
            text = f'<text x="{x + 5:.1f}" y="{PARTS_TOP + 21}">{escape(label)}</text>'
        if len("0x00000000") * LABEL_WIDTH < width:
            text += (
                f'<text class="axis" x="{x:.1f}" y="{PARTS_TOP + PARTS_HEIGHT + 15}">'
                f"0x{part.address:08x}</text>"
            )
        found.append(
            f'<g class="buffer c{index % COLOURS}"><rect x="{x:.1f}" y="{PARTS_TOP}" '
            f'width="{max(width - 0.6, 0.8):.1f}" height="{PARTS_HEIGHT}">'
            f"<title>{escape(title)}</title></rect>{text}</g>"
        )
        x += width
    return "\n".join([*found, "</svg>"])
