"""edgekit: from a trained model and a named device to something that really runs there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.runtime.session import Session

__version__ = "0.1.0"


def load(package: str | Path, executor: str | None = None, threads: int = 1) -> Session:
    """Load a package and return a :class:`~edgekit.runtime.session.Session` that runs it.

    Parameters
    ----------
    package : str or Path
        Directory that ``convert`` wrote.
    executor : str, optional
        ``reference``, ``onnxruntime`` or ``litert``; the package's own where it is left out.
    threads : int
        Threads that one run may use.

    Raises
    ------
    EdgekitError
        If the package is damaged, cannot run on the executor, or a library is missing.
    """
    from edgekit.runtime import session

    return session.load(package, executor, threads)
