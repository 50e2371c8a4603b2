"""Modelled time as a picture: one row a processor, one bar a step."""

from __future__ import annotations

from html import escape

from edgekit.plan import Estimates, StepCost
from edgekit.units import format_joules, format_seconds

WIDTH, ROW, LEFT, RIGHT, AXIS = 1040, 34, 110, 14, 26


def timeline(estimates: Estimates) -> str:
    """Return the steps of one inference as an SVG element, widths in proportion to time."""
    total_s = sum(cost.seconds for cost in estimates.breakdown)
    if total_s <= 0:
        return '<p class="note">No step takes time in the model.</p>'
    processors = list(dict.fromkeys(cost.processor for cost in estimates.breakdown))
    height = len(processors) * ROW + AXIS
    parts = [f'<svg class="timeline" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="time">']
    for row, processor in enumerate(processors):
        parts.append(
            f'<text class="axis" x="{LEFT - 8}" y="{row * ROW + 21}" text-anchor="end">'
            f"{escape(processor)}</text>"
        )
    start_s = 0.0
    for cost in estimates.breakdown:
        parts.append(_bar(cost, start_s, total_s, processors.index(cost.processor)))
        start_s += cost.seconds
    for quarter in range(5):
        x = LEFT + (WIDTH - LEFT - RIGHT) * quarter / 4
        anchor = "end" if quarter == 4 else "middle"
        parts.append(
            f'<text class="axis" x="{x:.1f}" y="{height - 6}" text-anchor="{anchor}">'
            f"{format_seconds(total_s * quarter / 4) if quarter else '0'}</text>"
        )
    return "\n".join([*parts, "</svg>"])


def _bar(cost: StepCost, start_s: float, total_s: float, row: int) -> str:
    scale = (WIDTH - LEFT - RIGHT) / total_s
    title = (
        f"{cost.node}\n{format_seconds(cost.seconds)}, {format_joules(cost.energy_j)}\n"
        f"limited by {cost.bound}"
    )
    return (
        f'<rect class="bar b-{escape(cost.bound)}" x="{LEFT + start_s * scale:.2f}" '
        f'y="{row * ROW + 5}" width="{max(cost.seconds * scale - 0.5, 0.4):.2f}" '
        f'height="{ROW - 10}"><title>{escape(title)}</title></rect>'
    )
