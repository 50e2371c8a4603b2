"""``edgekit inspect``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli.output import common_options, print_json, table
from edgekit.units import format_bytes


@click.command(short_help="Show what is in a model.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--dim", multiple=True, metavar="NAME=N", help="Value of a named dimension.")
@common_options
def command(model: Path, dim: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Show parameters, work, memory and operators of MODEL."""
    import msgspec

    from edgekit.cli.convert import dims_of
    from edgekit.pipeline.inspect import inspect_model

    report = inspect_model(model, dims_of(dim))
    if as_json:
        print_json(msgspec.to_builtins(report))
        return
    click.echo(f"{report.name}: {report.format}")
    facts = [
        ("parameters", f"{report.parameters:,}", ""),
        ("multiply-accumulates", f"{report.macs:,}", ""),
        ("weights", f"{report.weights_bytes:,}", format_bytes(report.weights_bytes)),
        (
            "peak of activations",
            f"{report.peak_activation_bytes:,}",
            format_bytes(report.peak_activation_bytes),
        ),
    ]
    table(("", "number", ""), facts)
    tensors = [("input", tensor) for tensor in report.inputs]
    tensors += [("output", tensor) for tensor in report.outputs]
    rows = [(role, t.name, t.dtype, str(list(t.shape)), _scale(t.scale)) for role, t in tensors]
    table(("", "name", "dtype", "shape", "scale"), rows)
    table(("operator", "layers"), [(op, str(count)) for op, count in report.operators.items()])


def _scale(scale: float | None) -> str:
    return "" if scale is None else f"{scale:.6g}"
