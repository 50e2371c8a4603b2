"""The C interface of the language-model engine: the same records and names on both sides."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from edgekit.runtime.language import engine_abi as abi

ROOT = Path(__file__).resolve().parents[2]
HEADER = (ROOT / "edgekit" / "csrc" / "include" / "edgekit" / "llm.h").read_text()
STATUSES = (ROOT / "edgekit" / "csrc" / "include" / "edgekit" / "status.h").read_text()
CODE = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.S)

RECORDS = {
    "ek_llm_facts": abi.CFacts,
    "ek_llm_options": abi.COptions,
    "ek_llm_budget": abi.CBudget,
    "ek_llm_counters": abi.CCounters,
    "ek_llm_sampling": abi.CSampling,
}
TYPES = {
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "int32_t": ctypes.c_int32,
    "float": ctypes.c_float,
    "char": ctypes.c_char * 32,
}


@pytest.mark.parametrize("name", RECORDS)
def test_records_have_the_fields_of_the_header(name: str) -> None:
    found = re.search(rf"typedef struct {name} \{{(.*?)\}} {name};", CODE, flags=re.S)
    assert found is not None
    fields = re.findall(r"(\w+) (\w+)(?:\[\w+\])?;", found.group(1))
    assert [(field, TYPES[kind]) for kind, field in fields] == list(RECORDS[name]._fields_)


@pytest.mark.parametrize("name", RECORDS)
def test_records_have_the_size_that_the_core_asserts(name: str) -> None:
    sources = (ROOT / "edgekit" / "csrc" / "engine").glob("*.c")
    sizes = [
        size
        for source in sources
        for size in re.findall(rf"sizeof\({name}\) == (\d+)", source.read_text())
    ]
    assert sizes == [str(ctypes.sizeof(RECORDS[name]))]


def test_every_function_of_the_header_is_declared() -> None:
    functions = set(re.findall(r"EK_API [\w *]+?\*?(ek_llm_\w+)\(", CODE))
    others = {"ek_llm_position", "ek_llm_kernels_name", "ek_llm_is_end"}
    assert functions == set(abi.PROTOTYPES) | set(abi.CLOSERS) | others


def test_constants_are_those_of_the_headers() -> None:
    assert f"#define EK_LLM_MESSAGE_BYTES {abi.MESSAGE_BYTES}\n" in HEADER
    for names, prefix in ((abi.KV_TYPES, "KV"), (abi.KERNELS, "KERNELS")):
        for name, value in names.items():
            assert re.search(rf"EK_LLM_{prefix}_{name.upper()} = {value}\b", HEADER)
    for name in ("OUT_OF_RANGE", "FULL", "UNSUPPORTED", "IO", "CORRUPT", "CANCELLED"):
        value = vars(abi)[name]
        assert re.search(rf"EK_STATUS_{name} = {value}\b", STATUSES)
    assert f"EK_STATUS_BUDGET_TOO_SMALL = {abi.BUDGET_TOO_SMALL}" in STATUSES
