"""``edgekit validate``."""

from __future__ import annotations

import click

from edgekit.cli.output import common_options, print_json, table


@click.command(short_help="Recompute published measurements and print the error.")
@click.argument("emulator", required=False)
@common_options
def command(emulator: str | None, as_json: bool, quiet: bool) -> None:
    """Recompute every published row that EMULATOR (default: all) claims to reproduce.

    Rows that were used to fit a constant are marked and do not count in the summary.
    """
    from dataclasses import asdict

    from edgekit.emulators.validation import device_errors, rows, summary

    found = rows(emulator)
    totals, devices = summary(found), device_errors(emulator)
    if as_json:
        answer = {"rows": [asdict(row) for row in found], "summary": totals, "devices": devices}
        print_json(answer)
        return
    cells = [
        (
            row.emulator,
            row.quantity,
            row.source,
            f"{row.published:.4g}",
            f"{row.computed:.4g}",
            f"{row.error_percent:+.1f} %",
            "fitted" if row.fitted else "",
        )
        for row in found
    ]
    table(("emulator", "quantity", "source", "published", "computed", "error", ""), cells)
    for name, total in totals.items():
        click.echo(
            f"{name}: mean error {total['mean_abs_error_percent']:.1f} %, "
            f"largest {total['max_abs_error_percent']:.1f} %"
        )
    for name, statement in devices.items():
        click.echo(f"{name}: {statement}")
