"""``edgekit sweep``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.estimate import estimate_json, workload, workload_options
from edgekit.cli.output import common_options, note, print_json, table
from edgekit.units import format_bytes, format_seconds, parse_bytes

if TYPE_CHECKING:
    from edgekit.pipeline.sweep import SweepRow


@click.command(short_help="Estimate over values of profile fields, with the best marked.")
@click.option(
    "--vary",
    multiple=True,
    required=True,
    metavar="FIELD=V1,V2,...",
    help="A number of the profile, or model, weights, context, policy, weights_in; repeatable.",
)
@workload_options
@click.option("--report", type=click.Path(path_type=Path), metavar="HTML", help="Also write plots.")
@common_options
def command(
    vary: tuple[str, ...],
    model: str,
    device: str,
    weights: str,
    context: int,
    memory: str | None,
    policy: str,
    weights_in: str,
    head: bool,
    report: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Estimate a language model for every combination of the values given.

    Marked rows are those that no other row beats in speed, energy and price. The capacity and price
    of flash follow the number of its planes.
    """
    from edgekit.pipeline.estimate import with_memory_limit
    from edgekit.pipeline.sweep import fields_without_effect, parse_variations, sweep
    from edgekit.profiles import load_profile

    profile = load_profile(device)
    if memory is not None:
        profile = with_memory_limit(profile, parse_bytes(memory))
    variations = parse_variations(vary, profile)
    work = workload(model, weights, context, policy, weights_in, head=head)
    rows = sweep(work, profile, variations)
    for name in fields_without_effect(rows, variations):
        note(f"{name} changes nothing: the estimate does not depend on it", quiet=quiet)
    if report is not None:
        from edgekit.report.sweep import write_sweep_report

        title = f"{work.shape.name} {work.weights} on {profile.name}"
        write_sweep_report(rows, variations, title, report)
        note(f"report: {report}", quiet=quiet)
    if as_json:
        answer = {"model": work.shape.name, "device": profile.name, "rows": _rows_json(rows)}
        print_json(answer | ({"report": str(report)} if report else {}))
        return
    _print(rows)


def _rows_json(rows: Sequence[SweepRow]) -> list[dict[str, object]]:
    answers: list[dict[str, object]] = []
    for row in rows:
        answer: dict[str, object] = {"fields": dict(row.fields)}
        if row.estimate is not None:
            answer |= estimate_json(row.estimate)
            del answer["gains"]
        answer |= {"fits": row.fits, "refusal": row.refusal, "pareto": row.pareto}
        answers.append(answer)
    return answers


def _print(rows: Sequence[SweepRow]) -> None:
    headings = [*rows[0].fields, "tokens/s", "J/token", "moved", "prompt", "price", "best", "limit"]
    table(headings, [_cells(row) for row in rows])
    refused = [row for row in rows if row.refusal]
    if refused:
        click.echo(f"{len(refused)} of {len(rows)} do not fit: {refused[0].refusal}")


def _cells(row: SweepRow) -> list[str]:
    cells = [f"{v:g}" if isinstance(v, float) else v for v in row.fields.values()]
    found = row.estimate
    if found is None:
        return [*cells, "-", "-", "-", "-", "-", "", "does not fit"]
    price = f"${found.cost_usd:.2f}" if found.cost_usd is not None else "-"
    return [
        *cells,
        f"{found.tokens_per_s:.3g}",
        f"{found.energy_j_per_token:.3g}",
        format_bytes(found.bytes_moved_per_token),
        format_seconds(found.prefill_s),
        price,
        "*" if row.pareto else "",
        found.limit if row.fits else f"{found.limit}; does not fit",
    ]
