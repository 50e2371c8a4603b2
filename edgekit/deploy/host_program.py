"""The generated C on this computer: the same sources and kernels, the host's compiler.

It gives the outputs that a board gives, bit for bit, and says nothing about time.
"""

from __future__ import annotations

import importlib.util
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from edgekit.deploy.firmware import CSRC, KERNELS, kernel_sources
from edgekit.deploy.object_files import kept_objects
from edgekit.deploy.toolchain import COMPILE_TIMEOUT_S, BuildError
from edgekit.errors import EdgekitError, ExecutionError
from edgekit.ops.kernel_set import KernelSet

RUN_TIMEOUT_S = 300.0
_REFUSED = 97


class HostCompilerMissingError(EdgekitError):
    """There is no C compiler for this computer."""

    def __init__(self) -> None:
        super().__init__("no C compiler: install gcc or clang, or pip install ziglang")


def host_compiler() -> tuple[str, ...] | None:
    """Return what starts the C compiler of this computer, None where there is none."""
    for name in ("cc", "gcc", "clang"):
        found = shutil.which(name)
        if found:
            return (found,)
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "cc")
    return None


def build_host_program(
    generated: Mapping[str, bytes],
    directory: Path,
    *,
    kernels: KernelSet = KernelSet.PORTABLE,
    flags: Sequence[str] = ("-O2",),
) -> Path:
    """Compile generated sources into a program that :func:`run_host_program` runs.

    Parameters
    ----------
    generated : mapping of file name to bytes
    directory : Path
    kernels : KernelSet
        What ``generated`` was made for.
    flags : sequence of str
        For the compiler, for instance sanitizers.

    Raises
    ------
    HostCompilerMissingError
        If there is no compiler.
    BuildError
        If the compiler refuses the sources.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in generated.items():
        (directory / name).write_bytes(content)
    sources = [directory / name for name in generated if name.endswith(".c")]
    sources += [CSRC / "firmware" / "main_host.c"]
    program = directory / "host_model"
    objects = _kernel_objects(kernels, flags)
    _compile((*flags, f"-I{directory}"), (*sources, *objects), program)
    return program


def build_kernel_library(
    kernels: KernelSet, directory: Path, *, flags: Sequence[str] = ("-O2",)
) -> Path:
    """Compile a set of kernels into a shared library for this computer.

    Parameters
    ----------
    kernels : KernelSet
    directory : Path
    flags : sequence of str
        For the compiler, for instance sanitizers.

    Raises
    ------
    HostCompilerMissingError
        If there is no compiler.
    BuildError
        If the compiler refuses the sources.
    """
    directory.mkdir(parents=True, exist_ok=True)
    library = directory / f"{kernels.value}.so"
    _compile((*flags, "-shared"), _kernel_objects(kernels, (*flags, "-fPIC")), library)
    return library


def run_host_program(program: Path, inputs: Sequence[Sequence[bytes]]) -> bytes:
    """Run a model on every input.

    Parameters
    ----------
    program : Path
    inputs : sequence of sequence of bytes
        For each run, the bytes of each input.

    Returns
    -------
    bytes
        All outputs of all runs, one after the other.

    Raises
    ------
    ExecutionError
        If a kernel refuses its arguments, or the program fails.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        folder = Path(name)
        data = b"".join(part for run in inputs for part in run)
        (folder / "input.bin").write_bytes(struct.pack("<2I", len(inputs), 0) + data)
        done = subprocess.run(
            [str(program.resolve())],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            refused = "a kernel refused its arguments: " if done.returncode == _REFUSED else ""
            raise ExecutionError(f"generated C: {refused}{done.stderr.strip()[:500]}")
        return (folder / "output.bin").read_bytes()


def _kernel_objects(kernels: KernelSet, flags: Sequence[str]) -> list[Path]:
    def compile_one(source: Path, target: Path) -> None:
        _compile((*flags, "-c"), (source,), target)

    fingerprint = "\0".join((*_compiler_version(), *flags))
    return kept_objects(
        kernel_sources(kernels), sorted(CSRC.rglob("*.h")), fingerprint, compile_one
    )


@cache
def _compiler_version() -> tuple[str, ...]:
    """Return what names the compiler of this computer."""
    compiler = host_compiler()
    if compiler is None:
        raise HostCompilerMissingError
    done = subprocess.run(
        [*compiler, "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    return (*compiler, done.stdout)


def _compile(flags: Sequence[str], sources: Sequence[Path], target: Path) -> None:
    compiler = host_compiler()
    if compiler is None:
        raise HostCompilerMissingError
    command = [*compiler, "-std=c11", *flags, f"-I{CSRC / 'include'}", f"-I{KERNELS}"]
    command += [*map(str, sources), "-o", str(target), "-lm"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise BuildError("compiling for this computer", done.stderr)
