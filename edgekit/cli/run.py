"""``edgekit run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.output import common_options, print_json, table
from edgekit.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from edgekit.package import Package


@click.command(short_help="Run a package once on this computer.")
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--input", "source", required=True, type=click.Path(path_type=Path), metavar="NPZ")
@click.option("--output", "target", type=click.Path(path_type=Path), metavar="NPZ")
@click.option("--executor", metavar="NAME", help="reference, native, onnxruntime, litert.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 256))
@common_options
def command(
    package: Path,
    source: Path,
    target: Path | None,
    executor: str | None,
    threads: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run PACKAGE once with the arrays of an .npz file, one array an input."""
    from edgekit.cli.arrays import read_arrays, write_arrays
    from edgekit.runtime.session import load

    with load(package, executor=executor, threads=threads) as session:
        result = session.run(read_arrays(source))
        labels = read_labels(session.package)
    if target is not None:
        write_arrays(target, result.outputs)
    trace = result.trace
    if as_json:
        print_json(
            {
                "latency_s": trace.latency_s,
                "peak_bytes": dict(trace.peak_bytes),
                "kind": trace.kind,
                "executor": trace.executor,
            }
        )
        return
    rows = [
        (name, str(array.dtype), str(list(array.shape)), _first_values(array.ravel()[:6].tolist()))
        for name, array in result.outputs.items()
    ]
    table(("output", "dtype", "shape", "first values"), rows)
    for name, array in result.outputs.items():
        if array.size == len(labels):
            best = array.ravel().argsort()[::-1][:3]
            ranking = ", ".join(f"{labels[i]} ({array.ravel()[i]:.3g})" for i in best)
            click.echo(f"{name}: {ranking}")
    click.echo(f"{trace.kind}: {format_seconds(trace.latency_s)} on {trace.executor}")
    for memory, peak in trace.peak_bytes.items():
        click.echo(f"peak of {memory}: {peak:,} bytes ({format_bytes(peak)})")


def read_labels(package: Package) -> list[str]:
    """Return the class names that a package carries; none where it carries none."""
    if not package.has("labels.txt"):
        return []
    return package.path("labels.txt").read_text(encoding="utf-8").splitlines()


def _first_values(values: list[object]) -> str:
    return ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values)
