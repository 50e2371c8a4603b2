"""Weights of a Hugging Face folder: one or several safetensors files, read where they lie.

Only headers are read when a folder is opened. Data are memory-mapped, and touched when a tensor's
data are asked for. Format: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from edgekit.errors import ModelFormatError

_STORED: dict[str, np.dtype[np.generic]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
"""Element types that an encoder's weights may have, and how they lie in the file."""

_INDEX_NAME = "model.safetensors.index.json"


class _Entry(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where one tensor lies.

    Parameters
    ----------
    path : Path
        The safetensors file.
    name : str
        Its name there.
    dtype : str
        Element type as safetensors calls it, for instance ``"BF16"``.
    shape : tuple of int
    offset_bytes : int
        From the start of the file.
    """

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset_bytes: int

    def read(self) -> npt.NDArray[np.float32]:
        """Read the data as float32, shape ``shape``; read-only, mapped where stored so.

        Raises
        ------
        ModelFormatError
            If the file cannot be read any more.
        """
        try:
            raw = np.memmap(
                self.path, _STORED[self.dtype], "r", offset=self.offset_bytes, shape=self.shape
            )
        except (OSError, ValueError) as error:
            raise ModelFormatError(f"tensor {self.name}: {error}", path=str(self.path)) from error
        if self.dtype == "BF16":
            # A bfloat16 is the upper half of a float32.
            return (np.asarray(raw).astype(np.uint32) << np.uint32(16)).view(np.float32)
        return np.asarray(raw, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All tensors of a folder, by name.

    Parameters
    ----------
    path : Path
        The safetensors file, or the index of several, for messages.
    tensors : mapping of name to StoredTensor
    """

    path: Path
    tensors: Mapping[str, StoredTensor]

    def find(self, name: str, shape: tuple[int, ...]) -> StoredTensor:
        """Return a tensor that must exist, be floating-point and have this shape.

        Raises
        ------
        ModelFormatError
            Naming the file and the tensor.
        """
        stored = self.tensors.get(name)
        if stored is None:
            raise ModelFormatError(f"tensor {name} is missing", path=str(self.path))
        if stored.shape != shape:
            raise ModelFormatError(
                f"tensor {name} has shape {list(stored.shape)}; config.json says {list(shape)}",
                path=str(stored.path),
            )
        if stored.dtype not in _STORED:
            raise ModelFormatError(
                f"tensor {name} is {stored.dtype}; encoders are read from {', '.join(_STORED)}",
                path=str(stored.path),
            )
        return stored


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read the headers of a folder's safetensors files.

    Parameters
    ----------
    folder : Path
        Holds ``model.safetensors``, or ``model.safetensors.index.json`` and the files that it
        names.

    Raises
    ------
    ModelFormatError
        If there is no such file, or one is corrupt, truncated or lies outside the folder.
    """
    index = folder / _INDEX_NAME
    if index.is_file():
        return _open_shards(folder, index)
    single = folder / "model.safetensors"
    if not single.is_file():
        raise ModelFormatError(
            "no model.safetensors here; other weight formats (pytorch_model.bin, ...) can run "
            "code when they are read\nconvert it: model.save_pretrained(folder)",
            path=str(folder),
        )
    return Checkpoint(single, _read_header(single))


def _open_shards(folder: Path, index: Path) -> Checkpoint:
    try:
        weight_map = msgspec.json.decode(index.read_bytes(), type=_Index).weight_map
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise ModelFormatError(f"not a safetensors index: {error}", path=str(index)) from error
    shards: dict[str, dict[str, StoredTensor]] = {}
    for file_name in sorted(set(weight_map.values())):
        if Path(file_name).name != file_name or not (folder / file_name).is_file():
            raise ModelFormatError(
                f"names the file {file_name!r}, which is not in this folder", path=str(index)
            )
        shards[file_name] = _read_header(folder / file_name)
    tensors: dict[str, StoredTensor] = {}
    for name, file_name in weight_map.items():
        if name not in shards[file_name]:
            raise ModelFormatError(
                f"tensor {name} is missing, though {index.name} says it is here",
                path=str(folder / file_name),
            )
        tensors[name] = shards[file_name][name]
    return Checkpoint(index, tensors)


def _read_header(path: Path) -> dict[str, StoredTensor]:
    """Tensors of one file. The library checks the whole header; the offsets are read after it."""
    try:
        with safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            header = msgspec.json.decode(file.read(header_bytes), type=dict[str, msgspec.Raw])
        header.pop("__metadata__", None)
        entries = {name: msgspec.json.decode(raw, type=_Entry) for name, raw in header.items()}
    except (SafetensorError, msgspec.MsgspecError, OSError, RecursionError) as error:
        raise ModelFormatError(f"not a safetensors file: {error}", path=str(path)) from error
    start = 8 + header_bytes
    return {
        name: StoredTensor(path, name, entry.dtype, entry.shape, start + entry.data_offsets[0])
        for name, entry in entries.items()
    }
