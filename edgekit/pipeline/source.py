"""The model to convert, wherever it comes from, with what belongs to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekit.converters.importers import importer_of, load_model
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.package_files import Source
from edgekit.zoo import default_model

LABELS_NAME = "labels.txt"
"""Part with the names of the classes, one a line, in the order of the scores."""

COMPANIONS = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", LABELS_NAME)
"""Files beside a model that an application needs at run time; they go into the package."""


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A model as it was found.

    Parameters
    ----------
    graph : Graph
        Its metadata holds format and, for files, name and SHA-256 of the source.
    path : Path
        File or folder.
    name : str
        For messages and the default name of the package.
    format : str
        As the importer calls it.
    calibration : object
        Data that ships with the model, None where there is none.
    labelled : Path or None
        Labelled samples that ship with the model.
    ships : bool
        Whether it is the model that ships with edgekit.
    files : mapping of part name to bytes or Path
        Companions for the package.
    """

    graph: Graph
    path: Path
    name: str
    format: str
    calibration: object = None
    labelled: Path | None = None
    ships: bool = False
    files: Mapping[str, Source] = field(default_factory=dict)


def read_source(model: str, dims: Mapping[str, int]) -> SourceModel:
    """Read a model; an empty ``model`` means the one that ships.

    Raises
    ------
    UsageError
        If there is no such file.
    ModelError
        If it cannot be read.
    """
    if not model:
        shipped = default_model()
        found = _read(shipped.path, dims)
        return replace(
            found,
            name=shipped.name,
            calibration=str(shipped.calibration_path),
            labelled=shipped.test_path,
            ships=True,
            files={LABELS_NAME: "\n".join(shipped.labels).encode()},
        )
    return _read(Path(model), dims)


def _read(path: Path, dims: Mapping[str, int]) -> SourceModel:
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder")
    graph = load_model(path, dims)
    name = path.resolve().stem if path.is_file() else path.resolve().name
    importer = importer_of(path)
    facts = {**graph.metadata, "format": importer.NAME, "file": path.name}
    if path.is_file():
        facts["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    folder = path if path.is_dir() else None
    files: dict[str, Source] = {
        name: folder / name for name in COMPANIONS if folder and (folder / name).is_file()
    }
    graph = replace(graph, name=name, metadata=facts)
    return SourceModel(graph, path, name, importer.NAME, files=files)
