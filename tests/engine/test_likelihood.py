"""Bits for each token: those of the reference's softmax, however the text is cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit import native
from edgekit.errors import UsageError
from edgekit.runtime.language.engine import EngineSession, open_model
from edgekit.runtime.language.likelihood import measure_likelihood
from tests.language_reference import Shape, logits_of, read_reference, softmax, write_model

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not native.has_library(), reason="libedgekit is not built"),
]

SHAPE = Shape(context=96)
TOKENS = [int(t) for t in np.random.default_rng(6).integers(0, SHAPE.vocabulary, 200)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model.gguf", SHAPE)


@pytest.fixture
def session(path: Path) -> Iterator[EngineSession]:
    with open_model(path) as model, model.load(kv="f32") as engine, engine.session() as opened:
        yield opened


def reference_bits(path: Path, ids: list[int]) -> float:
    probabilities = softmax(logits_of(read_reference(path), ids[:-1]))
    chosen = probabilities[np.arange(len(ids) - 1), ids[1:]]
    return float(-np.log2(chosen).sum())


def test_one_window_is_the_softmax_of_the_reference(session: EngineSession, path: Path) -> None:
    found = measure_likelihood(session, TOKENS[:90])
    assert found.tokens == 89
    assert found.bits == pytest.approx(reference_bits(path, TOKENS[:90]), rel=1e-5)
    assert found.perplexity == pytest.approx(2 ** (found.bits / 89))
    assert session.position == 0


def test_windows_do_not_overlap_and_begin_with_the_first_token(
    session: EngineSession, path: Path
) -> None:
    found = measure_likelihood(session, TOKENS, window=71, first=1)
    windows = [[1, *TOKENS[start : start + 70]] for start in (0, 70, 140)]
    assert found.tokens == 200
    wanted = sum(reference_bits(path, ids) for ids in windows)
    assert found.bits == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("count", "window"), [(0, None), (1, None), (10, 1), (10, 97)])
def test_nothing_to_predict_is_refused(
    session: EngineSession, count: int, window: int | None
) -> None:
    with pytest.raises(UsageError):
        measure_likelihood(session, TOKENS[:count], window=window)
