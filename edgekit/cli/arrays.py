"""Arrays in and out of the command line: ``.npz`` files with one array a name."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import UsageError

_BROKEN_FILE = (EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise on damaged files."""


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of an ``.npz`` file.

    Raises
    ------
    UsageError
        If it cannot be read, or holds something else than plain arrays.
    """
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise UsageError(f"{path} is one array without a name, no .npz file")
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    except _BROKEN_FILE as error:
        raise UsageError(f"{path} is no .npz file with one array an input: {error}") from error


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as one ``.npz`` file; it appears complete or not at all.

    Raises
    ------
    UsageError
        If it cannot be written there.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            np.savez(file, **dict(arrays))  # type: ignore[arg-type]
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)
