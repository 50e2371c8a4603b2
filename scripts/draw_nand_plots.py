#!/usr/bin/env python3
"""Draws the plots of docs/nand-chiplet.md: speed over one part of the design at a time.

Usage: scripts/draw_nand_plots.py [FOLDER], by default docs/pictures. The same files come out each
time, so that a test compares them with those in the repository.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from edgekit.model_shapes import find_shape
from edgekit.pipeline.estimate import Workload
from edgekit.pipeline.sweep import parse_variations, sweep
from edgekit.profiles import load_profile
from edgekit.report.plots import Axis, Series, line_plot

MODELS = ("llama2-7b", "llama2-13b", "llama2-70b")


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture: a line for each device and model over one field."""

    name: str
    title: str
    field: str
    values: str
    label: str
    scale: float
    devices: tuple[str, ...] = ("cambricon-llm-s", "cambricon-llm-l")


PLOTS = (
    Plot(
        "nand-page-read",
        "Time of a page read",
        "page_read_s",
        "5us,10us,15us,20us,30us,45us,60us,90us",
        "microseconds from the array to the register (tR)",
        1e6,
    ),
    Plot(
        "nand-dies",
        "More dies behind the same channels",
        "dies_per_chip",
        "1,2,4,8,16,32,64,128",
        "dies a chip (8 channels, 2 chips a channel)",
        1.0,
        ("cambricon-llm-s",),
    ),
    Plot(
        "nand-channels",
        "More channels with the same chips behind each",
        "channels",
        "2,4,8,16,32,64",
        "channels (2 chips a channel)",
        1.0,
        ("cambricon-llm-s",),
    ),
    Plot(
        "nand-channel-rate",
        "Rate of a channel",
        "channel_bytes_per_s",
        "250e6,500e6,1000e6,2000e6,4000e6",
        "GB/s of one channel",
        1e-9,
    ),
    Plot(
        "nand-page-size",
        "Size of a page",
        "page_bytes",
        "2KiB,4KiB,8KiB,16KiB,32KiB,64KiB",
        "KiB of a page",
        1 / 1024,
    ),
)


def draw(plot: Plot) -> str:
    """Return a picture as SVG."""
    lines: list[Series] = []
    for device in plot.devices:
        profile = load_profile(device)
        variation = parse_variations([f"{plot.field}={plot.values}"], profile)
        for model in MODELS:
            rows = sweep(Workload(find_shape(model)), profile, variation)
            points = tuple(
                (float(row.fields[plot.field]) * plot.scale, row.estimate.tokens_per_s)
                for row in rows
                if row.estimate is not None
            )
            name = model if len(plot.devices) == 1 else f"{model}, {device[-1].upper()}"
            lines.append(Series(name, points))
    return line_plot(lines, Axis(plot.label, True), Axis("tokens a second", True), title=plot.title)


def main(folder: Path) -> None:
    """Draw every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for plot in PLOTS:
        path = folder / f"{plot.name}.svg"
        partial = path.with_name(f".{path.name}")
        partial.write_text(draw(plot) + "\n", encoding="utf-8")
        partial.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs/pictures")
