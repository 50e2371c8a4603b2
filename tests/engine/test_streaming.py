"""Models larger than their memory: the same bits under every budget, and reads as predicted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit.deploy.host_program import host_compiler
from edgekit.errors import ExecutionError, MemoryBudgetError
from edgekit.native import has_library
from edgekit.runtime.language.engine import EngineSession, LanguageModel, open_model
from edgekit.runtime.language.engine_records import MemoryBudget
from tests.language_reference import Shape, write_model

pytestmark = pytest.mark.skipif(not has_library(), reason="the native core is not built")

DENSE = Shape(width=128, inner=512, layers=3, heads=4, kv_heads=2, vocabulary=640, context=64)
SHAPES = {
    "dense": DENSE,
    "tied": replace(DENSE, tied=True),
    "arcee": replace(DENSE, architecture="arcee"),
    "experts": replace(DENSE, experts=6, experts_used=2),
}
TOKENS = [int(token) for token in np.random.default_rng(3).integers(0, 640, 24)]
PAGE_BYTES = 4096
SMALL_BLOCK = 8192


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, LanguageModel]]:
    folder = tmp_path_factory.mktemp("models")
    kind = gguf.GGMLQuantizationType.Q4_0
    opened = {
        name: open_model(write_model(folder / f"{name}.gguf", shape, quantization=kind))
        for name, shape in SHAPES.items()
    }
    yield opened
    for model in opened.values():
        model.close()


def evaluate(session: EngineSession, batch: int) -> NDArray[np.float32]:
    """Logits of a prompt in batches, then of one token at a time."""
    prompt = [
        session.eval(TOKENS[start : min(start + batch, 12)], all_logits=True)
        for start in range(0, 12, batch)
    ]
    rest = [session.eval([token])[None] for token in TOKENS[12:]]
    return np.concatenate([*prompt, *rest])


def repeat_one_token(session: EngineSession) -> None:
    """What was read ahead may be good for some tokens yet."""
    for _ in range(20):
        session.eval([TOKENS[4]])
        session.truncate(4)


def logits_under(
    model: LanguageModel, memory_bytes: int | None, batch: int = 4
) -> NDArray[np.float32]:
    with model.load(memory_bytes=memory_bytes, batch=batch, block_bytes=SMALL_BLOCK) as engine:
        assert memory_bytes is None or engine.budget.total_bytes <= memory_bytes
        with engine.session() as session:
            return evaluate(session, batch)


def smallest(model: LanguageModel, batch: int = 4) -> int:
    return model.plan(block_bytes=SMALL_BLOCK, batch=batch).minimum_bytes


def whole(model: LanguageModel, batch: int = 4) -> MemoryBudget:
    return model.plan(batch=batch)


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=6, deadline=None)
@given(share=st.floats(0, 1), batch=st.integers(1, 12))
def test_every_budget_gives_the_same_bits(
    models: dict[str, LanguageModel], name: str, share: float, batch: int
) -> None:
    model = models[name]
    low, high = smallest(model, batch), whole(model, batch).total_bytes
    expected = logits_under(model, None)
    found = logits_under(model, low + int(share * (high - low)), batch)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=15, deadline=None)
@given(share=st.floats(0, 1.2), sessions=st.integers(1, 3), kv=st.sampled_from(["f16", "q8"]))
def test_the_parts_of_a_budget_sum_up_below_the_limit(
    models: dict[str, LanguageModel], name: str, share: float, sessions: int, kv: str
) -> None:
    model = models[name]
    everything = model.plan(sessions=sessions, kv=kv)
    limit = int(share * everything.total_bytes)
    if limit < everything.minimum_bytes:
        with pytest.raises(MemoryBudgetError) as caught:
            model.plan(memory_bytes=max(limit, 1), sessions=sessions, kv=kv)
        assert caught.value.required_bytes == everything.minimum_bytes
        return
    budget = model.plan(memory_bytes=limit, sessions=sessions, kv=kv)
    parts = (
        budget.pinned_bytes
        + budget.stream_bytes
        + budget.kv_bytes
        + budget.activation_bytes
        + budget.table_bytes
    )
    assert budget.total_bytes - 4096 <= parts <= budget.total_bytes <= limit
    assert budget.minimum_bytes == everything.minimum_bytes <= limit
    assert budget.kv_bytes == everything.kv_bytes
    is_whole = limit >= everything.total_bytes
    assert (budget.read_bytes_per_token == 0) == is_whole or not budget.stream_bytes


@pytest.mark.parametrize("name", SHAPES)
def test_more_memory_means_fewer_reads(models: dict[str, LanguageModel], name: str) -> None:
    model = models[name]
    low, high = smallest(model), whole(model).total_bytes
    budgets = [
        model.plan(memory_bytes=low + (high - low) * step // 16, block_bytes=SMALL_BLOCK, batch=4)
        for step in range(17)
    ]
    reads = [budget.read_bytes_per_token for budget in budgets]
    assert reads[0] > 0 == reads[-1]
    # Which blocks are pinned changes, and with them how many pages they lie on.
    for less, more in pairwise(reads):
        assert more <= less + 4 * SMALL_BLOCK
    # What memory holds need not be read, but for the rest of one block.
    for budget in budgets[:-1] if name != "experts" else []:
        pages = 2 * PAGE_BYTES * (budget.read_bytes_per_token // SMALL_BLOCK + 2)
        assert budget.read_bytes_per_token <= (
            budget.touched_bytes_per_token - budget.pinned_bytes + 2 * SMALL_BLOCK + pages
        )


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["dense", "tied", "arcee"])
def test_a_token_reads_what_was_predicted(
    models: dict[str, LanguageModel], name: str, share: float
) -> None:
    model = models[name]
    low, high = smallest(model), whole(model).total_bytes
    limit = low + int(share * (high - low))
    with (
        model.load(memory_bytes=limit, batch=4, block_bytes=SMALL_BLOCK) as engine,
        engine.session() as session,
    ):
        session.eval(TOKENS[:4])
        before = session.counters()
        for token in TOKENS[4:]:
            session.eval([token])
        after = session.counters()
        count = after.tokens - before.tokens
        read = after.read_bytes - before.read_bytes
        # A row may cross a page, and the ring is fuller or emptier at the end than at the begin.
        slack = count * 2 * PAGE_BYTES + engine.budget.stream_bytes
        assert abs(read - count * engine.budget.read_bytes_per_token) <= slack


def test_experts_never_thrash(models: dict[str, LanguageModel]) -> None:
    """One block short of everything, a token reads about one block; hits follow the memory."""
    model = models["experts"]
    high = whole(model).total_bytes
    rates = []
    for missing in (SMALL_BLOCK, 20 * SMALL_BLOCK, 60 * SMALL_BLOCK):
        with (
            model.load(memory_bytes=high - missing, batch=4, block_bytes=SMALL_BLOCK) as engine,
            engine.session() as session,
        ):
            for token in TOKENS:
                session.eval([token])
            counters, budget = session.counters(), engine.budget
        read = (counters.read_bytes - budget.stream_bytes) / counters.tokens
        # By chance some tokens choose experts with more streamed blocks than others.
        assert read <= 2 * budget.read_bytes_per_token + 2 * PAGE_BYTES
        rates.append(1 - read / budget.touched_bytes_per_token)
    assert rates == sorted(rates, reverse=True)


def test_too_small_a_budget_names_the_smallest_that_works(models: dict[str, LanguageModel]) -> None:
    model = models["dense"]
    minimum = model.plan().minimum_bytes
    with pytest.raises(MemoryBudgetError) as caught:
        model.plan(memory_bytes=minimum - 1)
    assert caught.value.required_bytes == minimum
    assert model.plan(memory_bytes=minimum).total_bytes <= minimum


def test_a_cancelled_evaluation_leaves_the_stream_usable(models: dict[str, LanguageModel]) -> None:
    model = models["dense"]
    expected = logits_under(model, None)
    limit = smallest(model)
    with (
        model.load(memory_bytes=limit, batch=4, block_bytes=SMALL_BLOCK) as engine,
        engine.session() as session,
    ):
        for _ in range(3):
            session.cancel()
            with pytest.raises(ExecutionError):
                session.eval(TOKENS)
        session.truncate(0)
        assert np.array_equal(evaluate(session, 4), expected)


def test_storage_that_ends_is_an_error_and_never_a_token(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", DENSE, quantization=gguf.GGMLQuantizationType.Q4_0)
    content = path.read_bytes()
    with open_model(path) as model:
        expected = logits_under(model, None)
        with (
            model.load(memory_bytes=smallest(model), batch=4, block_bytes=SMALL_BLOCK) as engine,
            engine.session() as session,
        ):
            session.eval(TOKENS[:4])
            os.truncate(path, len(content) // 2)
            with pytest.raises(ExecutionError, match=r"storage did not give .* of tensor"):
                repeat_one_token(session)
            assert session.position == 4
            # The disk is back: the session goes on as if nothing had happened.
            with path.open("r+b") as file:
                file.write(content)
            session.truncate(0)
            assert np.array_equal(evaluate(session, 4), expected)


def test_storage_that_stalls_is_an_error_within_the_time(tmp_path: Path) -> None:
    compiler = host_compiler()
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a compiler and preloading")
    here = Path(__file__).parent
    library = tmp_path / "stalled.so"
    source = str(here / "stalled_storage.c")
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", str(library), source, "-ldl"], check=True)
    path = write_model(tmp_path / "m.gguf", DENSE, quantization=gguf.GGMLQuantizationType.Q4_0)
    found = subprocess.run(
        [sys.executable, str(here / "stalled_child.py"), str(path)],
        env={**os.environ, "LD_PRELOAD": str(library), "STALL": str(tmp_path / "stall")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    message, last = found.stdout.splitlines()
    assert "storage did not give" in message
    assert last == "equal"
