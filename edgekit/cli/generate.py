"""``edgekit generate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.language_options import (
    echo_generated,
    load_arguments,
    load_options,
    load_session,
    sampling_of,
    sampling_options,
)
from edgekit.cli.output import common_options, note, print_json
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from edgekit.runtime.language.generate import Generation
    from edgekit.runtime.language.session import LanguageSession


@click.command(
    short_help="Continue a text with a language model.",
    epilog="""\b
Examples:
  edgekit generate --prompt "Once upon a time"
  edgekit generate model.gguf --prompt "Once" --memory 400MiB --max-tokens 64""",
)
@click.argument("package", required=False, type=click.Path(path_type=Path))
@click.option("--prompt", required=True, metavar="TEXT", help="Text, or - for standard input.")
@click.option("--max-tokens", type=click.IntRange(1), default=128, show_default=True)
@load_options
@sampling_options
@common_options
def command(
    package: Path | None,
    prompt: str,
    max_tokens: int,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Continue TEXT with the model of PACKAGE, which may also be a GGUF file.

    Without PACKAGE the language model that ships with edgekit is used. The same seed gives the
    same text, whatever the memory limit.
    """
    loading, sampling = load_arguments(options), sampling_of(options)
    if prompt == "-":
        prompt = sys.stdin.read()
    with load_session(package, loading, quiet=quiet or as_json) as session:
        generation = session.stream(
            prompt, max_tokens=max_tokens, stop=options["stop"], sampling=sampling
        )
        if as_json:
            print_json(answer_json(session, generation.text(), generation))
            return
        for text in generation:
            echo_generated(text)
        click.echo()
        note(summary(session, generation), quiet=quiet)


def answer_json(session: LanguageSession, text: str, generation: Generation) -> dict[str, object]:
    """Return the answer of ``edgekit generate --json`` of a finished generation."""
    timings, executor = generation.timings, session.executor
    return {
        "text": text,
        "tokens": len(generation.tokens),
        "finish_reason": generation.finish_reason,
        "prompt_tokens": timings.prompt_tokens,
        "tokens_per_s": timings.tokens_per_s,
        "prefill_s": timings.prefill_s,
        "bytes_read_per_token": timings.read_bytes_per_token,
        "peak_bytes": peaks(session),
        "executor": executor.name,
        "context": executor.context,
        "kind": "measured",
        "notes": list(session.notes),
    }


def summary(session: LanguageSession, generation: Generation) -> str:
    """Return one line on speed and memory."""
    timings, budget = generation.timings, session.executor.budget
    line = (
        f"{len(generation.tokens)} tokens ({generation.finish_reason}), "
        f"{timings.tokens_per_s:.1f} tokens/s after {timings.prefill_s:.2f} s for "
        f"{timings.prompt_tokens} of the prompt; {session.executor.detail}"
    )
    if budget is None:
        return line
    read = timings.read_bytes_per_token
    streamed = f", {format_bytes(round(read))} read for each token" if read else ""
    return f"{line}; {format_bytes(budget.total_bytes)} held{streamed}"


def peaks(session: LanguageSession) -> dict[str, int]:
    """Return bytes held by the engine as planned, and the process's peak as the system says."""
    from edgekit.runtime.language.process_memory import peak_process_bytes

    budget = session.executor.budget
    found = {"engine": budget.total_bytes} if budget else {}
    process = peak_process_bytes()
    return {**found, **({"process": process} if process else {})}
