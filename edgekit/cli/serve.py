"""``edgekit serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli.language_options import load_arguments, load_options, load_session
from edgekit.cli.output import common_options, note, print_json


@click.command(
    short_help="Serve a language model over HTTP, as the OpenAI API does.",
    epilog="""\b
Examples:
  edgekit serve model.gguf --memory 2GiB
  EDGEKIT_TOKEN=secret edgekit serve package --host 0.0.0.0 --sessions 2""",
)
@click.argument("package", required=False, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--token", envvar="EDGEKIT_TOKEN", help="Clients must send it. [EDGEKIT_TOKEN]")
@click.option(
    "--sessions", type=click.IntRange(1, 64), default=2, show_default=True, help="At once."
)
@click.option("--queue", type=click.IntRange(0), default=8, show_default=True, help="May wait.")
@click.option("--queue-timeout", type=float, default=60.0, show_default=True, metavar="S")
@click.option("--max-tokens", type=click.IntRange(1), default=1024, show_default=True)
@click.option("--max-body", default="1MiB", show_default=True, metavar="BYTES")
@click.option("--page", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="At /.")
@load_options
@common_options
def command(
    package: Path | None,
    host: str,
    port: int,
    token: str | None,
    sessions: int,
    queue: int,
    queue_timeout: float,
    max_tokens: int,
    max_body: str,
    page: Path | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Answer /v1/chat/completions, /v1/completions and /v1/models with the model of PACKAGE.

    PACKAGE may also be a GGUF file. Only this computer is listened to unless --host says
    otherwise, which needs a token. Requests beyond --sessions wait, those beyond --queue get 429.
    """
    from edgekit.server.run import check_aiohttp, serve
    from edgekit.server.settings import ServerSettings
    from edgekit.units import parse_bytes

    check_aiohttp()
    settings = ServerSettings(
        token=token or "",
        conversations=sessions,
        most_waiting=queue,
        wait_s=queue_timeout,
        most_tokens=max_tokens,
        most_body_bytes=parse_bytes(max_body),
        page=page,
    )

    def ready(address: str) -> None:
        if as_json:
            print_json({"address": address, "model": session.name})
        else:
            click.echo(f"{session.name} at {address}/v1")
            note("Ctrl-C ends it", quiet=quiet)

    loading = load_arguments(options)
    with load_session(package, loading, sessions=sessions, quiet=quiet or as_json) as session:
        serve(session, settings, host=host, port=port, ready=ready)
