"""Live bytes over the run of a network: in patches, and as they would be with whole layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.plan import Plan
from edgekit.report.memory_map import live_bytes
from edgekit.report.plots import Axis, Series, line_plot


def memory_curve(plan: Plan, patches: Mapping[str, Any]) -> str:
    """Return both curves as an SVG element; nothing where layers run whole.

    A step is as wide as any other of its curve: patches have more steps, and smaller ones.

    Parameters
    ----------
    plan : Plan
    patches : mapping
        As in the manifest.
    """
    whole = patches.get("layer_by_layer_live_bytes", [])
    if not whole or not plan.buffers:
        return ""
    memory = plan.buffers[0].memory
    placed = [buffer for buffer in plan.buffers if buffer.memory == memory]
    in_patches = live_bytes(placed, max(buffer.last_step for buffer in placed) + 1)
    available = plan.memory(memory).available_bytes / 1024
    lines = [_stairs("whole layers", whole), _stairs("in patches", in_patches)]
    if available <= 4 * max(whole) / 1024:  # a far larger memory would press the curves flat
        lines.append(Series("available", ((0.0, available), (100.0, available)), dotted=False))
    plot = line_plot(
        lines,
        Axis("% of the steps of an inference"),
        Axis(f"KiB alive in {memory}"),
        title="live bytes, patches against whole layers",
    )
    return (
        "<h3>Memory against whole layers</h3>"
        f"<p>At most {max(in_patches):,} bytes are alive at a time, instead of {max(whole):,}."
        f"</p>{plot}"
    )


def _stairs(name: str, live: Sequence[int]) -> Series:
    points: list[tuple[float, float]] = []
    for step, size_bytes in enumerate(live):
        points += [
            (100 * step / len(live), size_bytes / 1024),
            (100 * (step + 1) / len(live), size_bytes / 1024),
        ]
    return Series(name, tuple(points), dotted=False)
