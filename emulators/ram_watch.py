"""Which bytes of RAM does firmware touch? Observed access by access under QEMU.

A plugin for QEMU's code generator (``csrc/qemu_plugin/ram_watch.c``) marks every byte that the core
reads or writes. What semihosting moves does not pass through the core; a byte counts once the
firmware itself uses it.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.deploy.elf_file import ElfFile
from edgekit.deploy.firmware import CSRC
from edgekit.deploy.host_program import HostCompilerMissingError, host_compiler
from edgekit.deploy.toolchain import COMPILE_TIMEOUT_S, BuildError
from edgekit.dtypes import Array
from edgekit.emulators.mcu import EmulatedBoard, input_bytes
from edgekit.emulators.qemu_board import run_image
from edgekit.errors import EmulatorError

MARGIN_BYTES = 4096
"""Watched behind the last section, for accesses that go too far."""

LARGEST_SPAN_BYTES = 1 << 26
"""Memories farther apart are not watched together."""

WATCHED = (".stack", ".data", ".bss", ".arena")
"""Sections of an image that lie in RAM."""


@dataclass(frozen=True, slots=True)
class Touched:
    """What was accessed of one section.

    Parameters
    ----------
    size_bytes : int
        Of the section, as linked.
    used_bytes : int
        From its begin to the last byte that was accessed; for the stack from its top down.
    accessed_bytes : int
        Bytes that were read or written at all.
    """

    size_bytes: int
    used_bytes: int
    accessed_bytes: int


def build_plugin(directory: Path) -> Path:
    """Compile the plugin.

    Raises
    ------
    HostCompilerMissingError, BuildError
        If this computer cannot.
    """
    compiler = host_compiler()
    if compiler is None:
        raise HostCompilerMissingError
    target = directory / "libram_watch.so"
    source = CSRC / "qemu_plugin" / "ram_watch.c"
    done = subprocess.run(
        [*compiler, "-O2", "-shared", "-fPIC", str(source), "-o", str(target)],
        capture_output=True,
        text=True,
        timeout=COMPILE_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError("compiling the QEMU plugin", done.stderr)
    return target


def watch_ram(board: EmulatedBoard, inputs: Sequence[Mapping[str, Array]]) -> dict[str, Touched]:
    """Boot once, run every input, and return what was accessed of each section in RAM.

    Returns
    -------
    dict
        By section name, and under ``elsewhere`` accesses between and behind the sections that
        belong to none of them.

    Raises
    ------
    EmulatorError
        If the sections lie in memories that are far apart.
    """
    image = ElfFile.read(board.image.elf)
    sections = [s for s in image.sections if s.name in WATCHED and s.size_bytes]
    data = [input_bytes(board.graph, item) for item in inputs]
    found: dict[str, Touched] = {}
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        plugin = build_plugin(Path(name))
        base = min(s.address for s in sections)
        end = max(s.address + s.size_bytes for s in sections) + MARGIN_BYTES
        if end - base > LARGEST_SPAN_BYTES:
            raise EmulatorError(f"{board.profile.name}: its memories are too far apart to watch")
        out = Path(name) / "touched.bin"
        option = f"{plugin},base={base:#x},size={end - base},out={out}"
        run_image(board.image.elf, board.core, data, board.model.outputs, extra=("-plugin", option))
        marks = np.fromfile(out, np.uint8)
    claimed = np.zeros(marks.size, bool)
    for section in sections:
        part = slice(section.address - base, section.address - base + section.size_bytes)
        claimed[part] = True
        used = marks[part][::-1] if section.name == ".stack" else marks[part]
        places = np.flatnonzero(used)
        last = int(places[-1]) + 1 if places.size else 0
        found[section.name] = Touched(section.size_bytes, last, int(places.size))
    stray = int(np.count_nonzero(marks[~claimed]))
    found["elsewhere"] = Touched(int(np.count_nonzero(~claimed)), stray, stray)
    return found
