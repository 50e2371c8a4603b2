"""Completion of ``--port`` in shells: the serial ports of this computer."""

from __future__ import annotations

import click


def complete_port(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Return the ports whose names begin as typed; none where pyserial is not installed."""
    from edgekit.deploy.serial.ports import port_names
    from edgekit.errors import MissingDependencyError

    try:
        return [name for name in port_names() if name.startswith(begun)]
    except MissingDependencyError:
        return []
