"""Entry point: finds the commands, turns errors into messages and exit codes.

Exit codes are documented in docs/cli.md; each error class carries its own. A command lives in one
module of this package, named after it (``convert.py`` defines ``command``), and is imported only
when it is run or listed; heavy libraries are imported inside the commands.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

import edgekit
from edgekit.cli.output import print_json
from edgekit.errors import EdgekitError, InternalError

COMMANDS = {
    "Convert and look": ("convert", "inspect", "plan", "report", "init", "estimate", "sweep"),
    "Run": ("run", "emulate", "bench", "validate"),
    "Language models": ("generate", "chat", "serve"),
    "Boards": ("flash", "monitor"),
    "Around": ("devices", "doctor", "completion"),
}
"""Commands by the heading under which ``--help`` lists them."""


class CommandGroup(click.Group):
    """A group that imports a command's module when the command is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [name for names in COMMANDS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None where there is none of that name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"edgekit.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve the first argument, with a suggestion where it is misspelt."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            ctx.fail(f"No such command '{args[0]}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands under their headings."""
        for heading, names in COMMANDS.items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                if command is not None:
                    rows.append((name, command.get_short_help_str(limit=64)))
            with formatter.section(heading):
                formatter.write_dl(rows)


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: edgekit convert --device pixel8",
)
@click.version_option(edgekit.__version__, "--version", prog_name="edgekit")
@click.option("--debug", is_flag=True, help="Show a traceback with every error.")
def cli(debug: bool) -> None:
    """From a trained model and a named device to something that really runs there."""
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s: %(message)s"
    )


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the documented code."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(argv))


def run(argv: list[str]) -> int:
    """Run one command line and return its exit code."""
    debug = "--debug" in argv
    try:
        result = cli.main(args=argv, prog_name="edgekit", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        _report(argv, error.format_message(), 2, type(error).__name__)
        return 2
    except click.Abort:
        return 130
    except EdgekitError as error:
        _report(argv, str(error), error.exit_code, type(error).__name__)
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        _report(argv, str(error), 1, type(error).__name__)
        code = 1
    except Exception as error:
        message = f"internal error: {type(error).__name__}: {error}\nplease report it"
        _report(argv, message, InternalError.exit_code, "InternalError")
        code = InternalError.exit_code
    if debug:
        traceback.print_exc()
    return code


def _report(argv: list[str], message: str, code: int, kind: str) -> None:
    if "--json" in argv:
        print_json({"error": {"type": kind, "message": message, "exit_code": code}})
    click.echo(f"error: {message}", err=True)


if __name__ == "__main__":
    main()
