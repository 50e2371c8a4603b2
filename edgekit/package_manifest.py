"""``manifest.json``: what a package is, and the digest of every part.

The record is the schema; fields are only ever appended within one format version, and readers
ignore fields that they do not know. Described in docs/package-format.md.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

from edgekit.dtypes import DType
from edgekit.errors import PackageError, PackageVersionError
from edgekit.graph import Dim, Graph, Tensor

FORMAT_VERSION = 1
"""Raised when a reader of the former version would misread a new package."""

MANIFEST_NAME = "manifest.json"
CHUNK_BYTES = 1 << 20
"""Unit of the chunk digests of large parts."""

LARGE_PART_BYTES = 64 << 20
"""Parts up to this size are hashed at every load; larger ones at install and with ``verify``."""

LONGEST_SHAPE = 16
"""No tensor has more axes; a longer shape in a file is damage."""

ExecutorName = Literal["reference", "onnxruntime", "litert", "native", "llama"]
PackageKind = Literal["graph", "language"]


class Part(msgspec.Struct, frozen=True):
    """One file of the package.

    ``chunks_sha256`` has one digest for each MiB of a part larger than that.
    """

    path: str
    size_bytes: int
    sha256: str
    chunks_sha256: tuple[str, ...] = ()


class TensorFacts(msgspec.Struct, frozen=True):
    """An input or output as a caller sees it.

    A dimension that varies is a name. ``scale`` and ``zero_point`` are set for quantized tensors
    with one scale: ``real = scale * (stored - zero_point)``.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None

    @classmethod
    def of(cls, tensor: Tensor, shape: tuple[Dim, ...] | None = None) -> TensorFacts:
        """Return the facts of a tensor of a graph."""
        facts = cls(tensor.name, tensor.shape if shape is None else shape, tensor.dtype.value)
        if tensor.quantization is None or tensor.quantization.axis is not None:
            return facts
        return msgspec.structs.replace(
            facts,
            scale=float(tensor.quantization.scale[0]),
            zero_point=int(tensor.quantization.zero_point[0]),
        )


class ModelFacts(msgspec.Struct, frozen=True):
    """The model as the package carries it; ``source`` says where it came from."""

    name: str
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    parameters: int = 0
    weights_bytes: int = 0
    macs: int = 0
    dims: dict[str, int] = {}
    source: dict[str, str] = {}

    @classmethod
    def of(cls, graph: Graph, *, macs: int = 0) -> ModelFacts:
        """Return the facts of a graph."""
        return cls(
            name=graph.name,
            inputs=tuple(TensorFacts.of(graph.tensors[name]) for name in graph.inputs),
            outputs=tuple(TensorFacts.of(graph.tensors[name]) for name in graph.outputs),
            parameters=graph.parameters,
            weights_bytes=graph.weights_bytes,
            macs=macs,
            dims=dict(sorted(graph.dims.items())),
            source=dict(sorted(graph.metadata.items())),
        )


class Manifest(msgspec.Struct, frozen=True):
    """The whole manifest.

    Parameters
    ----------
    format_version : int
    edgekit_version : str
        The version that wrote the package.
    name : str
        Name of the model.
    device : str
        Name of the profile that it was converted for.
    executor : str
        What runs it, and what its figures are for.
    model : ModelFacts
    parts : tuple of Part
        Every other file, sorted by path.
    recipe : mapping
        The settings of the conversion, so that it can be repeated.
    accuracy : mapping
        What was measured against the source model.
    digest : str
        SHA-256 of this manifest's JSON with an empty ``digest``.
    kind : str
        ``language`` for a language model, whose plan is :mod:`edgekit.language_plan`.
    patches : mapping
        Firmware: the patches that the first layers run in, as ``convert --json`` has them.
    """

    format_version: int
    edgekit_version: str
    name: str
    device: str
    executor: ExecutorName
    model: ModelFacts
    parts: tuple[Part, ...]
    recipe: dict[str, Any] = {}
    accuracy: dict[str, Any] = {}
    digest: str = ""
    kind: PackageKind = "graph"
    patches: dict[str, Any] = {}

    def part(self, path: str) -> Part | None:
        """Return the record of one part, or None where there is none."""
        return next((part for part in self.parts if part.path == path), None)


class _Version(msgspec.Struct, frozen=True):
    format_version: int


def manifest_to_json(manifest: Manifest) -> bytes:
    """Return the JSON of a manifest, with its digest filled in."""
    digest = _digest(msgspec.json.encode(manifest))
    signed = msgspec.structs.replace(manifest, digest=digest)
    return msgspec.json.format(msgspec.json.encode(signed), indent=1) + b"\n"


def manifest_from_json(data: bytes, *, where: str) -> Manifest:
    """Read a manifest that may be damaged or hostile.

    Raises
    ------
    PackageVersionError
        If the format version is another one.
    PackageError
        If it is no manifest, or its digest does not match.
    """
    try:
        version = msgspec.json.decode(data, type=_Version).format_version
        if version != FORMAT_VERSION:
            raise PackageVersionError(found=version, supported=FORMAT_VERSION)
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise PackageError(f"{where}: {error}; convert the model again") from error
    if manifest.digest != _digest(data):
        raise PackageError(f"{where} was changed or damaged; convert the model again")
    _check_facts(manifest.model, where)
    return manifest


def _check_facts(model: ModelFacts, where: str) -> None:
    """Refuse inputs and outputs that no array can have."""
    for facts in (*model.inputs, *model.outputs):
        sizes = [model.dims.get(dim, 1) if isinstance(dim, str) else dim for dim in facts.shape]
        known = facts.dtype in (dtype.value for dtype in DType)
        if not known or len(sizes) > LONGEST_SHAPE or any(not 0 < n < 2**31 for n in sizes):
            raise PackageError(
                f"{where}: {facts.name} cannot be {facts.dtype}{list(facts.shape)}; "
                "convert the model again"
            )


def _digest(data: bytes) -> str:
    """Hash what the JSON says, so that fields of a newer writer count although we ignore them."""
    fields: dict[str, Any] = msgspec.json.decode(data)
    fields["digest"] = ""
    return hashlib.sha256(msgspec.json.encode(fields, order="deterministic")).hexdigest()
