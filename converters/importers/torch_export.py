"""PyTorch: programs saved by ``torch.export.save`` (``.pt2``), and modules in memory.

They go through ``torch.onnx.export`` to ONNX in memory, and from there through the ONNX importer;
layers keep the module path of the source, such as ``features.3``, for messages.

A ``.pt2`` file is loaded with pickled code refused (``TORCH_FORCE_WEIGHTS_ONLY_LOAD``): a program
that needs more than tensors is not read.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.converters.importers.onnx import load_bytes
from edgekit.errors import MissingDependencyError, ModelFormatError, UnsupportedOpError, UsageError
from edgekit.graph import Graph

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.nn import Module

NAME = "torch.export"

_ZIP_MAGIC = b"PK\x03\x04"
_PROGRAM_PARTS = ("/archive_format", "serialized_exported_program.json")
_OTHER_TORCH_PARTS = ("/data.pkl", "/constants.pkl")


def matches(path: Path, head: bytes) -> bool:
    """Return whether the file is a zip archive that PyTorch wrote."""
    return head.startswith(_ZIP_MAGIC) and any(
        name.endswith((*_PROGRAM_PARTS, *_OTHER_TORCH_PARTS)) for name in _parts(path)
    )


def load(path: Path, dims: Mapping[str, int]) -> Graph:
    """Return a ``.pt2`` file as a graph.

    Parameters
    ----------
    path : Path
    dims : mapping of str to int
        Values of named dimensions. The first axis of an input is 1 where it has no value.

    Raises
    ------
    ModelFormatError
        If the file is damaged, or holds a TorchScript model or a checkpoint.
    UnsupportedOpError
        If a layer cannot be converted.
    MissingDependencyError
        If torch, onnx or onnxscript is not installed.
    """
    if not any(name.endswith(_PROGRAM_PARTS) for name in _parts(path)):
        raise ModelFormatError(
            "is a TorchScript model or a checkpoint: save the module with "
            "torch.export.save(torch.export.export(module.eval(), inputs), path)",
            path=str(path),
        )
    return load_torch(path, dims=dims)


def load_torch(
    source: str | os.PathLike[str] | Module | ExportedProgram,
    example_inputs: Sequence[Any] = (),
    dims: Mapping[str, int] | None = None,
) -> Graph:
    """Return a PyTorch program or module as a graph.

    Parameters
    ----------
    source : path, torch.nn.Module or torch.export.ExportedProgram
        A module is traced in evaluation mode; its own mode is restored.
    example_inputs : sequence of torch.Tensor
        What a module is called with; not needed otherwise.
    dims : mapping of str to int, optional
        Values of named dimensions.

    Raises
    ------
    UsageError
        If a module comes without example inputs.
    ModelFormatError
        If PyTorch cannot read or trace it.
    UnsupportedOpError
        If a layer cannot be converted; the message names it.
    MissingDependencyError
        If torch, onnx or onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401
        import torch
    except ImportError as error:
        raise MissingDependencyError("torch", library=error.name or "torch") from error
    with _quiet():
        if isinstance(source, torch.nn.Module):
            name, program = type(source).__name__, _traced(source, example_inputs)
        elif isinstance(source, torch.export.ExportedProgram):
            name, program = "program", source
        else:
            name, program = str(source), _loaded(Path(source))
        data = _as_onnx(program, name)
    graph = load_bytes(data, Path(name), dims)
    return replace(graph, name=Path(name).stem, metadata={**graph.metadata, "format": NAME})


def _parts(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return []


def _traced(module: Module, example_inputs: Sequence[Any]) -> ExportedProgram:
    import torch

    if not example_inputs:
        raise UsageError("a torch module needs example inputs: load_torch(module, (tensor,))")
    training = module.training
    try:
        return torch.export.export(module.eval(), tuple(example_inputs))
    except Exception as error:  # torch.export raises dozens of unrelated types
        raise ModelFormatError(
            f"torch.export cannot trace it: {_first_line(error)}", path=type(module).__name__
        ) from error
    finally:
        module.train(training)


def _loaded(path: Path) -> ExportedProgram:
    import torch

    try:
        with _environment("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1"):
            return torch.export.load(path)
    except Exception as error:  # whatever the reader of a damaged archive trips over
        raise ModelFormatError(
            f"is damaged, or of another PyTorch version ({_first_line(error)})", path=str(path)
        ) from error


def _as_onnx(program: ExportedProgram, name: str) -> bytes:
    import torch

    try:
        converted = torch.onnx.export(program, dynamo=True, verbose=False)
    except Exception as error:  # the exporter's own error types are private
        raise _conversion_error(program, name, error) from error
    if converted is None:
        raise ModelFormatError("torch.onnx.export returned nothing", path=name)
    data: bytes = converted.model_proto.SerializeToString()
    return data


def _conversion_error(
    program: ExportedProgram, name: str, error: BaseException
) -> UnsupportedOpError | ModelFormatError:
    """Return the error that names the operator and the module of the failing layer."""
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(str(cause))
        cause = cause.__cause__
    found = re.search(r"op='([\w.]+)'", "\n".join(reversed(causes)))
    if found is None:
        return ModelFormatError(f"cannot be converted: {_first_line(error)}", path=name)
    op = found.group(1)
    hint = "PyTorch has no ONNX form of it: write the layer in other operators"
    return UnsupportedOpError(op, node=_module_of(program, op), where=name, hint=hint)


def _module_of(program: ExportedProgram, op: str) -> str:
    """Return the path of the module that calls an operator, or one that decomposes into it."""
    for node in program.graph.nodes:
        if node.op == "call_function" and str(node.target).startswith(op):
            modules = [path for path, _ in node.meta.get("nn_module_stack", {}).values() if path]
            return modules[-1] if modules else str(node.name)
    return op


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings and log lines about PyTorch's own internals."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
