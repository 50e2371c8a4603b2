"""Checks of the installation: what works, what is missing, and the command that mends it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata

from edgekit.errors import EdgekitError

EXTRAS = {
    "onnx": ("onnx", "onnxruntime"),
    "tflite": ("tflite", "flatbuffers", "ai-edge-litert"),
    "torch": ("torch", "onnxscript"),
    "serial": ("pyserial", "smp", "smpclient"),
    "llm": ("gguf", "jinja2", "tokenizers"),
    "serve": ("aiohttp",),
    "llama": ("llama-cpp-python",),
}
"""Libraries of the optional extras, by the names that pip uses."""

TOOLS = {
    "qemu-system-arm": "apt-get install qemu-system-arm",
    "arm-none-eabi-gcc": "apt-get install gcc-arm-none-eabi",
}
"""Programs that some devices need, with what installs them on Debian and Ubuntu."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    ``required`` is False for what only some uses need.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    required: bool = True


def run_checks() -> tuple[Check, ...]:
    """Return the findings, the required ones first."""
    checks = (check_python(), check_native(), check_profiles())
    return (*checks, check_numpy_trap(), *check_extras(), *check_tools())


def check_python() -> Check:
    """Whether the interpreter is new enough."""
    ok = sys.version_info >= (3, 11)
    return Check("python", ok, sys.version.split()[0], "" if ok else "install Python 3.11 or newer")


def check_native() -> Check:
    """Whether the native core loads and has the expected ABI."""
    fix = "pip install --force-reinstall edgekit (a C compiler is needed)"
    return _attempt("native core", _native_detail, fix)


def _native_detail() -> str:
    from edgekit.native import load_library

    return f"ABI {load_library().ek_abi_version()}"


def check_profiles() -> Check:
    """Whether every device profile can be read."""
    return _attempt("device profiles", _profiles_detail, "reinstall edgekit")


def _profiles_detail() -> str:
    from edgekit.profiles import list_profiles, load_profile

    names = [summary.name for summary in list_profiles()]
    for name in names:
        load_profile(name)
    return f"{len(names)} valid"


def _attempt(name: str, detail: Callable[[], str], fix: str) -> Check:
    try:
        return Check(name, True, detail())
    except EdgekitError as error:
        return Check(name, False, str(error), fix)


def check_numpy_trap() -> Check:
    """Whether tflite-runtime meets a NumPy it was not built for (it then fails at first use)."""
    runtime, numpy = installed_version("tflite-runtime"), installed_version("numpy") or ""
    if runtime is None:
        return Check("tflite-runtime", True, "not installed (not needed)", required=False)
    if int(numpy.split(".")[0]) >= 2:
        detail = f"tflite-runtime {runtime} cannot work with numpy {numpy}"
        return Check("tflite-runtime", False, detail, 'pip install "edgekit[tflite]"', False)
    return Check("tflite-runtime", True, f"{runtime} with numpy {numpy}", required=False)


def check_extras() -> Iterator[Check]:
    """Which optional libraries are installed."""
    for extra, libraries in EXTRAS.items():
        versions = {name: installed_version(name) for name in libraries}
        detail = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
        ok = all(versions.values())
        fix = "" if ok else f'pip install "edgekit[{extra}]"'
        yield Check(f"extra {extra}", ok, detail, fix, required=False)


def check_tools() -> Iterator[Check]:
    """Which outside programs are on the path."""
    for tool, fix in TOOLS.items():
        path = shutil.which(tool)
        yield Check(tool, bool(path), path or "not found", "" if path else fix, required=False)


def installed_version(distribution: str) -> str | None:
    """Return the installed version of a distribution, None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
