"""``edgekit completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from edgekit.cli.output import common_options, print_json
from edgekit.errors import InternalError


@click.command(short_help="Print the completion script of your shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common_options
def command(shell: str, as_json: bool, quiet: bool) -> None:
    """Print the completion script of SHELL.

    For instance: edgekit completion bash >> ~/.bashrc
    """
    from edgekit.cli.main import cli

    completion = get_completion_class(shell)
    if completion is None:
        raise InternalError(f"click knows no completion for {shell}")
    script = completion(cli, {}, "edgekit", "_EDGEKIT_COMPLETE").source()
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
