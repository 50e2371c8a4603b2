"""``python -m edgekit.emulators``: a board to flash and talk to, without the board."""

from __future__ import annotations

import signal
import sys
import threading

import click

from edgekit.deploy.serial.flash_map import flash_map_of
from edgekit.emulators.serial_board import BOARDS, check_application, emulated_board
from edgekit.errors import EdgekitError
from edgekit.profiles import load_profile


@click.command()
@click.argument("device", type=click.Choice(sorted(BOARDS)))
@click.option("--port", default=4000, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--protocol", default="an3155", show_default=True, type=click.Choice(["an3155", "smp"])
)
def main(device: str, port: int, protocol: str) -> None:
    """Offer an emulated DEVICE on a TCP port of this computer until interrupted.

    Its flash is empty at first. ``an3155`` is the bootloader in ROM, with parity and modem lines;
    ``smp`` is MCUboot on a plain line.
    """
    # Ended from outside, it ends QEMU too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    profile = load_profile(device)
    in_rom = protocol == "an3155"
    try:
        check_application(device)
        with emulated_board(
            flash_map_of(profile),
            protocol="an3155" if in_rom else "smp",
            has_modem_lines=in_rom,
            tcp_port=port,
        ) as board:
            click.echo(f"emulated {profile.title}: --port {board.url}")
            threading.Event().wait()
    except OSError as error:
        raise click.ClickException(f"port {port}: {error.strerror}") from error
    except EdgekitError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
