"""Starts the server and ends it on a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from edgekit.errors import DeviceError, MissingDependencyError, UsageError
from edgekit.runtime.language.session import LanguageSession
from edgekit.server.settings import ServerSettings

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    session: LanguageSession,
    settings: ServerSettings,
    *,
    host: str,
    port: int,
    ready: Callable[[str], None],
) -> None:
    """Answer requests until SIGINT or SIGTERM.

    Parameters
    ----------
    session : LanguageSession
        Loaded for as many conversations as the settings say.
    settings : ServerSettings
    host : str
    port : int
        0: any free one.
    ready : callable
        Told the address when the server listens.

    Raises
    ------
    UsageError
        If others could reach the server and there is no token.
    DeviceError
        If the address cannot be listened on.
    """
    if host not in LOOPBACK and not settings.token:
        raise UsageError(f"others can reach {host}: give a token with --token or EDGEKIT_TOKEN")
    asyncio.run(_serve(session, settings, host, port, ready))


async def _serve(
    session: LanguageSession,
    settings: ServerSettings,
    host: str,
    port: int,
    ready: Callable[[str], None],
) -> None:
    from aiohttp import web

    from edgekit.server.app import make_app

    # A handler ends when its client hangs up, and its generation with it.
    runner = web.AppRunner(make_app(session, settings), handler_cancellation=True, access_log=None)
    await runner.setup()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        site = web.TCPSite(runner, host, port, shutdown_timeout=5.0)
        try:
            await site.start()
        except OSError as error:
            raise DeviceError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        bound = runner.addresses[0][1]
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{bound}")
        await stop.wait()
    finally:
        await runner.cleanup()


def check_aiohttp() -> None:
    """Refuse to start without aiohttp (MissingDependencyError)."""
    from importlib.util import find_spec

    if find_spec("aiohttp") is None:
        raise MissingDependencyError("serve", library="aiohttp")
