"""Line plots and channel lanes as SVG elements, with their own style: they also stand alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 340, 64, 170, 22, 46
COLOURS = ("#3b7dd8", "#c2703d", "#2f9e77", "#7b61c4", "#b34d73", "#8a7a2c", "#3e8ea3", "#5d6f83")
_STYLE = (
    "<style>.plot text{font:11px system-ui,sans-serif;fill:#7a8794}"
    ".plot .axis-line{stroke:#aab4be;stroke-width:1}"
    ".plot .grid-line{stroke:#aab4be;stroke-width:.4}"
    "</style>"
)


@dataclass(frozen=True, slots=True)
class Series:
    """A line.

    Parameters
    ----------
    name : str
    points : tuple of (float, float)
        By rising x.
    marked : tuple of bool
        Points that are drawn full; the others are hollow. Empty: all full.
    joined : bool
        Whether a line joins the points.
    dotted : bool
        Whether points are drawn.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    marked: tuple[bool, ...] = ()
    joined: bool = True
    dotted: bool = True


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows; with ``logarithmic`` in powers of two."""

    label: str
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def place(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log2(low), math.log2(high), math.log2(value)
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            first, last = math.ceil(math.log2(self.low)), math.floor(math.log2(self.high))
            step = max(1, (last - first) // 7)
            powers = [math.ldexp(1.0, power) for power in range(first, last + 1, step)]
            return powers if len(powers) > 1 else [self.low, self.high]
        gap = _nice((self.high - self.low) / 5)
        lowest = math.ceil(self.low / gap - 1e-9)
        return [k * gap for k in range(lowest, math.floor(self.high / gap + 1e-9) + 1)]


def line_plot(series: Sequence[Series], across: Axis, up: Axis, *, title: str = "") -> str:
    """Return lines with points as one SVG element; nothing where there are no points.

    A linear upward axis begins at 0.
    """
    points = [point for line in series for point in line.points]
    if not points:
        return ""
    x_scale = _scale([x for x, _ in points], LEFT, WIDTH - RIGHT, across.logarithmic)
    heights = [y for _, y in points] if up.logarithmic else [0.0, *(y for _, y in points)]
    y_scale = _scale(heights, HEIGHT - BOTTOM, TOP, up.logarithmic)
    parts = [
        f'<svg class="plot" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img" aria-label="{escape(title or up.label)}">{_STYLE}'
    ]
    if title:
        parts.append(f'<text x="{LEFT}" y="14" font-weight="600">{escape(title)}</text>')
    parts += _axes(x_scale, y_scale, across, up)
    for index, line in enumerate(series):
        parts += _line(line, COLOURS[index % len(COLOURS)], x_scale, y_scale)
        y = TOP + 14 + index * 17
        colour = COLOURS[index % len(COLOURS)]
        parts.append(
            f'<rect x="{WIDTH - RIGHT + 16}" y="{y - 8}" width="10" height="3" fill="{colour}"/>'
            f'<text x="{WIDTH - RIGHT + 32}" y="{y - 3}">{escape(line.name)}</text>'
        )
    return "\n".join([*parts, "</svg>"])


def _axes(x_scale: _Scale, y_scale: _Scale, across: Axis, up: Axis) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [
        f'<line class="axis-line" x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>',
        f'<line class="axis-line" x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{bottom}"/>',
        f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(across.label)}</text>",
        f'<text x="14" y="{(TOP + bottom) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {(TOP + bottom) / 2})">{escape(up.label)}</text>',
    ]
    for tick in x_scale.ticks():
        x = x_scale.place(tick)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in y_scale.ticks():
        y = y_scale.place(tick)
        parts.append(
            f'<line class="grid-line" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    return parts


def _line(line: Series, colour: str, x_scale: _Scale, y_scale: _Scale) -> list[str]:
    places = [(x_scale.place(x), y_scale.place(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts: list[str] = []
    if line.joined:
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
        )
    if not line.dotted:
        return parts
    for index, ((x, y), (value_x, value_y)) in enumerate(zip(places, line.points, strict=True)):
        full = not line.marked or line.marked[index]
        fill = colour if full else "none"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6" fill="{fill}" stroke="{colour}">'
            f"<title>{escape(line.name)}: {value_x:g}, {value_y:.4g}</title></circle>"
        )
    return parts


def _scale(values: Sequence[float], start: float, end: float, logarithmic: bool) -> _Scale:
    low, high = min(values), max(values)
    if logarithmic and low <= 0:
        logarithmic = False
    if low == high:
        high = low + 1 if low == 0 else low * (2 if logarithmic else 1.2)
    return _Scale(low, high, start, end, logarithmic)


def _nice(step: float) -> float:
    """Return the next of 1, 2, 5, 10 ... that is not below a step."""
    power = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * 0.999)
