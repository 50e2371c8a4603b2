"""edgekit: from a trained model and a named device to something that really runs there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edgekit.pipeline.convert import Conversion
    from edgekit.pipeline.language_route import LanguageConversion
    from edgekit.runtime.language.session import LanguageSession
    from edgekit.runtime.session import Session

__all__ = ["convert", "convert_language_model", "load", "load_language_model"]

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


def load_language_model(
    source: str | Path,
    *,
    memory_bytes: int | None = None,
    context: int | None = None,
    threads: int | None = None,
    executor: Literal["auto", "native", "llama"] = "auto",
) -> LanguageSession:
    """Load a language model and return a session that generates text.

    Parameters
    ----------
    source : str or Path
        Package of a language model, or a GGUF file.
    memory_bytes : int, optional
        Hard limit of everything that is held; what does not fit is read again for each token.
    context : int, optional
        Tokens that a session keeps.
    threads : int, optional
    executor : {'auto', 'native', 'llama'}

    Raises
    ------
    EdgekitError
        If the model is damaged, does not fit, or a library is missing.
    """
    from edgekit.runtime.language import session

    options = session.LoadOptions(
        executor=executor, memory_bytes=memory_bytes, context=context, threads=threads
    )
    return session.load_language_model(source, options)


def convert_language_model(
    model: str | Path, *, device: str, **options: object
) -> LanguageConversion:
    """Convert a language model; see :mod:`edgekit.pipeline.language_route`.

    Parameters
    ----------
    model : str or Path
        GGUF file, or Hugging Face folder of a Llama-shaped model.
    device : str
        Name of a profile, or path of a TOML file.
    **options
        Other keys of a recipe, such as ``memory``, ``context`` or ``out``.

    Raises
    ------
    EdgekitError
        If the model cannot be read or does not fit.
    """
    from edgekit.pipeline import language_route

    return language_route.convert_language_model(model, device=device, **options)
