"""The files of a package: digests, chunks, safe paths, and writing all or nothing."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from edgekit.errors import PackageDigestError, PackageError, UsageError
from edgekit.package_manifest import CHUNK_BYTES, MANIFEST_NAME, Part

Source = bytes | Path
"""Content of a part: the bytes themselves, or a file to copy."""

_SAFE_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def check_part_path(name: str) -> None:
    """Refuse a part name that could leave the package, or that some file system cannot hold.

    Raises
    ------
    PackageError
        If ``name`` is not a relative POSIX path of plain components.
    """
    components = PurePosixPath(name).parts
    plain = all(_SAFE_COMPONENT.fullmatch(component) for component in components)
    if not components or not plain or "/".join(components) != name or name == MANIFEST_NAME:
        raise PackageError(f"{name!r} is no name for a part of a package")


def describe_part(root: Path, name: str) -> Part:
    """Return size and digests of one file below ``root``."""
    whole = hashlib.sha256()
    chunks: list[str] = []
    size_bytes = 0
    with (root / name).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            whole.update(chunk)
            chunks.append(hashlib.sha256(chunk).hexdigest())
            size_bytes += len(chunk)
    return Part(name, size_bytes, whole.hexdigest(), tuple(chunks) if len(chunks) > 1 else ())


def check_size(root: Path, part: Part) -> Path:
    """Return the path of a part after checking that it is a plain file of the recorded size.

    Raises
    ------
    PackageError
        If the file is missing, a link, or of another size.
    """
    path = root / part.path
    for parent in path.parents:
        if parent == root:
            break
        if parent.is_symlink():
            raise PackageError(f"{path}: {parent.name} is a link, which packages may not contain")
    if path.is_symlink() or not path.is_file():
        raise PackageError(f"{path} is missing or no plain file; convert the model again")
    found_bytes = path.stat().st_size
    if found_bytes != part.size_bytes:
        raise PackageError(
            f"{path} has {found_bytes:,} bytes, recorded {part.size_bytes:,}; "
            "convert the model again"
        )
    return path


def check_digest(root: Path, part: Part) -> None:
    """Compare a part with its recorded SHA-256, and each chunk with its own.

    Raises
    ------
    PackageDigestError
        If they differ; the message names the first damaged chunk of a large part.
    """
    path = check_size(root, part)
    whole = hashlib.sha256()
    with path.open("rb") as file:
        for index, chunk in enumerate(iter(lambda: file.read(CHUNK_BYTES), b"")):
            whole.update(chunk)
            if part.chunks_sha256 and (
                index >= len(part.chunks_sha256)
                or hashlib.sha256(chunk).hexdigest() != part.chunks_sha256[index]
            ):
                raise PackageDigestError(f"{path} (chunk {index} of 1 MiB)")
    if whole.hexdigest() != part.sha256:
        raise PackageDigestError(str(path))


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """Give a directory to fill, and move it to ``target`` only when the block succeeds.

    An older package at ``target`` is replaced; anything else there is left alone.

    Raises
    ------
    UsageError
        If ``target`` exists and is not a package.
    PackageError
        If the disk is full or the place cannot be written; nothing is left behind.
    """
    check_replaceable(target)
    staging = target.with_name(f".{target.name}.{os.getpid()}.new")
    retired = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        yield staging
        if target.exists():
            target.rename(retired)
        try:
            staging.rename(target)
        except OSError:
            if retired.exists():
                retired.rename(target)
            raise
    except OSError as error:
        raise PackageError(
            f"package {target} cannot be written: {error.strerror or error}"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def write_parts(root: Path, sources: Mapping[str, Source]) -> tuple[Part, ...]:
    """Write every part below ``root`` and return their records, sorted by name."""
    for name in sorted(sources):
        check_part_path(name)
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        source = sources[name]
        if isinstance(source, bytes):
            path.write_bytes(source)
        else:
            shutil.copyfile(source, path)
    return tuple(describe_part(root, name) for name in sorted(sources))


def check_replaceable(target: Path) -> None:
    """Refuse a place that holds something else than a package (UsageError)."""
    if not target.exists() and not target.is_symlink():
        return
    is_package = target.is_dir() and not target.is_symlink() and (target / MANIFEST_NAME).is_file()
    is_empty = target.is_dir() and not any(target.iterdir())
    if not is_package and not is_empty:
        raise UsageError(f"{target} exists and is not a package; choose another --out")
