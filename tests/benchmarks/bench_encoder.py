"""Int8 against float32 for a sentence encoder: size, accuracy of embeddings, latency.

    python tests/benchmarks/bench_encoder.py "$(python scripts/fetch_minilm.py)"

Accuracy: 200 pairs of texts of 4 to 180 words, cut with a fixed seed from the stories and articles
under ``$EDGEKIT_ASSETS/llm/text``; half the pairs overlap or lie close together. Each text is a run
of its own. Float embeddings are compared with sentence-transformers where that is installed.
Latency: both models take turns, so that other load on the machine meets both; one thread.
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.converters.emitters.onnx import emit_onnx
from edgekit.converters.importers import load_model
from edgekit.converters.quantization.dynamic import quantize_dynamic_onnx
from edgekit.runtime.onnxruntime_executor import session_options

os.environ["HF_HUB_OFFLINE"] = "1"

PAIRS = 200
WORDS = (4, 8, 16, 32, 64, 120, 180)
MAX_TOKENS = 256
SEQUENCE = 128

Vectors = npt.NDArray[np.float32]
Feed = Mapping[str, npt.NDArray[np.int64]]


def text_pairs(folder: Path, seed: int = 0) -> list[tuple[str, str]]:
    """Return the fixed list of pairs: every other one overlaps or lies close together."""
    rng = random.Random(seed)
    files = ("grimm_tales.txt", "wikitext2_valid.txt")
    raw = " ".join((folder / name).read_text("utf-8", errors="replace") for name in files)
    words = re.sub(r"<unk>|@-@|=", " ", raw).split()

    def cut(start: int) -> str:
        return " ".join(words[start : start + rng.choice(WORDS)])

    pairs = []
    for index in range(PAIRS):
        start = rng.randrange(len(words) - 1000)
        near = start + rng.randrange(100) if index % 2 == 0 else rng.randrange(len(words) - 1000)
        pairs.append((cut(start), cut(near)))
    return pairs


def token_feeds(folder: Path, texts: Sequence[str], inputs: Sequence[str]) -> list[Feed]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    feeds = []
    for text in texts:
        tokens = tokenizer.encode(text)
        known = {
            "input_ids": tokens.ids,
            "attention_mask": tokens.attention_mask,
            "token_type_ids": tokens.type_ids,
        }
        feeds.append({name: np.array([known[name]], np.int64) for name in inputs})
    return feeds


def embed(session: Any, feeds: Sequence[Feed]) -> Vectors:
    vectors = np.concatenate([session.run(None, dict(feed))[0] for feed in feeds])
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def pair_similarities(vectors: Vectors) -> Vectors:
    return np.asarray((vectors[::2] * vectors[1::2]).sum(axis=1))


def rank_correlation(first: Vectors, second: Vectors) -> float:
    """Spearman's, for values without ties."""
    ranks = [np.argsort(np.argsort(values)).astype(np.float64) for values in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def accuracy(sessions: Mapping[str, Any], feeds: Sequence[Feed]) -> dict[str, float]:
    exact, approximate = (embed(sessions[name], feeds) for name in ("float32", "int8"))
    cosines = (exact * approximate).sum(axis=1)
    return {
        "cosine_mean": float(cosines.mean()),
        "cosine_min": float(cosines.min()),
        "rank_correlation": rank_correlation(
            pair_similarities(exact), pair_similarities(approximate)
        ),
    }


def difference_to_reference(
    session: Any, feeds: Sequence[Feed], folder: Path, texts: Sequence[str]
) -> float | None:
    """Largest absolute difference to sentence-transformers, None where it is not installed."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return None
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    expected = model.encode(list(texts), batch_size=1, show_progress_bar=False)
    return float(np.abs(embed(session, feeds) - expected).max())


def latency(sessions: Mapping[str, Any], feeds: Sequence[Feed], rounds: int) -> dict[str, Any]:
    """Median seconds of one pass over ``feeds``, and the ratio int8 : float32."""
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(rounds + 1):
        for name, session in sessions.items():
            began = time.perf_counter()
            for feed in feeds:
                session.run(None, dict(feed))
            seconds[name].append(time.perf_counter() - began)
    # The first round warms up.
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    ratios = [i / f for i, f in zip(seconds["int8"][1:], seconds["float32"][1:], strict=True)]
    return {
        "runs": len(feeds),
        "tokens": int(sum(feed["input_ids"].size for feed in feeds)),
        **{f"{name}_median_s": value for name, value in medians.items()},
        "ratio_of_medians": medians["int8"] / medians["float32"],
        "median_of_ratios": statistics.median(ratios),
    }


def measure(folder: Path, texts_folder: Path, rounds: int) -> dict[str, Any]:
    import onnxruntime

    began = time.perf_counter()
    graph = load_model(folder)
    float_model = emit_onnx(graph)
    int8_model = quantize_dynamic_onnx(float_model)
    conversion_s = time.perf_counter() - began
    sessions = {
        name: onnxruntime.InferenceSession(model, session_options(threads=1))
        for name, model in (("float32", float_model), ("int8", int8_model))
    }
    texts = [text for pair in text_pairs(texts_folder) for text in pair]
    feeds = token_feeds(folder, texts, graph.inputs)
    rng = np.random.default_rng(0)
    whole = {name: np.zeros((1, SEQUENCE), np.int64) for name in graph.inputs}
    whole["input_ids"] = rng.integers(1000, 20000, (1, SEQUENCE))
    whole["attention_mask"] = np.ones((1, SEQUENCE), np.int64)
    return {
        "model": folder.name,
        "conversion_s": conversion_s,
        "float32_bytes": len(float_model),
        "int8_bytes": len(int8_model),
        "tokenizer_bytes": (folder / "tokenizer.json").stat().st_size,
        "float32_max_difference_to_sentence_transformers": difference_to_reference(
            sessions["float32"], feeds, folder, texts
        ),
        "accuracy_int8_to_float32": accuracy(sessions, feeds),
        f"latency_{SEQUENCE}_tokens": latency(sessions, [whole], rounds * 3),
        "latency_mixed": latency(sessions, feeds[::10], rounds),
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,
            "threads": 1,
        },
    }


def installed_minilm() -> Path:
    """Return the checked folder of all-MiniLM-L6-v2, installed where it is missing."""
    script = Path(__file__).resolve().parents[2] / "scripts" / "fetch_minilm.py"
    command = [sys.executable, str(script), "--install"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Path(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", type=Path, nargs="?", help="sentence-transformers folder [all-MiniLM-L6-v2]"
    )
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    assets = os.environ.get("EDGEKIT_ASSETS")
    if not assets:
        sys.exit("the texts are found by EDGEKIT_ASSETS, which is not set")
    result = measure(
        arguments.folder or installed_minilm(), Path(assets) / "llm" / "text", arguments.rounds
    )
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
