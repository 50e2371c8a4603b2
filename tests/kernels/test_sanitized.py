"""Every set of kernels, compiled with sanitizers, stays in its memory and in defined arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.deploy.host_program import host_compiler
from edgekit.native import has_library
from tests.sanitized import run_sanitized

HERE = Path(__file__).parent
SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=all"
CASES = ("test_native.py",)
RANDOM = ("test_window_shapes.py", "test_sums.py", "test_packed_kernels.py")
SEEDS = (1, 2, 3)
"""Of the random shapes and scales. With them the profile in which seeds count is named: the one for
continuous integration draws the same every time."""


@pytest.mark.full
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.skipif(not has_library(), reason="the native core is not built")
def test_kernels_are_clean_under_sanitizers(seed: int) -> None:
    if host_compiler() is None:
        pytest.skip("no C compiler for this computer")
    files = (*CASES, *RANDOM) if seed == SEEDS[0] else RANDOM
    options = ["-k", "kernels", "--hypothesis-profile=default", f"--hypothesis-seed={seed}"]
    run = run_sanitized([HERE / name for name in files], *options, EDGEKIT_SANITIZERS=SANITIZERS)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert "passed" in run.stdout
