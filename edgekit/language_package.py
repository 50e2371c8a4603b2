"""A package of a language model: plan, profile, and the GGUF file by link or by reference.

::

    manifest.json    as every package, with ``kind`` = ``language``
    plan.json        edgekit.language_plan.LanguagePlan
    profile.toml     the device profile it was made for
    model.gguf       a hard link or a copy; missing where the plan refers to the file by its path

The file is never copied unless asked for: models are large, and one file serves many packages.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

import edgekit
from edgekit.errors import PackageDigestError, PackageError, ProfileError
from edgekit.language_plan import LanguagePlan, ModelReference
from edgekit.package import PLAN_NAME, PROFILE_NAME, open_manifest
from edgekit.package_files import (
    Source,
    check_digest,
    check_size,
    describe_part,
    new_directory,
    write_parts,
)
from edgekit.package_manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    Manifest,
    ModelFacts,
    Part,
    manifest_to_json,
)
from edgekit.profiles import DeviceProfile, load_profile

GGUF_NAME = "model.gguf"

Store = Literal["auto", "link", "copy", "reference"]
"""How the file gets into a package; ``auto`` links, and refers to it where that cannot be."""


@dataclass(frozen=True, slots=True)
class LanguagePackage:
    """A package of a language model whose manifest and plan have been checked."""

    root: Path
    manifest: Manifest
    plan: LanguagePlan

    @property
    def size_bytes(self) -> int:
        """Bytes of all parts together; a linked model counts, one that is referred to does not."""
        return sum(part.size_bytes for part in self.manifest.parts)

    @property
    def model_path(self) -> Path:
        """The GGUF file.

        Raises
        ------
        PackageError
            If it is not there any more, or has another size than recorded.
        """
        model = self.plan.model
        part = self.manifest.part(model.part) if model.part else None
        if part is not None:
            return check_size(self.root, part)
        path = Path(model.path)
        if not model.path or not path.is_file():
            raise PackageError(
                f"{self.root} refers to the model {model.path}, which is not there any more; "
                "put it back, or convert it again"
            )
        found_bytes = path.stat().st_size
        if found_bytes != model.size_bytes:
            raise PackageError(
                f"{path} has {found_bytes:,} bytes, {self.root} was made of one with "
                f"{model.size_bytes:,}; convert it again"
            )
        return path

    def profile(self) -> DeviceProfile:
        """Read the device profile that the package was made for (PackageError where damaged)."""
        try:
            return load_profile(str(self.root / PROFILE_NAME))
        except ProfileError as error:
            raise PackageError(str(error)) from error

    def verify(self) -> None:
        """Compare every part, and the model, with its digest (PackageDigestError where wrong)."""
        for part in self.manifest.parts:
            check_digest(self.root, part)
        path = self.model_path
        if not self.plan.model.part and describe_model(path).sha256 != self.plan.model.sha256:
            raise PackageDigestError(str(path))


def describe_model(path: Path) -> Part:
    """Return size and digests of a GGUF file as a part called ``model.gguf``."""
    found = describe_part(path.parent, path.name)
    return msgspec.structs.replace(found, path=GGUF_NAME)


def write_language_package(
    directory: Path,
    plan: LanguagePlan,
    *,
    name: str,
    model: Path,
    profile: Source,
    recipe: Mapping[str, Any],
    store: Store = "auto",
) -> LanguagePackage:
    """Write a package, all or nothing; an older package at ``directory`` is replaced.

    Parameters
    ----------
    directory : Path
    plan : LanguagePlan
        Its ``model`` is filled in here.
    name : str
        Of the model.
    model : Path
        The GGUF file.
    profile : bytes or Path
        TOML of the device profile.
    recipe : mapping
        Plain JSON values, echoed into the manifest.
    store : {'auto', 'link', 'copy', 'reference'}

    Raises
    ------
    UsageError
        If ``directory`` exists and is no package.
    PackageError
        If it cannot be written, or the link that was asked for cannot be made.
    """
    gguf = describe_model(model)
    with new_directory(directory) as staging:
        is_inside = _store(model.resolve(), staging / GGUF_NAME, store)
        reference = ModelReference(
            size_bytes=gguf.size_bytes,
            sha256=gguf.sha256,
            part=GGUF_NAME if is_inside else "",
            path="" if is_inside else str(model.resolve()),
        )
        plan = msgspec.structs.replace(plan, model=reference)
        small = {PLAN_NAME: language_plan_to_json(plan), PROFILE_NAME: profile}
        parts = (*write_parts(staging, small), *((gguf,) if is_inside else ()))
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            edgekit_version=edgekit.__version__,
            name=name,
            device=plan.device,
            executor=plan.executor,
            model=ModelFacts(
                name=name,
                inputs=(),
                outputs=(),
                parameters=plan.facts.parameters,
                weights_bytes=plan.facts.weights_bytes,
                source={"format": "GGUF", "architecture": plan.facts.architecture},
            ),
            parts=tuple(sorted(parts, key=lambda part: part.path)),
            recipe=dict(sorted(recipe.items())),
            kind="language",
        )
        (staging / MANIFEST_NAME).write_bytes(manifest_to_json(manifest))
    return open_language_package(directory)


def _store(model: Path, target: Path, store: Store) -> bool:
    """Put the file into the package; return whether it is there."""
    if store == "reference":
        return False
    if store == "copy":
        shutil.copyfile(model, target)
        return True
    try:
        os.link(model, target)
    except OSError as error:
        if store == "auto":
            return False
        raise PackageError(
            f"{model} cannot be linked into {target.parent.parent} ({error.strerror}); "
            "use --store copy or --store reference"
        ) from error
    return True


def is_language_package(path: Path) -> bool:
    """Whether a folder says that it is a package of a language model; nothing is checked."""
    try:
        found = msgspec.json.decode((path / MANIFEST_NAME).read_bytes(), type=_Kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return found.kind == "language"


class _Kind(msgspec.Struct, frozen=True):
    kind: str = "graph"


def open_language_package(path: Path | str, verify: bool = False) -> LanguagePackage:
    """Open a package of a language model.

    Parameters
    ----------
    path : Path or str
    verify : bool
        Also hash the model.

    Raises
    ------
    PackageError
        If the folder is no such package, or a part is missing or damaged.
    """
    root = Path(path)
    manifest = open_manifest(root, verify=verify)
    if manifest.kind != "language":
        raise PackageError(f"{root} is a package of {manifest.name}, which is no language model")
    data = (root / PLAN_NAME).read_bytes()
    try:
        plan = msgspec.json.decode(data, type=LanguagePlan)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PackageError(f"{root / PLAN_NAME}: {error}; convert the model again") from error
    package = LanguagePackage(root, manifest, plan)
    if verify:
        package.verify()
    return package


def language_plan_to_json(plan: LanguagePlan) -> bytes:
    """Return the JSON of a plan, the same bytes for the same plan."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n"
