"""``edgekit chat``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from edgekit.cli.generate import summary
from edgekit.cli.language_options import (
    echo_generated,
    load_arguments,
    load_options,
    load_session,
    sampling_of,
    sampling_options,
)
from edgekit.cli.output import common_options, note, print_json
from edgekit.errors import UsageError

COMMANDS = "/reset forgets the conversation, /quit ends (Ctrl-D does too)"


@click.command(short_help="Talk to a language model in the terminal.")
@click.argument("package", required=False, type=click.Path(path_type=Path))
@click.option("--system", metavar="TEXT", help="What the model is told beforehand.")
@click.option("--max-tokens", type=click.IntRange(1), default=512, show_default=True)
@load_options
@sampling_options
@common_options
def command(
    package: Path | None,
    system: str | None,
    max_tokens: int,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Talk to the model of PACKAGE, which may also be a GGUF file: one line in, an answer out.

    The model's own chat template is used. With --json each answer is one JSON object.
    """
    loading, sampling = load_arguments(options), sampling_of(options)
    with load_session(package, loading, quiet=quiet or as_json) as session:
        if session.template.is_plain:
            note("The model has no chat template: User and Assistant in plain text.", quiet=quiet)
        note(COMMANDS, quiet=quiet or as_json)
        first = [{"role": "system", "content": system}] if system else []
        messages: list[dict[str, str]] = list(first)
        for line in lines():
            if line == "/quit":
                return
            if line == "/reset":
                messages = list(first)
                continue
            messages.append({"role": "user", "content": line})
            try:
                generation = session.stream_chat(
                    messages, max_tokens=max_tokens, stop=options["stop"], sampling=sampling
                )
            except UsageError as error:  # the conversation outgrew the context, for instance
                note(f"{error}\n{COMMANDS}", quiet=quiet or as_json)
                if as_json:
                    print_json({"error": {"message": str(error)}})
                messages.pop()
                continue
            parts: list[str] = []
            try:
                for text in generation:
                    parts.append(text)
                    if not as_json:
                        echo_generated(text)
            except KeyboardInterrupt:  # ends the answer, not the conversation
                generation.cancel()
            answer = "".join(parts)
            messages.append({"role": "assistant", "content": answer})
            if as_json:
                print_json({"text": answer, "finish_reason": generation.finish_reason})
                continue
            click.echo()
            note(summary(session, generation), quiet=quiet)


def lines() -> Iterator[str]:
    """Yield what the user types, without empty lines; a prompt is shown on a terminal only."""
    while True:
        try:
            line = input("> ") if sys.stdin.isatty() else sys.stdin.readline()
        except EOFError:
            return
        if not line and not sys.stdin.isatty():
            return
        if line.strip():
            yield line.strip()
