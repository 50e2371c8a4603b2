"""``edgekit devices``."""

from __future__ import annotations

import click

from edgekit.cli.output import common_options, note, print_json, table


@click.command(short_help="List the device profiles, or show one.")
@click.option("--show", metavar="NAME", help="Show one profile, every number with its source.")
@common_options
def command(show: str | None, as_json: bool, quiet: bool) -> None:
    """List the devices that edgekit knows, or show one with the source of every number."""
    if show is None:
        list_devices(as_json, quiet)
    else:
        show_device(show, as_json)


def list_devices(as_json: bool, quiet: bool) -> None:
    """Print name, kind, title and capabilities of every profile."""
    import msgspec

    from edgekit.profiles import list_profiles, load_profile

    summaries = list_profiles()
    if as_json:
        devices = [{"name": s.name, "kind": s.kind, "title": s.title} for s in summaries]
        print_json({"devices": devices})
        return
    rows = []
    for summary in summaries:
        capabilities = msgspec.structs.asdict(load_profile(summary.name).capabilities)
        can = [name for name, able in capabilities.items() if able is True]
        rows.append((summary.name, summary.kind, summary.title, ", ".join(can)))
    table(("device", "kind", "title", "edgekit can"), rows)
    note("one in full, with sources: edgekit devices --show NAME", quiet=quiet)


def show_device(name: str, as_json: bool) -> None:
    """Print one profile with the source and the confidence of every number."""
    import msgspec

    from edgekit.emulators import stated_error
    from edgekit.profiles import load_profile, quantities

    profile = load_profile(name)
    error = stated_error(profile)
    if as_json:
        print_json({**msgspec.to_builtins(profile), "stated_error": error})
        return
    rows = [(key, f"{q.value:,.6g}", q.confidence, q.source) for key, q in quantities(profile)]
    table(("number", "value", "confidence", "source"), rows, title=f"{profile.title} ({name})")
    if profile.capabilities.note:
        click.echo(f"note: {profile.capabilities.note}")
    if error:
        click.echo(f"modelled time and energy: {error}")
