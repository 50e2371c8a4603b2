"""``edgekit emulate``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli.output import common_options, print_json, table
from edgekit.units import format_joules, format_seconds

ROWS = 12
"""Steps that are listed, the slowest first."""


@click.command(short_help="Run a package with the time and memory of its device.")
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--device", metavar="NAME", help="Another device than the package's.")
@click.option("--input", "source", required=True, type=click.Path(path_type=Path), metavar="NPZ")
@click.option("--output", "target", type=click.Path(path_type=Path), metavar="NPZ")
@common_options
def command(
    package: Path,
    device: str | None,
    source: Path,
    target: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run PACKAGE once: real outputs, modelled time, energy and memory limits of the device.

    The error of each emulator against published measurements: edgekit validate.
    """
    from edgekit.cli.arrays import read_arrays, write_arrays
    from edgekit.pipeline.emulate import emulate_package

    result = emulate_package(package, read_arrays(source), device=device)
    if target is not None:
        write_arrays(target, result.outputs)
    trace = result.trace
    if as_json:
        print_json(
            {
                "latency_s": trace.latency_s,
                "energy_j": trace.energy_j,
                "peak_bytes": dict(trace.peak_bytes),
                "instructions": trace.instructions,
                "kind": trace.kind,
                "executor": trace.executor,
                "stated_error": trace.stated_error,
                "cases": dict(trace.cases),
                "breakdown": [
                    {
                        "step": e.step,
                        "name": e.name,
                        "processor": e.processor,
                        "start_s": e.start_ns * 1e-9,
                        "seconds": e.duration_ns * 1e-9,
                    }
                    for e in trace.events
                ],
            }
        )
        return
    energy = "" if trace.energy_j is None else f", {format_joules(trace.energy_j)}"
    click.echo(f"{trace.kind} by {trace.executor}: {format_seconds(trace.latency_s)}{energy}")
    if trace.stated_error:
        click.echo(f"error for counted instructions: {trace.stated_error}")
    if trace.instructions is not None:
        click.echo(f"{trace.instructions:,} instructions, counted")
    for memory, peak in trace.peak_bytes.items():
        click.echo(f"peak of {memory}: {peak:,} bytes")
    if trace.cases:
        dearer = sum(trace.cases.values())
        click.echo(f"{dearer} of {len(trace.cases)} patches held outliers and took eight bits")
    if not trace.events:
        return
    slowest = sorted(trace.events, key=lambda event: -event.duration_ns)[:ROWS]
    total_ns = sum(event.duration_ns for event in trace.events)
    rows = [
        (
            e.name,
            e.processor,
            format_seconds(e.duration_ns * 1e-9),
            f"{e.duration_ns / max(total_ns, 1):.1%}",
        )
        for e in slowest
    ]
    table((f"slowest of {len(trace.events)} steps", "processor", "time", "share"), rows)
