"""The engine's tests again under sanitizers, and headers damaged at random."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.engine.test_arithmetic import EXACT
from tests.language_reference import write_model
from tests.sanitized import run_sanitized, sanitized_library
from tests.tiny_language_models import bpe_words, spm_words, write_vocabulary

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "edgekit" / "csrc" / "engine"
TESTS = (
    "test_arithmetic.py",
    "test_headers.py",
    "test_likelihood.py",
    "test_sampler.py",
    "test_sessions.py",
    "test_streaming.py",
    "test_tokenizer.py",
)
FUZZ_CPU_SECONDS = 20

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc"),
]


def test_engine_tests_are_clean_under_sanitizers(tmp_path: Path) -> None:
    files = [Path(__file__).with_name(name) for name in TESTS]
    # A child with slowed reads of its own cannot have the sanitizers loaded before it.
    run = run_sanitized(files, "-k", "not stalls", library=sanitized_library(tmp_path))
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert "passed" in run.stdout


def test_randomly_damaged_headers_are_refused_or_opened(tmp_path: Path) -> None:
    """The fuzzer (tests/fuzz_gguf.c) for a short while; leaks count too."""
    program = tmp_path / "fuzz_gguf"
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-D_GNU_SOURCE"]
    include = ENGINE.parent / "include"
    sources = [ROOT / "tests" / "fuzz_gguf.c", *sorted(ENGINE.glob("*.c"))]
    compiler = ["gcc", "-std=c11", "-g", "-O1", *flags, f"-I{include}", "-o", str(program)]
    command = [*compiler, *map(str, sources), "-lm", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True)
    seeds = [write_model(tmp_path / f"{name}.gguf", shape) for name, shape in EXACT.items()]
    seeds += [
        write_vocabulary(tmp_path / "spm.gguf", spm_words()),
        write_vocabulary(tmp_path / "bpe.gguf", bpe_words()),
    ]
    run = subprocess.run(
        [str(program), str(tmp_path / "damaged"), str(FUZZ_CPU_SECONDS), "1", *map(str, seeds)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "accepted" in run.stdout
