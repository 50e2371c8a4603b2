"""The cross compiler: found by itself, and how it is called.

``arm-none-eabi-gcc`` on the path comes first; else the ``ziglang`` wheel (``pip install ziglang``),
whose clang compiles and links for Cortex-M without root rights. Only gcc reports the stack that
functions use.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgekit.deploy.cores import Core
from edgekit.errors import EdgekitError

COMPILE_TIMEOUT_S = 300.0
INSTALL_HINT = (
    "install one of them: apt-get install gcc-arm-none-eabi, or (no root rights needed) "
    "pip install ziglang"
)

_WARNINGS = ("-Wall", "-Wextra", "-Wshadow")
_CLANG = ("-fno-sanitize=undefined", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
_FREESTANDING = ("-std=c11", "-ffreestanding", "-ffunction-sections", "-fdata-sections")


class ToolchainMissingError(EdgekitError):
    """There is no compiler for microcontrollers."""

    exit_code = 1

    def __init__(self) -> None:
        super().__init__(
            f"no compiler for Cortex-M: neither arm-none-eabi-gcc nor ziglang\n{INSTALL_HINT}"
        )


class BuildError(EdgekitError):
    """The compiler or the linker refused.

    Parameters
    ----------
    what : str
        What was being built.
    output : str
        What the tool said.
    """

    exit_code = 5

    def __init__(self, what: str, output: str) -> None:
        telling = ("error", "overflow", "undefined")
        lines = [line for line in output.splitlines() if any(word in line for word in telling)]
        super().__init__("\n".join([f"{what} failed", *(lines or output.splitlines())[:3]]))
        self.output = output


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A cross compiler.

    Parameters
    ----------
    name : str
        ``arm-none-eabi-gcc`` or ``ziglang``.
    command : tuple of str
        What starts the compiler.
    version : str
    """

    name: str
    command: tuple[str, ...]
    version: str

    @property
    def reports_stack(self) -> bool:
        """Whether it says how much stack each function uses."""
        return self.name == "arm-none-eabi-gcc"

    def core_flags(self, core: Core) -> tuple[str, ...]:
        """Return the options that choose the core."""
        if self.name == "ziglang":
            return ("-target", core.zig_target, f"-mcpu={core.zig_cpu}")
        return ("-mthumb", *core.gcc_flags)

    def compile_flags(self, core: Core, optimization: str = "-O2") -> tuple[str, ...]:
        """Return the options that every source is compiled with."""
        own = (
            ("-fcallgraph-info=su",)
            if self.reports_stack
            else (
                "-fno-sanitize=undefined",
                "-fno-unwind-tables",
                "-fno-asynchronous-unwind-tables",
                "-fomit-frame-pointer",
                "-DEK_ALL_REGISTERS",
            )
        )
        return (*self.core_flags(core), optimization, *_FREESTANDING, *_WARNINGS, *own)

    def compile(self, source: Path, target: Path, flags: Sequence[str]) -> None:
        """Compile one C file to an object file.

        Raises
        ------
        BuildError
            With what the compiler said.
        """
        self._run([*flags, "-c", str(source), "-o", str(target)], f"compiling {source.name}")

    def link(self, objects: Sequence[Path], script: Path, image: Path, core: Core) -> None:
        """Link object files by a linker script into an ELF image.

        Raises
        ------
        BuildError
            Where a memory of the device overflows, too.
        """
        flags = [
            *self.core_flags(core),
            "-nostdlib",
            "-nostartfiles",
            f"-Wl,-T,{script}",
            "-Wl,--gc-sections",
        ]
        # What cores without instructions for floats or divisions call.
        libraries = ["-Wl,--no-warn-rwx-segments", "-lgcc"]
        if self.name == "ziglang":
            libraries = ["-lcompiler_rt"]
        self._run(
            [*flags, *map(str, objects), *libraries, "-o", str(image)], f"linking {image.name}"
        )

    def _run(self, arguments: Sequence[str], what: str) -> None:
        try:
            done = subprocess.run(
                [*self.command, *arguments],
                capture_output=True,
                text=True,
                timeout=COMPILE_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BuildError(what, f"error: no end after {COMPILE_TIMEOUT_S:g} s") from error
        if done.returncode != 0:
            raise BuildError(what, done.stderr or done.stdout)

    def fingerprint(self, flags: Sequence[str]) -> str:
        """Return a digest of compiler and options, for caches of object files."""
        text = "\0".join((self.name, self.version, *flags))
        return hashlib.sha256(text.encode()).hexdigest()


@cache
def find_toolchain() -> Toolchain | None:
    """Return the compiler for Cortex-M, or None where there is none."""
    gcc = shutil.which("arm-none-eabi-gcc")
    if gcc:
        return Toolchain("arm-none-eabi-gcc", (gcc,), _first_line([gcc, "--version"]))
    if importlib.util.find_spec("ziglang"):
        return zig_toolchain()
    return None


def zig_toolchain() -> Toolchain:
    """Return the compiler of the ``ziglang`` wheel, which must be installed."""
    command = (sys.executable, "-m", "ziglang")
    return Toolchain("ziglang", (*command, "cc"), _first_line([*command, "version"]))


def require_toolchain() -> Toolchain:
    """Return the compiler for Cortex-M.

    Raises
    ------
    ToolchainMissingError
        With how to install one.
    """
    toolchain = find_toolchain()
    if toolchain is None:
        raise ToolchainMissingError
    return toolchain


def _first_line(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()[0]
