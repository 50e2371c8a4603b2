"""Options that generate, chat and serve share: what to load, how, and how to choose tokens."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypedDict, TypeVar

import click

from edgekit.cli.output import note

if TYPE_CHECKING:
    from edgekit.runtime.language.sampler import Sampling
    from edgekit.runtime.language.session import LanguageSession

P = ParamSpec("P")
R = TypeVar("R")


class LoadArguments(TypedDict):
    """How a model is loaded, as the command line says it."""

    memory: str | None
    context: int | None
    batch: int | None
    threads: int | None
    kv: Literal["f16", "q8", "f32"] | None
    executor: Literal["auto", "native", "llama"]


def load_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add the options of :class:`LoadArguments`."""
    for option in reversed(
        (
            click.option("--memory", metavar="BYTES", help="Hard limit, such as 2GiB."),
            click.option("--context", type=click.IntRange(1), metavar="N", help="Tokens kept."),
            click.option("--batch", type=click.IntRange(1, 4096), metavar="N", hidden=True),
            click.option("--threads", type=click.IntRange(1, 256), metavar="N"),
            click.option("--kv", type=click.Choice(["f16", "q8", "f32"]), help="KV cache. [f16]"),
            click.option(
                "--executor",
                type=click.Choice(["auto", "native", "llama"]),
                default="auto",
                show_default=True,
                help="llama is llama.cpp, which keeps to no --memory.",
            ),
        )
    ):
        function = option(function)
    return function


def sampling_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add the options that :func:`sampling_of` reads."""
    for option in reversed(
        (
            click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
            click.option(
                "--temperature", type=float, default=0.8, show_default=True, help="0: greedy."
            ),
            click.option("--top-k", type=int, default=40, show_default=True, help="0: off."),
            click.option("--top-p", type=float, default=0.95, show_default=True, help="1: off."),
            click.option("--min-p", type=float, default=0.05, show_default=True, help="0: off."),
            click.option("--repetition-penalty", type=float, default=1.0, show_default=True),
            click.option("--stop", multiple=True, metavar="TEXT", help="Ends the answer."),
        )
    ):
        function = option(function)
    return function


def sampling_of(options: dict[str, Any]) -> Sampling:
    """Take the options of :func:`sampling_options`, but ``stop``, out of a mapping."""
    from edgekit.runtime.language.sampler import Sampling

    return Sampling(
        seed=options.pop("seed"),
        temperature=options.pop("temperature"),
        top_k=options.pop("top_k"),
        top_p=options.pop("top_p"),
        min_p=options.pop("min_p"),
        repetition_penalty=options.pop("repetition_penalty"),
    )


def load_session(
    source: Path | None, arguments: LoadArguments, *, sessions: int = 1, quiet: bool
) -> LanguageSession:
    """Load a package or GGUF file; without one the language model that ships, and say so."""
    from edgekit.runtime.language.session import LoadOptions, load_language_model
    from edgekit.units import parse_bytes

    if source is None:
        from edgekit.zoo import language_model_path

        source = language_model_path()
        note(f"No model was named: this is {source.stem}, which ships with edgekit.", quiet=quiet)
    memory = arguments["memory"]
    session = load_language_model(
        source,
        LoadOptions(
            executor=arguments["executor"],
            memory_bytes=parse_bytes(memory) if memory else None,
            context=arguments["context"],
            batch=arguments["batch"],
            sessions=sessions,
            threads=arguments["threads"],
            kv=arguments["kv"],
        ),
    )
    for text in session.notes:
        note(text, quiet=quiet)
    return session


def echo_generated(text: str) -> None:
    """Print text of a model as it comes; on a terminal without what would steer the terminal."""
    click.echo(terminal_text(text) if sys.stdout.isatty() else text, nl=False)


def terminal_text(text: str) -> str:
    """Return a text with U+FFFD in place of control characters, but line ends and tabs."""
    return text.translate(_CONTROLS)


_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\r\t"}


def load_arguments(options: dict[str, Any]) -> LoadArguments:
    """Take the options of :func:`load_options` out of a mapping."""
    return LoadArguments(
        memory=options.pop("memory"),
        context=options.pop("context"),
        batch=options.pop("batch"),
        threads=options.pop("threads"),
        kv=options.pop("kv"),
        executor=options.pop("executor"),
    )
