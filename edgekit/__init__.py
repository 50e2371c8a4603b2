"""edgekit: from a trained model and a named device to something that really runs there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.pipeline.convert import Conversion
    from edgekit.runtime.session import Session

__all__ = ["convert", "load"]

__version__ = "0.1.0"


def _check_links() -> None:
    """Refuse a checkout whose links became text files, before something fails strangely."""
    folder = Path(__file__).parent
    for name in ("converters", "emulators", "device_profiles"):
        if (folder / name).is_file():
            raise ImportError(
                f"{folder / name} should be a link to ../{name}, but was checked out as a text "
                "file (Windows does that).\nMend it with: "
                "git config core.symlinks true && git checkout -- edgekit"
            )


_check_links()


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


def convert(
    model: str | Path = "", *, device: str, calibration: object = None, **options: object
) -> Conversion:
    """Convert a model for a device; see :func:`edgekit.pipeline.convert.convert`.

    Parameters
    ----------
    model : str or Path
        Model file or folder; empty for the keyword spotter that ships.
    device : str
        Name of a profile, or path of a TOML file.
    calibration : object, optional
        Path, iterable of ``{name: array}``, reader with ``get_next()``, callable, or an
        (iterable, transform) pair.
    **options
        Other keys of a recipe, such as ``precision`` or ``out``.

    Raises
    ------
    EdgekitError
        If the model cannot be read, does not fit, or misses the accuracy gate.
    """
    from edgekit.pipeline import convert as pipeline

    return pipeline.convert(model, device=device, calibration=calibration, **options)
