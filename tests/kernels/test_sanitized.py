"""Every set of kernels, compiled with sanitizers, stays in its memory and in defined arithmetic."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.deploy.host_program import host_compiler
from edgekit.native import has_library

HERE = Path(__file__).parent
SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=all"
CASES = ("test_native.py",)
RANDOM = ("test_window_shapes.py", "test_sums.py")
SEEDS = (1, 2, 3)
"""Of the random shapes and scales. With them the profile in which seeds count is named: the one for
continuous integration draws the same every time."""


def runtime(name: str) -> str:
    """Return the path of a runtime library that has to be loaded before Python's own."""
    command = ["gcc", f"-print-file-name={name}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.full
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.skipif(not has_library(), reason="the native core is not built")
def test_kernels_are_clean_under_sanitizers(seed: int) -> None:
    if host_compiler() is None:
        pytest.skip("no C compiler for this computer")
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(map(runtime, ("libasan.so", "libubsan.so"))),
        "ASAN_OPTIONS": "detect_leaks=0",
        "EDGEKIT_SANITIZERS": SANITIZERS,
    }
    files = (*CASES, *RANDOM) if seed == SEEDS[0] else RANDOM
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "kernels"]
    command += ["--hypothesis-profile=default", f"--hypothesis-seed={seed}"]
    command += [str(HERE / name) for name in files]
    run = subprocess.run(
        command,
        env=environment,
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert "passed" in run.stdout
