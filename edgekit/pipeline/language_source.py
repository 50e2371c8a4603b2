"""The language model to convert: a GGUF file as it is, or one made of a folder of weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgekit.converters.importers.llama_folder import is_llama_folder, write_gguf
from edgekit.converters.recipes import Recipe
from edgekit.errors import ModelFormatError, UsageError
from edgekit.language_package import Store
from edgekit.runtime.language.session import is_gguf


@dataclass(frozen=True, slots=True)
class LanguageSource:
    """A GGUF file.

    Parameters
    ----------
    path : Path
    name : str
        Of the model.
    store : str
        How it gets into the package.
    notes : tuple of str
    """

    path: Path
    name: str
    store: Store
    notes: tuple[str, ...] = ()


def is_language_model(path: Path) -> bool:
    """Whether a file or folder is a language model, by its content."""
    return is_gguf(path) or is_llama_folder(path)


@contextmanager
def language_source(recipe: Recipe, target: Path) -> Iterator[LanguageSource]:
    """Give the GGUF file of a recipe's model; one that was made here is removed afterwards.

    Parameters
    ----------
    recipe : Recipe
    target : Path
        Where the package will be; a file that must be made is made beside it.

    Raises
    ------
    UsageError
        If there is no such model, or a GGUF file should get other weights.
    ModelFormatError
        If it is no language model, or a folder cannot be converted.
    """
    path = Path(recipe.model)
    name = path.resolve().stem if path.is_file() else path.resolve().name
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder")
    if is_gguf(path):
        if recipe.weights != "keep":
            raise UsageError(
                f"{path} is quantized as it is: --weights {recipe.weights} is for folders of "
                "safetensors"
            )
        yield LanguageSource(path, name, recipe.store)
        return
    if not is_llama_folder(path):
        raise ModelFormatError("is no language model", path=str(path))
    if recipe.store == "reference":
        raise UsageError("--store reference is for GGUF files; a folder becomes one in the package")
    target.parent.mkdir(parents=True, exist_ok=True)
    made = target.with_name(f".{target.name}.{os.getpid()}.gguf")
    try:
        notes = write_gguf(path, made, weights=recipe.weights)
        yield LanguageSource(made, name, _stored_inside(made), notes)
    finally:
        made.unlink(missing_ok=True)


def _stored_inside(path: Path) -> Store:
    """How a file that will be removed gets into a package: linked, where that can be done."""
    probe = path.with_suffix(".probe")
    try:
        os.link(path, probe)
    except OSError:
        return "copy"
    probe.unlink()
    return "link"
