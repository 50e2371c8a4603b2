"""``edgekit inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.output import common_options, print_json, table
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from edgekit.pipeline.language_inspect import LanguageReport


@click.command(short_help="Show what is in a model.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--dim", multiple=True, metavar="NAME=N", help="Value of a named dimension.")
@common_options
def command(model: Path, dim: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Show parameters, work, memory and operators of MODEL."""
    import msgspec

    from edgekit.cli.convert import dims_of
    from edgekit.pipeline.inspect import inspect_model
    from edgekit.pipeline.language_inspect import inspect_language_model
    from edgekit.pipeline.language_source import is_language_model

    if is_language_model(model):
        show_language(inspect_language_model(model), as_json)
        return
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


def show_language(report: LanguageReport, as_json: bool) -> None:
    """Print the facts of a language model."""
    import msgspec

    if as_json:
        print_json(msgspec.to_builtins(report))
        return
    facts = report.facts
    click.echo(f"{report.name}: {report.format}, {facts.architecture}")
    experts = f", {facts.experts_used} of {facts.experts} experts" if facts.experts else ""
    rows = [
        ("parameters", f"{facts.parameters:,}", ""),
        ("weights", f"{facts.weights_bytes:,}", format_bytes(facts.weights_bytes)),
        ("layers", f"{facts.layers:,}", f"width {facts.width:,}{experts}"),
        ("heads", f"{facts.heads:,}", f"{facts.kv_heads} for keys and values"),
        ("context", f"{facts.context:,}", "tokens"),
        ("vocabulary", f"{facts.vocabulary_size:,}", report.tokenizer),
    ]
    table(("", "number", ""), rows)
    types = [(name, f"{count:,}") for name, count in report.operators.items()]
    table(("tensors of type", "number"), types)
    click.echo(f"chat template: {'yes' if report.has_chat_template else 'none'}")
    click.echo(f"native engine: {report.refusal or 'runs it'}")


def _scale(scale: float | None) -> str:
    return "" if scale is None else f"{scale:.6g}"
