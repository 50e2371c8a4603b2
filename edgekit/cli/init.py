"""``edgekit init``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.output import common_options, print_json

if TYPE_CHECKING:
    from edgekit.converters.recipes import Recipe


@click.command(short_help="Answer a few questions, get a recipe and the command.")
@click.option("--out", default="recipe.yaml", type=click.Path(path_type=Path), show_default=True)
@common_options
def command(out: Path, as_json: bool, quiet: bool) -> None:
    """Ask for model, device, data and gates; write a recipe and print the equivalent command."""
    from edgekit.converters.recipes import command_of, dump_recipe

    recipe = ask()
    if out.exists() and not click.confirm(f"{out} exists; replace it?", err=True):
        raise click.Abort
    out.write_text(dump_recipe(recipe), encoding="utf-8")
    if as_json:
        print_json({"recipe": str(out), "command": command_of(recipe)})
    else:
        click.echo(f"recipe: {out}\ncommand: {command_of(recipe)}")


def ask() -> Recipe:
    """Ask until the answers make a recipe."""
    from edgekit.converters.recipes import layered
    from edgekit.errors import EdgekitError
    from edgekit.profiles import list_profiles, load_profile

    def prompt(text: str, default: str = "") -> str:
        answer: str = click.prompt(text, default=default, show_default=bool(default), err=True)
        return answer.strip()

    values: dict[str, object] = {}
    values["model"] = prompt("Model (empty: the keyword spotter that ships)") or None
    while "device" not in values:
        name = prompt("Device (? lists them)", "pixel8")
        if name == "?":
            click.echo(", ".join(summary.name for summary in list_profiles()), err=True)
            continue
        try:
            values["device"] = load_profile(name).name
        except EdgekitError as error:
            click.echo(f"{error}", err=True)
    values["calibration"] = prompt("Calibration data (.npz or folder; empty: none)") or None
    precisions = click.Choice(["auto", "float32", "float16", "int8"])
    values["precision"] = click.prompt("Precision", "auto", type=precisions, err=True)
    gate = prompt("Least signal-to-noise ratio of the outputs in dB (empty: no gate)")
    values["min_sqnr_db"] = float(gate) if gate else None
    return layered(values)
