"""Sections of a report: key figures, memories, layers, accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edgekit.package import Package
from edgekit.plan import MemoryUse, Plan
from edgekit.report.tables import html_table
from edgekit.units import format_bytes, format_joules, format_seconds, short_name


def tiles(package: Package) -> str:
    """Return the figures that one looks for first."""
    plan, accuracy = package.plan, package.manifest.accuracy
    found: list[tuple[str, str, str]] = []
    if plan.estimates is not None:
        estimates = plan.estimates
        found.append((format_seconds(estimates.latency_s), "one inference", estimates.kind))
        found.append((format_joules(estimates.energy_j), "energy of one inference", estimates.kind))
    for memory in plan.memories:
        share = memory.peak_bytes / max(memory.available_bytes, 1)
        text = f"peak of {memory.name}, {share:.1%} of {format_bytes(memory.available_bytes)}"
        found.append((format_bytes(memory.peak_bytes), text, "planned"))
    found.append((format_bytes(package.size_bytes), "package on disk", "measured"))
    if "precision" in accuracy:
        found.append((str(accuracy["precision"]), "precision", "chosen"))
    if isinstance(accuracy.get("sqnr_db"), float):
        text = "output against the source model"
        found.append((f"{accuracy['sqnr_db']:.1f} dB", text, "measured"))
    cells = [
        f'<div class="tile"><span class="kind">{escape(kind)}</span><b>{escape(value)}</b>'
        f"<span>{escape(text)}</span></div>"
        for value, text, kind in found
    ]
    return f'<div class="tiles">{"".join(cells)}</div>'


def memory_section(plan: Plan) -> str:
    """Return how full each memory gets, and how good the arena is."""
    parts = ["<h2>Memory</h2>", f"<p>Figures are for the {escape(plan.executor)} executor.</p>"]
    parts += [_meter(memory) for memory in plan.memories]
    parts.append(
        '<p class="key"><i class="m0"></i>arena<i class="m1"></i>weights'
        '<i class="m2"></i>executor</p>'
    )
    arenas = [memory for memory in plan.memories if memory.arena_bytes]
    if arenas:
        rows = [_arena_row(memory) for memory in arenas]
        headings = ("memory", "arena bytes", "lower bound", "best greedy", "", "peaks at")
        parts.append(html_table(headings, rows, numeric=(1, 2, 3)))
    return "\n".join(parts)


def _meter(memory: MemoryUse) -> str:
    parts = (memory.arena_bytes, memory.weights_bytes, memory.overhead_bytes)
    whole = max(memory.available_bytes, memory.peak_bytes, 1)
    bars = "".join(
        f'<i class="m{index}" style="width:{100 * size / whole:.2f}%"></i>'
        for index, size in enumerate(parts)
    )
    fits = memory.peak_bytes <= memory.available_bytes
    verdict = '<span class="fits">fits</span>' if fits else '<span class="refused">too large</span>'
    return (
        f"<p><b>{escape(memory.name)}</b>: {memory.peak_bytes:,} of "
        f"{memory.available_bytes:,} bytes, {verdict}</p>"
        f'<div class="meter">{bars}</div>'
    )


def _arena_row(memory: MemoryUse) -> tuple[str, ...]:
    proof = "proven smallest for this order" if memory.optimal else "not proven smallest"
    return (
        memory.name,
        f"{memory.arena_bytes:,}",
        f"{memory.lower_bound_bytes:,}",
        f"{memory.greedy_bytes:,}",
        proof,
        short_name(memory.peak_step),
    )


def layer_section(package: Package) -> str:
    """Return one row a layer: where it runs and why, what it costs, what quantization did to it."""
    plan = package.plan
    layers = package.manifest.accuracy.get("layers", [])
    errors = {layer["node"]: layer for layer in layers if isinstance(layer, dict)}
    costs = {cost.node: cost for cost in plan.estimates.breakdown} if plan.estimates else {}
    total_s = plan.estimates.latency_s if plan.estimates else 0.0
    rows, marks = [], []
    for placement in plan.placement:
        cost, error = costs.get(placement.node), errors.get(placement.node, {})
        sqnr = error.get("sqnr_db")
        rows.append(
            (
                short_name(placement.node),
                placement.processor,
                format_seconds(cost.seconds) if cost else "",
                f"{cost.seconds / total_s:.1%}" if cost and total_s else "",
                cost.bound if cost else "",
                f"{sqnr:.1f}" if isinstance(sqnr, float) else "",
                placement.reason,
            )
        )
        marks.append("culprit" if error.get("culprit") else "")
    if not rows:
        return ""
    headings = ("layer", "processor", "time", "share", "limit", "SQNR dB", "why there")
    return "<h2>Layers</h2>" + html_table(headings, rows, numeric=(2, 3, 5), marks=marks)


def accuracy_section(accuracy: Mapping[str, Any]) -> str:
    """Return what quantization cost, which precisions were considered, and what was refused."""
    if not accuracy:
        return ""
    parts = ["<h2>Accuracy</h2>"]
    if accuracy.get("reason"):
        parts.append(f"<p>{escape(str(accuracy['reason']))}</p>")
    facts = [
        (name.replace("_", " "), _figure(value))
        for name, value in accuracy.items()
        if isinstance(value, int | float | str) and name != "reason"
    ]
    parts.append(html_table(("", ""), facts))
    candidates = accuracy.get("candidates", [])
    if candidates:
        rows = [
            (
                str(c.get("precision", "")),
                _seconds(c.get("latency_s")),
                _figure(c.get("sqnr_db", "")),
                _figure(c.get("size_bytes", "")),
                str(c.get("reason", "")),
            )
            for c in candidates
        ]
        marks = ["chosen" if c.get("chosen") else "" for c in candidates]
        headings = ("precision", "predicted latency", "SQNR dB", "bytes", "verdict")
        parts.append("<h3>Precisions considered</h3>")
        parts.append(html_table(headings, rows, numeric=(1, 2, 3), marks=marks))
    kept = accuracy.get("kept_float", [])
    if kept:
        rows2 = [(str(k.get("node", "")), str(k.get("reason", ""))) for k in kept]
        parts.append("<h3>Layers kept in floating point</h3>")
        parts.append(html_table(("layer", "why"), rows2))
    return "\n".join(parts)


def _seconds(value: object) -> str:
    return format_seconds(value) if isinstance(value, int | float) else ""


def _figure(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
