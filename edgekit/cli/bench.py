"""``edgekit bench``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli.output import common_options, print_json
from edgekit.units import format_seconds


@click.command(short_help="Measure the latency of a package on this computer.")
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--runs", default=50, show_default=True, type=click.IntRange(1, 1_000_000))
@click.option("--executor", metavar="NAME", help="reference, native, onnxruntime, litert.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 256))
@common_options
def command(
    package: Path, runs: int, executor: str | None, threads: int, as_json: bool, quiet: bool
) -> None:
    """Run PACKAGE repeatedly on zeros of the planned shapes, after a warm-up.

    The figures are of this computer, not of the device.
    """
    from edgekit.pipeline.bench import bench

    timing = bench(package, runs=runs, executor=executor, threads=threads)
    if as_json:
        latency = {"min": timing.min_s, "median": timing.median_s, "p90": timing.p90_s}
        print_json(
            {
                "runs": timing.runs,
                "latency_s": latency,
                "executor": timing.executor,
                "threads": threads,
                "kind": "measured",
            }
        )
        return
    click.echo(
        f"{timing.runs} runs on {timing.executor}, {threads} thread(s): "
        f"min {format_seconds(timing.min_s)}, median {format_seconds(timing.median_s)}, "
        f"p90 {format_seconds(timing.p90_s)}"
    )
