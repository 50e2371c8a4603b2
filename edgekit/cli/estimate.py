"""``edgekit estimate``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.output import P, R, common_options, note, print_json, table
from edgekit.errors import MemoryBudgetError
from edgekit.units import format_bytes, format_joules, format_seconds, parse_bytes

if TYPE_CHECKING:
    from edgekit.pipeline.estimate import ModelEstimate, Workload

POLICIES = ("sliced", "unsliced", "flash-only")


def workload_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add the options that say what is estimated."""
    for option in (
        click.option("--head", is_flag=True, help="With the scores of the vocabulary."),
        click.option("--weights-in", default="", metavar="MEMORY", help="Where weights lie."),
        click.option(
            "--policy",
            type=click.Choice(POLICIES),
            default="sliced",
            show_default=True,
            help="How pages stream beside computing flash.",
        ),
        click.option(
            "--memory", metavar="BYTES", help="Limit of the working memory, as 512M or 2GiB."
        ),
        click.option(
            "--context",
            type=click.IntRange(0, 1 << 24),
            default=1000,
            show_default=True,
            metavar="N",
            help="Positions in the cache; tokens of the prompt.",
        ),
        click.option(
            "--weights",
            default="w8a8",
            show_default=True,
            metavar="WxAy",
            help="Bits of weights and activations: w8a8, w4a16 ...",
        ),
        click.option("--device", required=True, metavar="NAME", help="See edgekit devices."),
        click.option(
            "--model",
            required=True,
            metavar="SHAPE",
            help="A published shape (llama2-7b ...), a GGUF file, or tales, which ships.",
        ),
    ):
        function = option(function)
    return function


@click.command(short_help="Predict a language model on a device from its shape alone.")
@workload_options
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="HTML", help="Also write a page about it."
)
@common_options
def command(
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
    """Predict speed, energy and bytes moved of a language model; no weights are needed."""
    from edgekit.pipeline.estimate import estimate_model, with_memory_limit
    from edgekit.profiles import load_profile

    profile = load_profile(device)
    if memory is not None:
        profile = with_memory_limit(profile, parse_bytes(memory))
    work = workload(model, weights, context, policy, weights_in, head=head)
    found = estimate_model(work, profile)
    if report is not None:
        from edgekit.report.chiplet import write_estimate_report

        write_estimate_report(found, profile, report)
    if as_json:
        print_json(estimate_json(found) | ({"report": str(report)} if report else {}))
    else:
        print_estimate(found)
    for need in found.memories:
        if not need.fits:
            note(
                f"does not fit: {need.name} needs {need.required_bytes:,} bytes, "
                f"{need.available_bytes:,} available; the figures are as if it did",
                quiet=quiet,
            )
    if report is not None:
        note(f"report: {report}", quiet=quiet)
    if not found.fits:
        raise SystemExit(MemoryBudgetError.exit_code)


def workload(
    model: str, weights: str, context: int, policy: str, weights_in: str, *, head: bool
) -> Workload:
    """Return what the options of :func:`workload_options` ask for."""
    from edgekit.emulators.nand_chiplet import POLICIES as KNOWN
    from edgekit.pipeline.estimate import Workload, parse_precision, shape_of

    parse_precision(weights)
    chosen = next(item for item in KNOWN if item == policy)
    return Workload(shape_of(model), weights.lower(), context, chosen, weights_in, head)


def estimate_json(found: ModelEstimate) -> dict[str, object]:
    """Return an estimate as the keys of docs/cli.md."""
    answer: dict[str, object] = {
        "model": found.model,
        "device": found.device,
        "weights": found.weights,
        "context": found.context,
        "tokens_per_s": found.tokens_per_s,
        "prefill_s": found.prefill_s,
        "bytes_moved_per_token": round(found.bytes_moved_per_token),
        "energy_j_per_token": found.energy_j_per_token,
        "energy": found.energy,
        "cost_usd": found.cost_usd,
        "limit": found.limit,
        "fits": found.fits,
        "memories": [
            {
                "name": need.name,
                "required_bytes": need.required_bytes,
                "available_bytes": need.available_bytes,
                "fits": need.fits,
            }
            for need in found.memories
        ],
        "breakdown": [
            {
                "name": part.name,
                "seconds": part.seconds,
                "bytes": round(part.size_bytes),
                "detail": part.detail,
            }
            for part in found.parts
        ],
        "gains": [asdict(gain) for gain in found.gains],
        "kind": "modelled",
        "stated_error": found.stated_error,
    }
    chiplet = found.chiplet
    if chiplet is not None:
        answer["chiplet"] = {
            "policy": chiplet.policy,
            "channel_use": chiplet.channel_use,
            "flash_bytes_per_token": round(chiplet.flash_bytes),
            "streamed_bytes_per_token": round(chiplet.streamed_bytes),
            "tiles": [
                {"name": item.name, "rounds": item.rounds, "filled": item.filled}
                | asdict(item.tile)
                for item in chiplet.matrices
            ],
        }
    return answer


def print_estimate(found: ModelEstimate) -> None:
    """Print an estimate as text."""
    rows = [
        (part.name, format_seconds(part.seconds), format_bytes(part.size_bytes), part.detail)
        for part in found.parts
    ]
    title = f"{found.model} {found.weights} on {found.device}, context {found.context:,}"
    table(("part", "time a token", "bytes", ""), rows, title=title)
    joules, prompt = format_joules(found.energy_j_per_token), format_seconds(found.prefill_s)
    click.echo(
        f"modelled: {found.tokens_per_s:.3g} tokens/s, prompt in {prompt}, {joules} and "
        f"{format_bytes(found.bytes_moved_per_token)} moved a token"
    )
    click.echo(f"limited by {found.limit}")
    if found.gains:
        ranked = sorted(found.gains, key=lambda gain: -gain.speedup)
        gains = ", ".join(f"{gain.change} {gain.speedup:.2f}x" for gain in ranked)
        click.echo(f"what would help: {gains}")
    if found.cost_usd is not None:
        click.echo(f"price of the memories: ${found.cost_usd:.2f}")
    known = found.stated_error or "not compared with a measurement on this device"
    click.echo(f"error: {known}")
