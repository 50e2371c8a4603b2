"""``edgekit flash``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli.output import common_options, counted_progress, note, print_json
from edgekit.cli.port_names import complete_port


@click.command(
    short_help="Write the firmware of a package to a board.",
    epilog="""\b
Examples:
  edgekit flash kws.edgekit                                     port found by USB
  edgekit flash kws.edgekit --port /dev/ttyUSB0 --reset manual
  edgekit flash kws.edgekit --port rfc2217://10.0.0.7:4000
  edgekit flash kws.edgekit --port /media/me/RPI-RP2            RP2040: its drive""",
)
@click.argument("package", type=click.Path(path_type=Path))
@click.option(
    "--port",
    metavar="URL",
    shell_complete=complete_port,
    help="/dev/ttyACM0, rfc2217://host:port ... [found by USB]",
)
@click.option("--protocol", type=click.Choice(["an3155", "smp", "uf2"]), help="[the device's]")
@click.option(
    "--reset",
    type=click.Choice(["dtr-rts", "rts-dtr", "dtr-rts-inverted", "rts-dtr-inverted", "manual"]),
    help="Modem lines on reset and boot pin. [dtr-rts for an3155, else manual]",
)
@common_options
def command(
    package: Path,
    port: str | None,
    protocol: str | None,
    reset: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the firmware of PACKAGE to a board, verify it and start it.

    A board that loses power meanwhile waits in its bootloader: run the same command again.
    """
    from edgekit.deploy.serial.image_facts import choose_protocol, flash_image_of
    from edgekit.deploy.serial.ports import choose_port
    from edgekit.deploy.serial.programmer import flash_board
    from edgekit.deploy.serial.reset import WIRINGS
    from edgekit.package import open_package

    opened = open_package(package)
    profile = opened.profile()
    chosen = choose_protocol(profile, protocol)
    image, facts = flash_image_of(opened, chosen)
    url = port or ("" if chosen == "uf2" else choose_port(profile))
    wiring = WIRINGS[reset or ("dtr-rts" if chosen == "an3155" else "manual")]
    if wiring.is_manual and profile.serial:
        note(f"its bootloader must be running: {profile.serial.boot}", quiet=quiet)
    with counted_progress("writing", quiet=quiet or as_json) as progress:
        report = flash_board(profile, image, facts, url=url, wiring=wiring, progress=progress)
    if as_json:
        print_json(
            {
                "port": report.port,
                "protocol": report.protocol,
                "bytes": report.size_bytes,
                "seconds": report.seconds,
                "verified": report.is_verified,
            }
        )
        return
    verified = "verified" if report.is_verified else "not read back"
    click.echo(
        f"{report.port}: {report.size_bytes:,} bytes by {report.protocol}, {verified}, "
        f"{report.seconds:.1f} s"
    )
    if chosen == "an3155" and not wiring.is_manual:
        note(
            "restarted by DTR and RTS; where these wires are missing, press reset without the boot "
            "pin, or flash with --reset manual",
            quiet=quiet,
        )
    where = "" if chosen == "uf2" else f" --port {report.port}"
    note(f"next: edgekit monitor {package}{where} --input INPUT.npz", quiet=quiet)
