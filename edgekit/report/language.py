"""The report of a language model: where the memory goes, and what other limits would give."""

from __future__ import annotations

from html import escape

from edgekit.language_package import LanguagePackage
from edgekit.language_plan import BudgetPoint, LanguagePlan
from edgekit.report.tables import html_table
from edgekit.units import format_bytes

_WIDTH, _HEIGHT, _MARGIN = 900, 260, 46


def language_body(package: LanguagePackage) -> str:
    """Return what stands below the title of the page."""
    plan, manifest = package.plan, package.manifest
    facts = plan.facts
    experts = f", {facts.experts_used} of {facts.experts} experts" if facts.experts else ""
    head = (
        f'<p class="sub">executed by {escape(plan.executor)}; {escape(facts.architecture)}, '
        f"{facts.parameters:,} parameters in {facts.layers} layers{experts}, "
        f"{escape(', '.join(facts.tensor_types))}</p>"
    )
    parts = [(part.path, f"{part.size_bytes:,}", part.sha256[:16]) for part in manifest.parts]
    if plan.model.path:
        parts.append((plan.model.path, f"{plan.model.size_bytes:,}", plan.model.sha256[:16]))
    recipe = [(key, str(value)) for key, value in manifest.recipe.items()]
    return "\n".join(
        [
            head,
            _tiles(plan),
            "<h2>Memory</h2>",
            _memory(plan),
            *_speed(plan),
            "<h2>What is in the package</h2>",
            html_table(("part", "bytes", "SHA-256 (first 16 digits)"), parts, numeric=(1,)),
            "<h3>Recipe</h3>",
            html_table(("", ""), recipe),
        ]
    )


def _tiles(plan: LanguagePlan) -> str:
    memory, estimate = plan.memory, plan.estimate
    found = [
        (format_bytes(memory.total_bytes), f"held in {memory.name}", "planned"),
        (format_bytes(memory.limit_bytes), "limit", "planned"),
        (format_bytes(memory.read_bytes_per_token), "read for each token", "planned"),
    ]
    if estimate is not None:
        found.append((f"{estimate.tokens_per_s:.1f}", "tokens a second", estimate.kind))
        rate = f"{estimate.prefill_tokens_per_s:.0f}"
        found.append((rate, "tokens of a prompt a second", estimate.kind))
    cells = [
        f'<div class="tile"><span class="kind">{escape(kind)}</span><b>{escape(value)}</b>'
        f"<span>{escape(text)}</span></div>"
        for value, text, kind in found
    ]
    return f'<div class="tiles">{"".join(cells)}</div>'


def _memory(plan: LanguagePlan) -> str:
    memory = plan.memory
    rows = [
        ("weights that stay", memory.pinned_bytes),
        ("buffers of streamed weights", memory.stream_bytes),
        (f"KV cache: {plan.sessions} x {plan.context:,} tokens, {plan.kv}", memory.kv_bytes),
        ("activations", memory.activation_bytes),
        ("tables", memory.table_bytes),
        ("total", memory.total_bytes),
        ("smallest limit that works", memory.minimum_bytes),
        ("limit", memory.limit_bytes),
        (f"available to an app in {memory.name}", memory.available_bytes),
    ]
    cells = [(name, f"{size:,}", format_bytes(size)) for name, size in rows]
    return html_table(("", "bytes", ""), cells, numeric=(1,))


def _speed(plan: LanguagePlan) -> list[str]:
    if not plan.curve:
        return []
    rows = [
        (
            f"{point.memory_bytes:,}",
            f"{point.pinned_bytes:,}",
            f"{point.read_bytes_per_token:,}",
            f"{point.tokens_per_s:.2f}",
            point.bound,
        )
        for point in plan.curve
    ]
    headings = ("memory limit", "weights that stay", "read a token", "tokens/s", "limited by")
    return [
        "<h2>Speed over memory</h2>",
        "<p>Modelled from the read rates of the storage and the bandwidth of the processor in the "
        "device's profile; reading overlaps with computing.</p>",
        _chart(plan.curve) if len(plan.curve) > 1 else "",
        html_table(headings, rows, numeric=(0, 1, 2, 3)),
    ]


def _chart(curve: tuple[BudgetPoint, ...]) -> str:
    """Draw tokens a second over the memory limit."""
    least, most = curve[0].memory_bytes, curve[-1].memory_bytes
    highest = max(point.tokens_per_s for point in curve)

    def place(point: BudgetPoint) -> tuple[float, float]:
        right = (point.memory_bytes - least) / max(most - least, 1)
        up = point.tokens_per_s / highest
        x = _MARGIN + right * (_WIDTH - 2 * _MARGIN)
        return x, _HEIGHT - _MARGIN + up * (2 * _MARGIN - _HEIGHT)

    places = [place(point) for point in curve]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle class="b-memory" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>'
        f"{format_bytes(point.memory_bytes)}: {point.tokens_per_s:.2f} tokens/s, limited by "
        f"{escape(point.bound)}</title></circle>"
        for (x, y), point in zip(places, curve, strict=True)
    )
    bottom = _HEIGHT - _MARGIN
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="tokens/s over memory">'
        f'<line class="grid" x1="{_MARGIN}" y1="{bottom}" x2="{_WIDTH - _MARGIN}" y2="{bottom}"/>'
        f'<polyline class="live" points="{line}"/>{dots}'
        f'<text class="axis" x="{_MARGIN}" y="{_HEIGHT - 16}">{format_bytes(least)}</text>'
        f'<text class="axis" x="{_WIDTH - _MARGIN}" y="{_HEIGHT - 16}" text-anchor="end">'
        f"{format_bytes(most)}</text>"
        f'<text class="axis" x="{_MARGIN}" y="20">{highest:.1f} tokens/s</text></svg>'
    )
