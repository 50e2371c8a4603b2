"""The engine on the processors of phones: compiled without glibc, run by QEMU's user mode.

NEON kernels with and without the matrix product of ARMv8.6, the portable ones and those of this
computer give the same logits to the bit, in memory and streamed.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.native import has_library
from edgekit.runtime.language.engine import open_model
from tests.language_reference import Shape, write_model

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not has_library(), reason="the native core is not built"),
    pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="no qemu-aarch64"),
    pytest.mark.skipif(not importlib.util.find_spec("ziglang"), reason="no ziglang"),
]

CSRC = Path(__file__).resolve().parents[2] / "edgekit" / "csrc"
COMPILER = (
    *(sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-O2", "-std=c11"),
    *("-ffp-contract=off", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-DEK_ENGINE_NEON"),
    *("-Wall", "-Wextra", "-Werror", f"-I{CSRC / 'include'}"),
)
TOKENS = [1, 5, 9, 60, 33, 7, 8, 9, 20, 30, 40, 50]
SHAPE = Shape(width=256, inner=256, layers=2, heads=4, kv_heads=2, vocabulary=100, context=64)
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0")
VARIANTS = {"neon": "generic+dotprod", "neon_i8mm": "generic+dotprod+i8mm"}
PROCESSORS = {
    "cortex-a76": "neon",
    "max": "neon-i8mm",
    "cortex-a72": "portable",
}
"""What QEMU is told to be, and the kernels that the engine chooses there."""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aarch64")
    for variant, processor in VARIANTS.items():
        for source in sorted((CSRC / "engine" / variant).glob("*.c")):
            command = (*COMPILER, f"-mcpu={processor}", "-c", str(source))
            subprocess.run([*command, "-o", str(folder / f"{variant}_{source.stem}.o")], check=True)
    sources = [str(path) for path in sorted((CSRC / "engine").glob("*.c"))]
    sources += [str(path) for path in sorted(folder.glob("*.o"))]
    sources.append(str(Path(__file__).with_name("probe.c")))
    program = folder / "probe"
    subprocess.run([*COMPILER, "-static", *sources, "-lm", "-o", str(program)], check=True)
    return program


def logits_on_aarch64(
    probe: Path, model: Path, processor: str, kernels: str, memory_bytes: int
) -> tuple[NDArray[np.float32], str]:
    command = ["qemu-aarch64", "-cpu", processor, str(probe), str(model), kernels]
    done = subprocess.run(
        [*command, str(memory_bytes), *map(str, TOKENS)],
        capture_output=True,
        check=True,
        timeout=300,
    )
    return np.frombuffer(done.stdout, np.float32), done.stderr.decode().strip()


@pytest.mark.parametrize("kind", TYPES)
def test_neon_equals_the_portable_kernels_and_this_computer(
    probe: Path, tmp_path: Path, kind: str
) -> None:
    quantization = gguf.GGMLQuantizationType[kind]
    path = write_model(tmp_path / "model.gguf", SHAPE, quantization=quantization)
    with open_model(path) as model:
        streamed_bytes = model.plan(batch=5).minimum_bytes
        with model.load(batch=5) as engine, engine.session() as session:
            expected = session.eval(TOKENS, all_logits=True).reshape(-1)
    runs = [(processor, "best", name) for processor, name in PROCESSORS.items()]
    for processor, kernels, name in [*runs, ("max", "portable", "portable")]:
        for memory_bytes in (0, streamed_bytes):
            found, used = logits_on_aarch64(probe, path, processor, kernels, memory_bytes)
            assert used == name
            assert np.array_equal(found, expected)
