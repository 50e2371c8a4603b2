"""Readers of model files: one file each, found by listing this folder.

A file defines ``NAME`` (the format, as shown to users), ``matches(path, head)`` (whether the first
bytes of the file, or the folder, are of this format) and ``load(path, dims)`` (the graph). The
format is found from the content; the name of a file says nothing.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Protocol, cast

from edgekit.errors import ModelFormatError, UsageError
from edgekit.graph import Graph

HEAD_BYTES = 4096
"""Bytes at the start of a file that importers may look at to recognise it."""


class Importer(Protocol):
    """What a module of this folder offers."""

    NAME: str

    def matches(self, path: Path, head: bytes) -> bool:
        """Return whether this importer reads the file or folder; ``head`` is empty for folders."""

    def load(self, path: Path, dims: Mapping[str, int]) -> Graph:
        """Return the model as a graph."""


@cache
def importers() -> tuple[Importer, ...]:
    """Return every importer, by name of its module."""
    modules = (info.name for info in pkgutil.iter_modules(__path__) if not info.ispkg)
    return tuple(
        cast(Importer, importlib.import_module(f"edgekit.converters.importers.{name}"))
        for name in sorted(modules)
    )


def load_model(path: str | os.PathLike[str], dims: Mapping[str, int] | None = None) -> Graph:
    """Return the model in a file or folder as a graph, whatever its format.

    Parameters
    ----------
    path : path
        ONNX, TensorFlow Lite or torch.export file, or a Hugging Face folder.
    dims : mapping of str to int, optional
        Values of named dimensions, such as ``{"sequence": 128}``.

    Raises
    ------
    UsageError
        If there is no such file, or a named dimension needs a value.
    ModelFormatError
        If the content is of no known format, or damaged.
    UnsupportedOpError
        If the model has an operator that cannot be converted.
    MissingDependencyError
        If the library that reads the format is not installed.
    """
    path = Path(path)
    importer = importer_of(path)
    values = dict(dims or {})
    for name, value in values.items():
        if value < 1:
            raise UsageError(f"dimension '{name}' cannot be {value}: give a positive number")
    return importer.load(path, values)


def importer_of(path: Path) -> Importer:
    """Return the importer that reads a file or folder.

    Raises
    ------
    UsageError
        If there is no such file.
    ModelFormatError
        If no importer knows the content.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    head = b"" if path.is_dir() else _head(path)
    for importer in importers():
        if importer.matches(path, head):
            return importer
    known = ", ".join(importer.NAME for importer in importers())
    raise ModelFormatError(f"is of no known model format (known: {known})", path=str(path))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
