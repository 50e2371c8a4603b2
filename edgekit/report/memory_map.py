"""The arena as a picture: time (steps) to the right, addresses upwards, one rectangle a buffer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from edgekit.plan import MemoryUse, Plan, PlannedBuffer
from edgekit.units import format_bytes, short_name

WIDTH, HEIGHT = 1040, 340
LEFT, RIGHT, TOP, BOTTOM = 76, 14, 22, 34
COLOURS = 8
"""Number of fill classes in the style sheet; neighbours in the arena differ."""


def memory_map(plan: Plan, memory: MemoryUse, step_names: Sequence[str]) -> str:
    """Return the map of one arena as an SVG element.

    Parameters
    ----------
    plan : Plan
    memory : MemoryUse
        The memory to draw.
    step_names : sequence of str
        Name of each step, for the tooltips.
    """
    buffers = [buffer for buffer in plan.buffers if buffer.memory == memory.name]
    if not buffers:
        return '<p class="note">Nothing is placed in this memory at run time.</p>'
    steps = max(buffer.last_step for buffer in buffers) + 1
    top_bytes = max(memory.arena_bytes, 1)
    scale = _Scale(steps, top_bytes)
    rectangles = [
        _rectangle(buffer, index, scale, step_names) for index, buffer in enumerate(buffers)
    ]
    parts = [
        f'<svg class="map" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="memory map of {escape(memory.name)}">',
        *_axes(scale),
        *rectangles,
        _live_curve(buffers, scale),
        "</svg>",
    ]
    return "\n".join(parts)


class _Scale:
    """Pixels of a step and an address."""

    def __init__(self, steps: int, top_bytes: int) -> None:
        self.steps = steps
        self.top_bytes = top_bytes

    def x(self, step: float) -> float:
        return LEFT + step * (WIDTH - LEFT - RIGHT) / self.steps

    def y(self, address: float) -> float:
        return HEIGHT - BOTTOM - address * (HEIGHT - TOP - BOTTOM) / self.top_bytes


def _rectangle(buffer: PlannedBuffer, index: int, scale: _Scale, step_names: Sequence[str]) -> str:
    x, right = scale.x(buffer.first_step), scale.x(buffer.last_step + 1)
    top, bottom = scale.y(buffer.offset_bytes + buffer.size_bytes), scale.y(buffer.offset_bytes)
    title = (
        f"{buffer.tensor}\n{buffer.size_bytes:,} bytes at {buffer.offset_bytes:,}\n"
        f"from {_name(step_names, buffer.first_step)} to {_name(step_names, buffer.last_step)}"
    )
    if buffer.alias_of:
        title += f"\nin place of {buffer.alias_of}"
    label = ""
    if right - x > 70 and bottom - top > 13:
        room = int((right - x - 8) / 6.3)
        text = escape(_shorten(short_name(buffer.tensor), room))
        label = f'<text x="{x + 4:.1f}" y="{top + 11:.1f}">{text}</text>'
    return (
        f'<g class="buffer c{index % COLOURS}"><rect x="{x:.1f}" y="{top:.1f}" '
        f'width="{max(right - x - 0.6, 0.8):.1f}" height="{max(bottom - top - 0.6, 0.8):.1f}">'
        f"<title>{escape(title)}</title></rect>{label}</g>"
    )


def _axes(scale: _Scale) -> list[str]:
    parts = []
    for quarter in range(5):
        address = scale.top_bytes * quarter / 4
        y = scale.y(address)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="axis" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{format_bytes(address)}</text>"
        )
    stride = max(1, scale.steps // 12)
    for step in range(0, scale.steps, stride):
        parts.append(
            f'<text class="axis" x="{scale.x(step + 0.5):.1f}" y="{HEIGHT - BOTTOM + 16}" '
            f'text-anchor="middle">{step}</text>'
        )
    parts.append(
        f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">step</text>'
    )
    return parts


def _live_curve(buffers: Sequence[PlannedBuffer], scale: _Scale) -> str:
    """Draw the sum of live bytes at each step: the arena cannot be lower than its peak."""
    points = []
    for step, live in enumerate(live_bytes(buffers, scale.steps)):
        y = scale.y(min(live, scale.top_bytes))
        points += [f"{scale.x(step):.1f},{y:.1f}", f"{scale.x(step + 1):.1f},{y:.1f}"]
    return f'<polyline class="live" points="{" ".join(points)}"/>'


def live_bytes(buffers: Sequence[PlannedBuffer], steps: int) -> list[int]:
    """Return the sum of live bytes at each step; what shares memory in place counts once."""
    aliases = _alias_sizes(buffers)
    change = [0] * (steps + 1)
    for buffer in buffers:
        change[buffer.first_step] += buffer.size_bytes
        change[buffer.last_step + 1] -= buffer.size_bytes
        overlap = aliases.get(buffer.tensor)
        if overlap is not None and overlap[0] == buffer.first_step:
            change[buffer.first_step] -= overlap[1]
            change[buffer.first_step + 1] += overlap[1]
    live, total = [], 0
    for delta in change[:-1]:
        total += delta
        live.append(total)
    return live


def _alias_sizes(buffers: Sequence[PlannedBuffer]) -> Mapping[str, tuple[int, int]]:
    """Return, for each in-place buffer, the last step and size of the one whose bytes it takes."""
    by_name = {buffer.tensor: buffer for buffer in buffers}
    found = {}
    for buffer in buffers:
        origin = by_name.get(buffer.alias_of or "")
        if origin is not None:
            shared = min(origin.size_bytes, buffer.size_bytes)
            found[buffer.tensor] = (origin.last_step, shared)
    return found


def _name(step_names: Sequence[str], step: int) -> str:
    return step_names[step] if step < len(step_names) else f"step {step}"


def _shorten(text: str, room: int) -> str:
    return text if len(text) <= room else "…" + text[-(room - 1) :] if room > 1 else ""
