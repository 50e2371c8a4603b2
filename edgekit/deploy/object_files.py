"""Object files: sources compiled side by side, and kept where they do not change.

Kernels are the same for every model, so their object files lie in the user's cache under a digest
of compiler, options and sources.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgekit.errors import InternalError

Compile = Callable[[Path, Path], None]
"""From a source to an object file."""


def compile_all(sources: Sequence[Path], directory: Path, compile_one: Compile) -> list[Path]:
    """Compile sources, as many at a time as there are processors.

    Parameters
    ----------
    sources : sequence of Path
        With different names.
    directory : Path
        Receives the object files.
    compile_one : callable
    """
    directory.mkdir(parents=True, exist_ok=True)
    targets = [directory / f"{source.stem}.o" for source in sources]
    if len(set(targets)) != len(targets):
        raise InternalError("two sources of the firmware have the same name")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [
            pool.submit(compile_one, source, target)
            for source, target in zip(sources, targets, strict=True)
        ]
        for job in jobs:
            job.result()
    return targets


def kept_objects(
    sources: Sequence[Path], headers: Sequence[Path], fingerprint: str, compile_one: Compile
) -> list[Path]:
    """Return object files from the user's cache, compiled where nothing there fits.

    Parameters
    ----------
    sources, headers : sequence of Path
        Whose contents decide.
    fingerprint : str
        Of the compiler and its options.
    compile_one : callable
    """
    digest = hashlib.sha256(fingerprint.encode())
    for path in (*sources, *headers):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = home / "edgekit" / "kernels" / digest.hexdigest()[:24]
    if not kept.is_dir():
        staging = kept.with_name(f"{kept.name}.{os.getpid()}")
        try:
            compile_all(sources, staging, compile_one)
            staging.rename(kept)
        except OSError:
            # Another process was faster; its files are the same.
            if not kept.is_dir():
                raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return sorted(kept.glob("*.o"))
