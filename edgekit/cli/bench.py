"""``edgekit bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from edgekit.cli.output import common_options, print_json
from edgekit.errors import UsageError
from edgekit.units import format_seconds


@click.command(short_help="Measure the latency of a package on this computer.")
@click.argument("package", type=click.Path(path_type=Path))
@click.option(
    "--runs", type=click.IntRange(1, 1_000_000), help="[50; 5 of a language model]", metavar="N"
)
@click.option("--executor", metavar="NAME", help="reference, native, onnxruntime, litert, llama.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 256))
@common_options
def command(
    package: Path, runs: int | None, executor: str | None, threads: int, as_json: bool, quiet: bool
) -> None:
    """Run PACKAGE repeatedly on zeros of the planned shapes, after a warm-up.

    A language model (also a GGUF file) decodes 32 tokens behind a prompt of 64 in each run. The
    figures are of this computer, not of the device.
    """
    from edgekit.language_package import is_language_package
    from edgekit.pipeline.bench import bench
    from edgekit.runtime.language.session import is_gguf

    if is_language_package(package) or is_gguf(package):
        bench_language(package, runs or 5, executor, threads, as_json)
        return

    timing = bench(package, runs=runs or 50, executor=executor, threads=threads)
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


def bench_language(
    package: Path, runs: int, executor: str | None, threads: int, as_json: bool
) -> None:
    """Measure a language model and print what came of it."""
    from edgekit.pipeline.language_bench import bench_language_model

    if executor not in (None, "native", "llama"):
        raise UsageError(f"'{executor}' runs no language models; choose native or llama")
    choice: Literal["auto", "native", "llama"] = "llama" if executor == "llama" else "auto"
    if executor == "native":
        choice = "native"
    timing = bench_language_model(package, runs=runs, executor=choice, threads=threads)
    if as_json:
        latency = {"min": timing.min_s, "median": timing.median_s, "p90": timing.p90_s}
        print_json(
            {
                "runs": timing.runs,
                "latency_s": latency,
                "tokens_per_s": timing.tokens_per_s,
                "prefill_tokens_per_s": timing.prefill_tokens_per_s,
                "bytes_read_per_token": timing.read_bytes_per_token,
                "peak_bytes": {"engine": timing.total_bytes} if timing.total_bytes else {},
                "executor": timing.executor,
                "threads": threads,
                "kind": "measured",
            }
        )
        return
    click.echo(
        f"{timing.runs} runs on {timing.executor}, {threads} thread(s): "
        f"{timing.tokens_per_s:.1f} tokens/s, prompts {timing.prefill_tokens_per_s:.0f} tokens/s; "
        f"a token min {format_seconds(timing.min_s)}, p90 {format_seconds(timing.p90_s)}"
    )
