"""The kernels for AVX-512 with VNNI, on any computer: its vectors in plain C, by SIMDe.

Only where the compiler's own vectors of 256 bits run natively, which the kernels use as well.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from ctypes import POINTER, c_float, c_int8, c_int32, c_int64, c_uint8
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit.deploy.host_program import host_compiler

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "edgekit" / "csrc" / "engine"
SIMDE = Path("/usr/include/simde/x86/avx512.h")
FLAGS = ("-O2", "-std=gnu11", "-fPIC", "-ffp-contract=off", "-DEK_ENGINE_AVX2")
WIDE = ("-mavx2", "-mfma", "-mf16c", f"-I{Path(__file__).parent / 'simde'}")
BLOCK_BYTES = {"q8_0": 34, "q4_0": 18}


def has_avx2() -> bool:
    facts = Path("/proc/cpuinfo")
    return facts.exists() and {"avx2", "fma", "f16c"} <= set(facts.read_text().split())


pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux"),
    pytest.mark.skipif(not SIMDE.exists(), reason="needs SIMDe (apt-get install libsimde-dev)"),
    pytest.mark.skipif(not has_avx2(), reason="needs AVX2"),
    pytest.mark.skipif(host_compiler() is None, reason="needs a C compiler"),
]


class Blocks(ctypes.Structure):
    _fields_ = (
        ("values", POINTER(c_int8)),
        ("scales", POINTER(c_float)),
        ("sums", POINTER(c_int32)),
        ("tokens", c_int32),
        ("columns", c_int32),
    )


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Both variants in one library."""
    compiler = host_compiler()
    assert compiler is not None
    folder = tmp_path_factory.mktemp("avx512")
    wide, library = folder / "wide.o", folder / "kernels.so"
    include = f"-I{ROOT / 'edgekit' / 'csrc' / 'include'}"
    source = str(ENGINE / "avx512" / "matmul_blocks.c")
    subprocess.run([*compiler, *FLAGS, *WIDE, include, "-c", source, "-o", str(wide)], check=True)
    sources = [str(ENGINE / name) for name in ("matmul_blocks.c", "half.c", "quants.c")]
    subprocess.run(
        [*compiler, *FLAGS, "-shared", include, *sources, str(wide), "-lm", "-o", str(library)],
        check=True,
    )
    return ctypes.CDLL(str(library))


def run(
    kernel: Callable[..., None],
    groups: NDArray[np.uint8],
    group_count: int,
    x: NDArray[np.int8],
    scales: NDArray[np.float32],
) -> NDArray[np.float32]:
    tokens, columns = x.shape
    sums = 8 * x.reshape(tokens, columns // 32, 32).sum(axis=2, dtype=np.int32)
    sums = np.ascontiguousarray(sums, np.int32)
    blocks = Blocks(
        x.ctypes.data_as(POINTER(c_int8)),
        scales.ctypes.data_as(POINTER(c_float)),
        sums.ctypes.data_as(POINTER(c_int32)),
        tokens,
        columns,
    )
    stride = 8 * group_count + 3
    out = np.full((tokens, stride), np.nan, np.float32)
    kernel(
        groups.ctypes.data_as(POINTER(c_uint8)),
        c_int32(group_count),
        ctypes.byref(blocks),
        out.ctypes.data_as(POINTER(c_float)),
        c_int64(stride),
    )
    return out


@pytest.mark.parametrize("kind", BLOCK_BYTES)
@settings(max_examples=60, deadline=None)
@given(
    group_count=st.integers(1, 5),
    blocks=st.integers(1, 6),
    tokens=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    extreme=st.booleans(),
)
def test_vnni_equals_the_portable_kernels_to_the_bit(
    kernels: ctypes.CDLL,
    kind: str,
    group_count: int,
    blocks: int,
    tokens: int,
    seed: int,
    extreme: bool,
) -> None:
    generator = np.random.default_rng(seed)
    # Groups as ek_interleave_rows leaves them: the scales of eight rows, then their words.
    packed = generator.integers(
        0, 256, (group_count * blocks, BLOCK_BYTES[kind] * 8), dtype=np.uint8
    )
    x = generator.integers(-127, 128, (tokens, blocks * 32), dtype=np.int8)
    if extreme:
        packed = generator.choice(np.array([0, 0x80, 0x7F, 0xFF], np.uint8), packed.shape)
        x = generator.choice(np.array([-127, 127], np.int8), x.shape)
    halves = generator.uniform(-2, 2, (group_count * blocks, 8)).astype(np.float16)
    packed[:, :16] = halves.view(np.uint8)
    scales = generator.uniform(0, 2, (tokens, blocks)).astype(np.float32)
    wide = run(getattr(kernels, f"ek_avx512_group_{kind}"), packed, group_count, x, scales)
    portable = run(getattr(kernels, f"ek_group_{kind}"), packed, group_count, x, scales)
    assert np.array_equal(wide, portable, equal_nan=True)
    assert np.isfinite(wide[:, : 8 * group_count]).all()
