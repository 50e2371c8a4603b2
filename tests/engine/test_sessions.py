"""Sessions of the language-model engine: positions, rolling back, saving, cancelling, limits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit import native
from edgekit.errors import ExecutionError, ModelFormatError, UsageError
from edgekit.runtime.language.engine import (
    EngineSession,
    LanguageEngine,
    LanguageModel,
    open_model,
)
from edgekit.runtime.language.engine_abi import ContextFullError, EvaluationCancelledError
from tests.language_reference import Shape, write_model

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not native.has_library(), reason="libedgekit is not built"),
]

SHAPE = Shape(context=96)
TOKENS = [int(t) for t in np.random.default_rng(4).integers(0, SHAPE.vocabulary, 60)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageModel]:
    path = write_model(tmp_path_factory.mktemp("model") / "model.gguf", SHAPE)
    with open_model(path) as opened:
        yield opened


@pytest.fixture(params=["f16", "q8", "f32"])
def engine(model: LanguageModel, request: pytest.FixtureRequest) -> Iterator[LanguageEngine]:
    with model.load(kv=request.param, batch=16, sessions=2) as loaded:
        yield loaded


def test_rolling_back_gives_the_same_logits_again(engine: LanguageEngine) -> None:
    with engine.session() as session:
        session.eval(TOKENS[:30])
        first = session.eval(TOKENS[30:40], all_logits=True)
        session.truncate(30)
        assert session.position == 30
        session.eval(list(reversed(TOKENS)))
        session.truncate(30)
        assert np.array_equal(first, session.eval(TOKENS[30:40], all_logits=True))


def test_sessions_do_not_see_each_other(engine: LanguageEngine) -> None:
    with engine.session() as left, engine.session() as right:
        alone = left.eval(TOKENS)
        left.truncate(0)
        for start in range(0, 60, 10):
            mixed = left.eval(TOKENS[start : start + 10])
            right.eval(list(reversed(TOKENS))[start : start + 10])
        assert np.array_equal(alone, mixed)


def test_a_new_session_begins_empty(engine: LanguageEngine) -> None:
    with engine.session() as session:
        first = session.eval(TOKENS)
    with engine.session() as session:
        assert session.position == 0
        assert np.array_equal(first, session.eval(TOKENS))


def test_more_sessions_than_planned_are_refused(engine: LanguageEngine) -> None:
    with engine.session(), engine.session(), pytest.raises(ContextFullError):
        engine.session()


def test_saved_sessions_go_on_where_they_were(engine: LanguageEngine, tmp_path: Path) -> None:
    path = tmp_path / "session.kv"
    with engine.session() as session:
        session.eval(TOKENS[:37])
        session.save(path)
        wanted = session.eval(TOKENS[37:])
    assert [file.name for file in tmp_path.iterdir()] == ["session.kv"]
    with engine.session() as session:
        session.eval(TOKENS[50:])
        session.restore(path)
        assert session.position == 37
        assert np.array_equal(wanted, session.eval(TOKENS[37:]))


@pytest.mark.parametrize("at", [0, 9, 17, 30, 40, 100, 3000])
def test_damaged_sessions_are_refused(engine: LanguageEngine, tmp_path: Path, at: int) -> None:
    path = tmp_path / "session.kv"
    with engine.session() as session:
        session.eval(TOKENS[:37])
        session.save(path)
        content = bytearray(path.read_bytes())
        content[at] ^= 0x41
        path.write_bytes(content)
        before = session.eval(TOKENS[37:40])
        session.truncate(37)
        with pytest.raises((ModelFormatError, ContextFullError), match="session"):
            session.restore(path)
        assert session.position == 37
        assert np.array_equal(before, session.eval(TOKENS[37:40]))


def test_short_and_long_saved_sessions_are_refused(engine: LanguageEngine, tmp_path: Path) -> None:
    path = tmp_path / "session.kv"
    with engine.session() as session:
        session.eval(TOKENS[:20])
        session.save(path)
        content = path.read_bytes()
        for changed in (b"", content[:30], content[:-1], content + b"x"):
            path.write_bytes(changed)
            with pytest.raises(ModelFormatError):
                session.restore(path)
        with pytest.raises(ModelFormatError):
            session.restore(tmp_path / "absent")
        assert session.position == 20


def test_sessions_of_other_models_are_refused(model: LanguageModel, tmp_path: Path) -> None:
    other_path = write_model(tmp_path / "other.gguf", Shape(context=96, vocabulary=97))
    saved = tmp_path / "session.kv"
    with model.load() as engine, engine.session() as session:
        session.eval(TOKENS[:5])
        session.save(saved)
    with open_model(other_path) as other:
        restoring_fails(other.load(), saved, ModelFormatError, "another model")
    restoring_fails(model.load(kv="q8"), saved, ModelFormatError, "KV cache")
    restoring_fails(model.load(context=4), saved, ContextFullError, "5 tokens")
    with model.load() as engine, engine.session() as session:
        session.restore(saved)
        assert session.position == 5


def restoring_fails(engine: LanguageEngine, saved: Path, error: type[Exception], said: str) -> None:
    with engine, engine.session() as session, pytest.raises(error, match=said):
        session.restore(saved)


def test_saving_to_nowhere_says_so(engine: LanguageEngine, tmp_path: Path) -> None:
    with engine.session() as session, pytest.raises(ExecutionError, match="cannot be written"):
        session.save(tmp_path / "absent" / "session.kv")


def test_cancelling_ends_the_next_evaluation_only(engine: LanguageEngine) -> None:
    with engine.session() as session:
        session.eval(TOKENS[:10])
        session.cancel()
        with pytest.raises(EvaluationCancelledError):
            session.eval(TOKENS[10:])
        assert session.position == 10
        session.eval(TOKENS[10:])
        assert session.position == 60


def evaluate_again_and_again(session: EngineSession, tokens: list[int]) -> None:
    while True:
        session.truncate(0)
        session.eval(tokens)


def test_cancelling_from_another_thread_keeps_whole_batches(tmp_path: Path) -> None:
    """The position is a multiple of the batch, and going on gives what it would have given."""
    shape = Shape(width=256, inner=768, layers=6, heads=8, kv_heads=4, context=2048)
    tokens = [int(t) for t in np.random.default_rng(4).integers(0, shape.vocabulary, 2000)]
    path = write_model(tmp_path / "model.gguf", shape)
    with open_model(path) as model, model.load(batch=8) as engine, engine.session() as session:
        timer = threading.Timer(0.05, session.cancel)
        timer.start()
        with pytest.raises(EvaluationCancelledError):
            evaluate_again_and_again(session, tokens)
        timer.join()
        reached = session.position
        assert reached % 8 == 0
        end = min(reached + 20, 2000)
        resumed = session.eval(tokens[reached:end]) if reached < end else None
        session.truncate(0)
        if resumed is not None:
            assert np.array_equal(resumed, session.eval(tokens[:end]))


def test_the_context_is_a_hard_limit(engine: LanguageEngine) -> None:
    with engine.session() as session:
        session.eval(TOKENS)
        with pytest.raises(ContextFullError, match="context of 96"):
            session.eval(TOKENS)
        assert session.position == 60
        session.eval(TOKENS[:36])
        with pytest.raises(ContextFullError):
            session.eval([1])


@pytest.mark.parametrize("tokens", [[-1], [SHAPE.vocabulary], [1, 2, 1 << 30], []])
def test_tokens_outside_the_vocabulary_are_refused(
    engine: LanguageEngine, tokens: list[int]
) -> None:
    with engine.session() as session:
        with pytest.raises(UsageError):
            session.eval(tokens)
        assert session.position == 0


@pytest.mark.parametrize("position", [-1, 11])
def test_truncating_elsewhere_is_refused(engine: LanguageEngine, position: int) -> None:
    with engine.session() as session:
        session.eval(TOKENS[:10])
        with pytest.raises(UsageError, match=r"0\.\.10"):
            session.truncate(position)


def test_counters_count(engine: LanguageEngine) -> None:
    with engine.session() as session:
        session.eval(TOKENS)
        counters = session.counters()
    assert counters.tokens == 60
    assert counters.read_bytes == counters.wait_ns == 0
    assert counters.compute_ns > 0


def test_closing_in_any_order_is_safe(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.gguf", SHAPE)
    model = open_model(path)
    engine = model.load()
    session = engine.session()
    first = session.eval(TOKENS[:5])
    model.close()
    engine.close()
    session.truncate(0)
    assert np.array_equal(first, session.eval(TOKENS[:5]))
    session.close()
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.eval([1])


def test_the_budget_is_the_sum_of_its_parts(model: LanguageModel) -> None:
    budget = model.plan(context=50, batch=3, sessions=2, threads=2, kv="q8")
    parts = (
        budget.pinned_bytes
        + budget.stream_bytes
        + budget.kv_bytes
        + budget.activation_bytes
        + budget.table_bytes
    )
    assert budget.total_bytes == parts
    assert budget.read_bytes_per_token == 0
    larger = model.plan(context=50, batch=3, sessions=4, threads=2, kv="q8")
    assert larger.kv_bytes == 2 * budget.kv_bytes
    assert model.plan(context=50, sessions=2, kv="f32").kv_bytes > budget.kv_bytes


@pytest.mark.parametrize(
    "options",
    [{"batch": 0}, {"batch": 10**6}, {"context": -1}, {"threads": 1000}, {"kv": "q4"}],
    ids=str,
)
def test_options_out_of_range_are_refused(
    model: LanguageModel, options: dict[str, int | str]
) -> None:
    with pytest.raises(UsageError):
        model.plan(**options)  # type: ignore[arg-type]
