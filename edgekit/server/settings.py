"""How the server behaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How the server behaves.

    Parameters
    ----------
    token : str
        Bearer token that clients must send; empty: none, for local addresses only.
    conversations : int
        Answers that are generated at the same time.
    most_waiting : int
        Requests that may wait beyond them; others get 429.
    wait_s : float
        How long a request waits at most before it gets 503.
    most_tokens : int
        Of one answer.
    most_body_bytes : int
    page : Path or None
        An HTML file to show at ``/``.
    """

    token: str = ""
    conversations: int = 1
    most_waiting: int = 8
    wait_s: float = 60.0
    most_tokens: int = 1024
    most_body_bytes: int = 1 << 20
    page: Path | None = None
