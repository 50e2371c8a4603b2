"""The page of a sweep: a plot over each field, what speed costs, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from edgekit.pipeline.sweep import SweepRow, Variation
from edgekit.report.page import html_page, write_page
from edgekit.report.plots import Axis, Series, line_plot
from edgekit.report.tables import html_table
from edgekit.units import format_bytes, format_seconds


def write_sweep_report(
    rows: Sequence[SweepRow], variations: Sequence[Variation], title: str, path: Path
) -> Path:
    """Write the page of a sweep as one HTML file.

    Raises
    ------
    UsageError
        If the file cannot be written there.
    """
    body = [f'<p class="sub">{len(rows)} combinations; modelled, nothing was run.</p>']
    for item in variations:
        body += sweep_plots(rows, item)
    body += ["<h2>What speed costs</h2>", *_trade_off(rows)]
    body += ["<h2>All combinations</h2>", _table(rows)]
    stated = next((row.estimate.stated_error for row in rows if row.estimate), "")
    if stated:
        body.append(f'<p class="note">Error: {escape(stated)}.</p>')
    return write_page(html_page(title, "\n".join(body)), path)


def sweep_plots(rows: Sequence[SweepRow], item: Variation) -> list[str]:
    """Return tokens a second over one field, a line for each combination of the others."""
    lines: dict[str, list[tuple[float, float, bool]]] = {}
    for row in rows:
        if row.estimate is None:
            continue
        value = row.fields[item.name]
        across = value if isinstance(value, float) else float(item.values.index(value))
        others = [f"{name} {_text(v)}" for name, v in row.fields.items() if name != item.name]
        point = (across, row.estimate.tokens_per_s, row.pareto)
        lines.setdefault(", ".join(others) or "tokens/s", []).append(point)
    if not lines or len(item.values) < 2:
        return []
    series = [
        Series(
            name, tuple((x, y) for x, y, _ in sorted(points)), tuple(p for *_, p in sorted(points))
        )
        for name, points in lines.items()
    ]
    numbers = [value for value in item.values if isinstance(value, float)]
    label = item.name if numbers else f"{item.name}: {', '.join(map(_text, item.values))}"
    wide = bool(numbers) and min(numbers) > 0 and max(numbers) / min(numbers) >= 4
    plot = line_plot(series, Axis(label, wide), Axis("tokens/s", wide))
    key = "Full points are beaten by no other combination in speed, energy and price."
    return [f"<h2>Over {escape(item.name)}</h2>", plot, f'<p class="key">{key}</p>']


def _trade_off(rows: Sequence[SweepRow]) -> list[str]:
    """Return speed over energy, and over price where prices are known."""
    found = [(row.estimate, row.pareto) for row in rows if row.estimate is not None]
    plots: list[str] = []
    for label in ("joules a token", "dollars for the memories"):
        points = [
            (cost, estimate.tokens_per_s, best)
            for estimate, best in found
            for cost in [estimate.energy_j_per_token if "joules" in label else estimate.cost_usd]
            if cost is not None
        ]
        series = [
            Series(name, spots, tuple(kind for _ in spots), joined=False)
            for kind, name in ((True, "best"), (False, "others"))
            if (spots := tuple((x, y) for x, y, best in sorted(points) if best == kind))
        ]
        plots.append(line_plot(series, Axis(label), Axis("tokens/s")))
    return [plot for plot in plots if plot]


def _table(rows: Sequence[SweepRow]) -> str:
    names = list(rows[0].fields)
    headings = [*names, "tokens/s", "J/token", "moved", "prompt", "price", "limit"]
    numeric = range(len(names), len(names) + 5)
    cells = [[_text(value) for value in row.fields.values()] + _cells(row) for row in rows]
    marks = ["chosen" if row.pareto else "" if row.fits else "culprit" for row in rows]
    return html_table(headings, cells, numeric=tuple(numeric), marks=marks)


def _cells(row: SweepRow) -> list[str]:
    found = row.estimate
    if found is None:
        return ["-", "-", "-", "-", "-", row.refusal.partition("\n")[0]]
    return [
        f"{found.tokens_per_s:.3g}",
        f"{found.energy_j_per_token:.3g}",
        format_bytes(found.bytes_moved_per_token),
        format_seconds(found.prefill_s),
        f"${found.cost_usd:.2f}" if found.cost_usd is not None else "-",
        found.limit,
    ]


def _text(value: str | float) -> str:
    return f"{value:g}" if isinstance(value, float) else value
