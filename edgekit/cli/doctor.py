"""``edgekit doctor``."""

from __future__ import annotations

from dataclasses import asdict

import click

from edgekit.cli.output import common_options, print_json, table


@click.command(short_help="Check the installation and say how to mend it.")
@common_options
def command(as_json: bool, quiet: bool) -> int:
    """Check the installation: native core, profiles, optional libraries and tools.

    Exit code 1 where something required is broken; what is optional only counts as a note.
    """
    from edgekit.doctor import run_checks

    checks = run_checks()
    if as_json:
        print_json({"checks": [asdict(check) for check in checks]})
    else:
        marks = {True: "ok", False: "missing"}
        rows = [(c.name, marks[c.ok], c.detail, c.fix) for c in checks if not (quiet and c.ok)]
        table(("check", "", "found", "to mend it"), rows)
    return 0 if all(check.ok or not check.required for check in checks) else 1
