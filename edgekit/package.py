"""A package: the directory that ``convert`` writes and every runtime reads.

::

    manifest.json         what it is, and the SHA-256 of every other part
    plan.json             steps, buffers and memories (edgekit.plan)
    profile.toml          the device profile it was made for
    graph.json            structure, and weights.safetensors: for the reference and native executors
    model.onnx            for onnxruntime
    model.tflite          for LiteRT
    firmware/             sources and image for microcontrollers
    blobs/*.ekb           layouts of our own (edgekit.blob)
    tokenizer.json, ...   whatever the application needs beside the model

Packages are written under a temporary name and renamed when complete, and the same content always
gives the same bytes. Reading treats the directory as untrusted. Described in
docs/package-format.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

import edgekit
from edgekit.cost.work import Precision
from edgekit.errors import PackageError, ProfileError, UsageError
from edgekit.graph import Graph
from edgekit.graph_file import graph_from_files, graph_to_json, weights_to_safetensors
from edgekit.package_files import (
    Source,
    check_digest,
    check_part_path,
    check_size,
    new_directory,
    write_parts,
)
from edgekit.package_manifest import (
    FORMAT_VERSION,
    LARGE_PART_BYTES,
    MANIFEST_NAME,
    ExecutorName,
    Manifest,
    ModelFacts,
    manifest_from_json,
    manifest_to_json,
)
from edgekit.plan import Plan
from edgekit.profiles import DeviceProfile, load_profile

PLAN_NAME = "plan.json"
PROFILE_NAME = "profile.toml"
GRAPH_NAME = "graph.json"
WEIGHTS_NAME = "weights.safetensors"
MODEL_NAMES: Mapping[str, str] = {"onnxruntime": "model.onnx", "litert": "model.tflite"}
"""Part that holds the model, for executors that bring a format of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageContent:
    """What goes into a package.

    Parameters
    ----------
    model : ModelFacts
        As a caller of the package sees it; :meth:`ModelFacts.of` makes it from a graph.
    plan : Plan
        Its ``device`` and ``executor`` become the package's.
    profile : bytes or Path
        TOML of the device profile, stored as it is.
    graph : Graph, optional
        What the plan is of. Stored with its weights for the reference and native executors, which
        need it; without them where ``model_file`` holds the weights, for emulators and reports.
    model_file : bytes or Path, optional
        ONNX or TensorFlow Lite model, needed by onnxruntime or LiteRT.
    files : mapping of part name to bytes or Path
        Further parts, for instance ``tokenizer.json``.
    recipe, accuracy, patches : mapping
        Plain JSON values, echoed into the manifest.
    """

    model: ModelFacts
    plan: Plan
    profile: Source
    graph: Graph | None = None
    model_file: Source | None = None
    files: Mapping[str, Source] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    patches: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        executor = self.plan.executor
        if executor in MODEL_NAMES and self.model_file is None:
            raise ValueError(f"a package for {executor} needs model_file")
        if executor not in MODEL_NAMES and self.graph is None:
            raise ValueError(f"a package for {executor} needs graph")

    def sources(self) -> dict[str, Source]:
        """Return every part but the manifest, by name."""
        parts: dict[str, Source] = {
            PLAN_NAME: plan_to_json(self.plan),
            PROFILE_NAME: self.profile,
        }
        if self.graph is not None:
            parts[GRAPH_NAME] = graph_to_json(self.graph)
            if self.plan.executor not in MODEL_NAMES:
                parts[WEIGHTS_NAME] = weights_to_safetensors(self.graph)
        if self.model_file is not None:
            parts[MODEL_NAMES[self.plan.executor]] = self.model_file
        for name, source in self.files.items():
            if name in parts:
                raise UsageError(f"part {name} is given twice")
            parts[name] = source
        return parts


@dataclass(frozen=True, slots=True)
class Package:
    """A package on disk whose manifest and plan have been checked.

    Parameters
    ----------
    root : Path
    manifest : Manifest
    plan : Plan
    """

    root: Path
    manifest: Manifest
    plan: Plan

    @property
    def size_bytes(self) -> int:
        """Bytes of all parts together."""
        return sum(part.size_bytes for part in self.manifest.parts)

    def has(self, name: str) -> bool:
        """Whether the package has a part of that name."""
        return self.manifest.part(name) is not None

    def path(self, name: str) -> Path:
        """Return where a part lies (PackageError where the package has no such part)."""
        part = self.manifest.part(name)
        if part is None:
            raise PackageError(f"{self.root} has no part {name}; convert the model again")
        return check_size(self.root, part)

    @property
    def model_path(self) -> Path:
        """The ONNX or TensorFlow Lite model (PackageError where the executor has none)."""
        name = MODEL_NAMES.get(self.manifest.executor)
        if name is None:
            raise PackageError(
                f"{self.root} is for the {self.manifest.executor} executor and has no model file"
            )
        return self.path(name)

    def graph(self) -> Graph:
        """Read the graph (PackageError where the package carries none, or it is damaged)."""
        return graph_from_files(self.path(GRAPH_NAME), self.path(WEIGHTS_NAME))

    def structure(self) -> Graph:
        """Read the graph without the data of its constants, which every package carries.

        Raises
        ------
        PackageError
            If it is damaged.
        """
        return graph_from_files(self.path(GRAPH_NAME), None)

    @property
    def cost_precision(self) -> Precision | None:
        """What the float tensors of the graph are on the device; None: as the graph says.

        Raises
        ------
        PackageError
            If the manifest names a precision that there is not.
        """
        stored = self.manifest.accuracy.get("cost_precision")
        try:
            precision: Precision | None = msgspec.convert(stored, type=Precision | None)
        except msgspec.ValidationError as error:
            raise PackageError(f"{self.root}: cost_precision: {error}") from error
        return precision

    def profile(self) -> DeviceProfile:
        """Read the device profile that the package was made for (PackageError where damaged)."""
        try:
            return load_profile(str(self.path(PROFILE_NAME)))
        except ProfileError as error:
            raise PackageError(str(error)) from error

    def verify(self) -> None:
        """Compare every part with its digest (PackageDigestError names the first that differs)."""
        for part in self.manifest.parts:
            check_digest(self.root, part)


def write_package(directory: Path, content: PackageContent) -> Package:
    """Write a package, all or nothing; an older package at ``directory`` is replaced.

    Parameters
    ----------
    directory : Path
    content : PackageContent

    Returns
    -------
    Package
        As :func:`open_package` reads it.

    Raises
    ------
    UsageError
        If ``directory`` exists and is no package.
    PackageError
        If it cannot be written, for instance because the disk is full.
    """
    with new_directory(directory) as staging:
        parts = write_parts(staging, content.sources())
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            edgekit_version=edgekit.__version__,
            name=content.model.name,
            device=content.plan.device,
            executor=_executor_name(content.plan.executor),
            model=content.model,
            parts=parts,
            recipe=dict(sorted(content.recipe.items())),
            accuracy=dict(sorted(content.accuracy.items())),
            patches=dict(content.patches),
        )
        (staging / MANIFEST_NAME).write_bytes(manifest_to_json(manifest))
    return open_package(directory)


def open_package(path: Path | str, verify: bool = False) -> Package:
    """Open a package; manifest, plan and all but very large parts are checked.

    Parameters
    ----------
    path : Path or str
    verify : bool
        Also hash parts of more than 64 MiB.

    Raises
    ------
    PackageError
        If the directory is no package, or a part is missing or damaged.
    UsageError
        If it is a package of a language model.
    """
    root = Path(path)
    manifest = open_manifest(root, verify=verify)
    if manifest.kind == "language":
        raise UsageError(
            f"{root} is a language model: use edgekit generate, chat or serve; in Python "
            "edgekit.load_language_model"
        )
    plan = plan_from_json((root / PLAN_NAME).read_bytes(), where=str(root / PLAN_NAME))
    if (plan.device, plan.executor) != (manifest.device, manifest.executor):
        raise PackageError(f"{root}: manifest and plan name different devices or executors")
    return Package(root, manifest, plan)


def open_manifest(root: Path, *, verify: bool = False) -> Manifest:
    """Read the manifest of a package of any kind and check its parts.

    Parameters
    ----------
    root : Path
    verify : bool
        Also hash parts of more than 64 MiB.

    Raises
    ------
    PackageError
        If the directory is no package, or a part is missing or damaged.
    """
    try:
        data = (root / MANIFEST_NAME).read_bytes()
    except OSError as error:
        raise PackageError(
            f"{root} is no package: {MANIFEST_NAME} cannot be read ({error.strerror})"
        ) from error
    manifest = manifest_from_json(data, where=str(root / MANIFEST_NAME))
    _check_parts(root, manifest, verify=verify)
    return manifest


def plan_to_json(plan: Plan) -> bytes:
    """Return a plan as JSON, the same bytes every time."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n"


def plan_from_json(data: bytes, *, where: str) -> Plan:
    """Read a plan (PackageError where the data is no plan)."""
    try:
        return msgspec.json.decode(data, type=Plan)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise PackageError(f"{where}: {error}; convert the model again") from error


def _check_parts(root: Path, manifest: Manifest, *, verify: bool) -> None:
    names = [part.path for part in manifest.parts]
    if len({name.casefold() for name in names}) != len(names):
        raise PackageError(f"{root}: the manifest lists a part twice")
    for required in (PLAN_NAME, PROFILE_NAME):
        if required not in names:
            raise PackageError(f"{root} has no part {required}; convert the model again")
    for part in manifest.parts:
        check_part_path(part.path)
        if verify or part.size_bytes <= LARGE_PART_BYTES:
            check_digest(root, part)
        else:
            check_size(root, part)


def _executor_name(name: str) -> ExecutorName:
    known: ExecutorName = msgspec.convert(name, ExecutorName)
    return known
