"""A hard limit on the memory of a process, page cache included: a control group of Linux."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


@contextmanager
def capped(limit_bytes: int) -> Iterator[Path]:
    """A control group with that limit, removed afterwards.

    Raises
    ------
    OSError
        Where control groups cannot be made here (no rights, no memory controller).
    """
    is_v2 = "memory" in _words(ROOT / "cgroup.controllers")
    group = (ROOT if is_v2 else ROOT / "memory") / f"edgekit-bench-{os.getpid()}-{limit_bytes}"
    group.mkdir()
    try:
        limit = group / ("memory.max" if is_v2 else "memory.limit_in_bytes")
        limit.write_text(str(limit_bytes))
        yield group
    finally:
        group.rmdir()


def run_in(group: Path | None, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command as a member of the group from its start on, or of none."""
    join = f'echo $$ > "{group}/cgroup.procs"; ' if group else ""
    script = join + 'exec "$@"'
    return subprocess.run(
        ["sh", "-c", script, "sh", *command], capture_output=True, text=True, check=False
    )


def forget_pages(path: Path) -> None:
    """Drop a file from the page cache: what is cached is charged to whoever read it first."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []
