"""``edgekit report``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli.output import common_options, print_json


@click.command(short_help="Write one HTML page: memory map, placement, layers, accuracy.")
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--out", default="report.html", type=click.Path(path_type=Path), show_default=True)
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path),
    metavar="NPZ",
    help="Show on this input which patches take 8 bits.",
)
@common_options
def command(package: Path, out: Path, source: Path | None, as_json: bool, quiet: bool) -> None:
    """Write the report of PACKAGE as one self-contained HTML file."""
    from edgekit.cli.arrays import read_arrays
    from edgekit.language_package import is_language_package, open_language_package
    from edgekit.package import open_package
    from edgekit.report.page import write_report

    is_language = is_language_package(package)
    opened = open_language_package(package) if is_language else open_package(package)
    path = write_report(opened, out, read_arrays(source) if source else None)
    if as_json:
        print_json({"report": str(path), "bytes": path.stat().st_size})
    else:
        click.echo(path)
