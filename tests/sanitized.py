"""Tests run again on a native core that is compiled with sanitizers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def sanitized_library(folder: Path) -> Path:
    """Build the whole core with the address and undefined-behaviour sanitizers."""
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-DEDGEKIT_SANITIZE=ON"]
    subprocess.run([*configure, "-DEDGEKIT_DEVELOPER=ON"], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", str(folder)], check=True, capture_output=True)
    return folder / "libedgekit.so"


def run_sanitized(
    tests: Sequence[Path], *options: str, library: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run tests in a process of its own with the sanitizers loaded before Python's libraries."""
    environment = {
        **os.environ,
        **variables,
        "LD_PRELOAD": " ".join(map(_runtime, ("libasan.so", "libubsan.so"))),
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    if library is not None:
        environment["EDGEKIT_LIBRARY"] = str(library)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    return subprocess.run(
        [*command, *map(str, tests)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def _runtime(name: str) -> str:
    command = ["gcc", f"-print-file-name={name}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
