"""How commands answer: data on stdout, everything else on stderr.

``--json`` prints one object on stdout and nothing else there; keys are those of docs/cli.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import click
import msgspec

import edgekit
from edgekit.plan import Estimates
from edgekit.units import format_joules, format_seconds

SCHEMA = 1
"""Version of the JSON answers; keys are only ever added within one version."""

P = ParamSpec("P")
R = TypeVar("R")
Step = Callable[[str], None]


def print_json(payload: Mapping[str, object]) -> None:
    """Print one JSON object with the schema and the version of edgekit."""
    envelope = {"schema": SCHEMA, "edgekit_version": edgekit.__version__, **payload}
    click.echo(msgspec.json.format(msgspec.json.encode(envelope)).decode())


def common_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add ``--json``, ``--quiet`` and ``--debug``, which every command has."""
    for option in (
        click.option("--debug", is_flag=True, expose_value=False, help="Traceback on errors."),
        click.option("--quiet", is_flag=True, help="No progress, no notes."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    ):
        function = option(function)
    return function


def note(text: str, *, quiet: bool = False) -> None:
    """Tell the user something that is not data."""
    if not quiet:
        click.echo(text, err=True)


def estimate_line(estimates: Estimates) -> str:
    """Return time and energy of one inference as a sentence."""
    energy = f" and {format_joules(estimates.energy_j)}" if estimates.energy_j else ""
    return f"{estimates.kind}: {format_seconds(estimates.latency_s)}{energy} an inference"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print a table on stdout; columns that hold numbers are set to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    grid = Table(title=escape(title) or None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for index, heading in enumerate(headings):
        cells = [row[index] for row in rows]
        numeric = bool(cells) and all(cell[:1].isdigit() or cell[:1] in "-+" for cell in cells)
        grid.add_column(escape(heading), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*map(escape, row))
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(grid)


@contextmanager
def numbered_steps(total: int, *, quiet: bool) -> Iterator[Step]:
    """Show numbered steps on stderr, with a running clock on a terminal.

    Yields a function that starts the next step, given its title.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
    done = 0
    if quiet or not console.is_terminal:

        def plain(title: str) -> None:
            nonlocal done
            done += 1
            note(f"[{done}/{total}] {title}", quiet=quiet)

        yield plain
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)

        def shown(title: str) -> None:
            nonlocal done
            progress.update(task, completed=done, description=f"[{done + 1}/{total}] {title}")
            done += 1

        yield shown


@contextmanager
def counted_progress(title: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show how much is done on stderr; yields a function that takes what is done and all."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console = Console(stderr=True, highlight=False)
    if quiet or not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
