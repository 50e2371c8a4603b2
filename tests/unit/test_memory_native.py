"""The C interface of the memory search: same records on both sides, bad arguments refused."""

from __future__ import annotations

import ctypes
import re
import shutil
import time
from pathlib import Path

import pytest

from edgekit import native
from edgekit.errors import InternalError, MissingDependencyError
from edgekit.memory import Buffer
from edgekit.memory.csvfile import read_buffers
from edgekit.memory.exact import (
    MAX_BUFFERS,
    CBuffer,
    COptions,
    CResult,
    ExactSearch,
    Outcome,
    StopCallback,
)
from edgekit.memory.planner import NO_NODE_LIMIT, plan_offsets
from edgekit.memory.verifier import verify_offsets
from tests.sanitized import run_sanitized, sanitized_library

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "edgekit" / "csrc" / "include" / "edgekit"
CAPACITY_BYTES = 1 << 20

pytestmark = pytest.mark.native
needs_native = pytest.mark.skipif(not native.has_library(), reason="libedgekit is not built")


def struct_fields(name: str) -> list[str]:
    """Field names of a struct in memory.h, in order."""
    text = re.sub(r"/\*.*?\*/", "", (INCLUDE / "memory.h").read_text(), flags=re.S)
    found = re.search(rf"typedef struct {name} \{{(.*?)\}} {name};", text, flags=re.S)
    assert found is not None
    return re.findall(r"\(?\*?(\w+)\)?(?:\([^)]*\))?;", found.group(1))


@pytest.mark.parametrize(
    ("name", "mirror"),
    [
        ("ek_memory_buffer", CBuffer),
        ("ek_memory_options", COptions),
        ("ek_memory_result", CResult),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_records_have_the_fields_of_the_header(name: str, mirror: type[ctypes.Structure]) -> None:
    assert [field[0] for field in mirror._fields_] == struct_fields(name)
    solve = (ROOT / "edgekit" / "csrc" / "memory" / "solve.c").read_text()
    size = re.search(rf"sizeof\({name}\) == (\d+)", solve)
    assert size is not None
    assert ctypes.sizeof(mirror) == int(size.group(1))


def test_constants_are_those_of_the_headers() -> None:
    memory, version = (INCLUDE / "memory.h").read_text(), (INCLUDE / "version.h").read_text()
    assert f"#define EK_MEMORY_MAX_BUFFERS {MAX_BUFFERS}\n" in memory
    assert f"#define EK_ABI_VERSION {native.ABI_VERSION}\n" in version
    for outcome in Outcome:
        assert re.search(rf"EK_MEMORY_{outcome.name} = {outcome.value}\b", memory)


@needs_native
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"size_bytes": 0}, 101),
        ({"lower": -1}, 101),
        ({"upper": 0}, 101),
        ({"alignment_bytes": 0}, 101),
        ({"alignment_bytes": 16, "fixed_offset_bytes": 8}, 101),
        ({"size_bytes": 1 << 62}, 101),
    ],
    ids=str,
)
def test_solve_refuses_bad_buffers(change: dict[str, int], status: int) -> None:
    search = ExactSearch([Buffer("a", 0, 1, 8), Buffer("b", 0, 1, 8)], deadline_s=0)
    for field, value in change.items():
        setattr(search._buffers[1], field, value)
    options, result = COptions(64, 100, StopCallback(), None), CResult()
    offsets = (ctypes.c_int64 * 2)(-7, -7)
    library = native.load_library()
    got = library.ek_memory_solve(
        search._buffers, 2, options, search._workspace, search._workspace_bytes, result, offsets
    )
    assert got == status
    assert list(offsets) == [-7, -7]
    assert library.ek_memory_workspace_bytes(search._buffers, 2) == 0


@needs_native
def test_solve_refuses_bad_memory_and_options() -> None:
    search = ExactSearch([Buffer("a", 0, 1, 8)], deadline_s=0)
    library, buffers, size = native.load_library(), search._buffers, search._workspace_bytes
    options, result, offsets = COptions(64, 9, StopCallback(), None), CResult(), (ctypes.c_int64)()
    nothing = ctypes.POINTER(CResult)()

    def solve(count: int, chosen: COptions, shift: int, size_bytes: int, into: object) -> int:
        place = search._workspace + shift
        return int(
            library.ek_memory_solve(buffers, count, chosen, place, size_bytes, into, offsets)
        )

    assert solve(1, options, 0, size, nothing) == 100
    assert solve(0, options, 0, size, result) == 101
    assert solve(1, COptions(0, 9, StopCallback(), None), 0, size, result) == 101
    assert solve(1, COptions(64, -1, StopCallback(), None), 0, size, result) == 101
    assert solve(1, options, 0, size - 1, result) == 200
    assert solve(1, options, 8, size, result) == 201
    assert solve(MAX_BUFFERS + 1, options, 0, size, result) == 300
    assert solve(1, options, 0, size, result) == 0


@needs_native
def test_search_refuses_sizes_whose_sum_leaves_64_bits() -> None:
    huge = [Buffer(str(i), 0, 1, 1 << 56) for i in range(80)]
    assert plan_offsets(huge).height_bytes == 80 << 56
    buffers = (CBuffer * 80)(*([CBuffer(0, 1, 1 << 56, 1, -1)] * 80))
    assert native.load_library().ek_memory_workspace_bytes(buffers, 80) == 0


@needs_native
@pytest.mark.parametrize("name", ["C", "D", "G", "J", "K"])
def test_published_instances_are_solved(name: str, assets: Path) -> None:
    buffers = read_buffers(assets / "memory" / f"{name}.{CAPACITY_BYTES}.csv")
    solution = plan_offsets(buffers, capacity_bytes=CAPACITY_BYTES, node_limit=NO_NODE_LIMIT)
    verify_offsets(buffers, solution.offsets, capacity_bytes=CAPACITY_BYTES)
    assert solution.feasible
    assert solution.greedy_height_bytes > CAPACITY_BYTES


@needs_native
def test_search_stops_when_asked(assets: Path) -> None:
    buffers = read_buffers(assets / "memory" / f"K.{CAPACITY_BYTES}.csv")
    search = ExactSearch(buffers, deadline_s=time.perf_counter() - 1)
    answer = search.search(CAPACITY_BYTES, node_limit=NO_NODE_LIMIT)
    assert answer.outcome is Outcome.UNDECIDED
    assert answer.nodes < 1000


@needs_native
def test_search_stays_within_its_nodes(assets: Path) -> None:
    buffers = read_buffers(assets / "memory" / f"K.{CAPACITY_BYTES}.csv")
    search = ExactSearch(buffers, deadline_s=time.perf_counter() + 60)
    answers = [search.search(CAPACITY_BYTES, node_limit=700) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0].nodes <= 700


def test_missing_library_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEKIT_LIBRARY", str(tmp_path / "libedgekit.so"))
    with pytest.raises(MissingDependencyError, match="cmake --build build"):
        native.load_library.__wrapped__()


def test_broken_library_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "libedgekit.so"
    broken.write_text("not a library")
    monkeypatch.setenv("EDGEKIT_LIBRARY", str(broken))
    with pytest.raises(MissingDependencyError, match="cannot be loaded"):
        native.load_library.__wrapped__()


@needs_native
def test_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "ABI_VERSION", native.ABI_VERSION + 1)
    with pytest.raises(InternalError, match="binary interface"):
        native.load_library.__wrapped__()


@pytest.mark.full
@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_searches_are_clean_under_sanitizers(tmp_path: Path) -> None:
    tests = ["test_memory_planner.py", "test_memory_native.py"]
    files = [Path(__file__).with_name(name) for name in tests]
    run = run_sanitized(files, library=sanitized_library(tmp_path))
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert "passed" in run.stdout
