"""Finds and loads the native core ``libedgekit`` through ctypes.

It is looked for in the installed package (``edgekit/lib``; also where an editable install puts
it), then in the ``build`` folder of a checkout. ``EDGEKIT_LIBRARY`` names another file, for
instance one built with sanitizers.
"""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
from functools import cache
from pathlib import Path

from edgekit.errors import InternalError, MissingDependencyError

ABI_VERSION = 1
"""``EK_ABI_VERSION`` of ``csrc/include/edgekit/version.h`` that this package is written for."""

REMEDY = (
    "install edgekit with a C compiler at hand (pip install edgekit), or in a checkout run: "
    "cmake -S . -B build && cmake --build build"
)


class NativeLibraryMissingError(MissingDependencyError):
    """The native core is not built or not installed."""

    def __init__(self, detail: str) -> None:
        Exception.__init__(self, f"the native core libedgekit {detail}\n{REMEDY}")
        self.extra = ""
        self.library = "libedgekit"


def candidate_paths() -> tuple[Path, ...]:
    """Files that are tried, in order."""
    chosen = os.environ.get("EDGEKIT_LIBRARY")
    if chosen:
        return (Path(chosen),)
    suffix = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
    name = ("" if sys.platform == "win32" else "lib") + "edgekit" + suffix
    package = Path(__file__).resolve().parent
    # An editable install keeps Python files in the checkout and the library with its metadata.
    installed = Path(sysconfig.get_path("platlib")) / "edgekit"
    return (package / "lib" / name, installed / "lib" / name, package.parent / "build" / name)


def has_library() -> bool:
    """Whether the native core can be loaded."""
    try:
        load_library()
    except MissingDependencyError:
        return False
    return True


@cache
def load_library() -> ctypes.CDLL:
    """Load the native core once.

    Returns
    -------
    ctypes.CDLL
        Each module that calls it declares the prototypes it uses.

    Raises
    ------
    MissingDependencyError
        If there is no library, or it cannot be loaded here.
    InternalError
        If the library was built for another version of the binary interface.
    """
    paths = candidate_paths()
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise NativeLibraryMissingError(f"was not found at {' or '.join(map(str, paths))}")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeLibraryMissingError(f"cannot be loaded: {error}") from error
    library.ek_abi_version.argtypes = ()
    library.ek_abi_version.restype = ctypes.c_int32
    found = library.ek_abi_version()
    if found != ABI_VERSION:
        raise InternalError(
            f"{path} has binary interface {found}, this edgekit needs {ABI_VERSION}\n{REMEDY}"
        )
    return library
