"""The native core of the flash functions, compiled with sanitizers, stays in its memory."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgekit.deploy.host_program import host_compiler
from tests.sanitized import run_sanitized

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "edgekit" / "csrc"
FLAGS = (
    *("-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-shared", "-fPIC"),
)
FILES = ("version.c", "nand/gemv.c", "nand/ecc.c", "nand/bit_errors.c")


@pytest.mark.full
def test_flash_functions_are_clean_under_sanitizers(tmp_path: Path) -> None:
    if host_compiler() is None:
        pytest.skip("no C compiler for this computer")
    library = tmp_path / "libedgekit.so"
    sources = [str(CSRC / name) for name in FILES]
    command = ["gcc", *FLAGS, f"-I{CSRC / 'include'}", *sources, "-lm", "-o", str(library)]
    subprocess.run(command, check=True)
    tests = ["unit/test_on_die_ecc.py", "emulated/test_nand_function.py"]
    run = run_sanitized([ROOT / "tests" / name for name in tests], library=library)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert "passed" in run.stdout
