"""A model of sparse experts larger than its memory: ours against llama.cpp's memory map.

    python -m tests.benchmarks.bench_experts [MODEL.gguf] [--repeats 2] [--tokens 24]

Without a file, the shape ``experts-400m`` of ``scripts/make_random_language_model.py`` (16 experts
in each of 12 layers, 2 of them for a token; 280 MB) with random Q4_0 weights is written to the
temporary folder. Tokens are drawn at random and not generated: random weights soon repeat one
token, whose experts any cache would keep. Random weights choose experts with little preference,
which is the hardest case for whatever keeps some of them.

Limits are shares of the file, and around the weights of one token's cycle: everything but the
experts, and as many experts as a token uses; one more, and one less, where a cache that drops what
was used longest ago hits nothing if tokens repeat their experts. Every run is a process in a
control group whose limit counts the page cache too: the engine's budget and 70 MB for the
interpreter; one thread; arms take turns.

Columns: the engine's budget; hit rate (share of the chosen experts' bytes that lay in memory),
predicted and observed; bytes read per token, predicted and observed, and llama.cpp's; tokens per
second, llama.cpp's, and what the storage's rate just before and the memory's speed allow.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.runtime.language.engine import open_model
from tests.benchmarks.bench_language_model import ROOT, LlamaCpp
from tests.benchmarks.bench_streaming import median, run
from tests.benchmarks.memory_cap import capped, forget_pages, run_in
from tests.benchmarks.streaming_child import CONTEXT, PROMPT, decode

SHAPE = "experts-400m"
SHARES = (0.84, 0.67, 0.50, 0.33)
BATCH = 8
PROCESS_BYTES = 70_000_000
"""What a process may take beside the engine's budget."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes of the weights: of one expert of one layer, and of those that a token uses."""

    expert_bytes: int
    used_expert_bytes: int
    touched_bytes: int


@dataclass(frozen=True, slots=True)
class Limit:
    """A memory budget of the engine and why it was chosen."""

    name: str
    memory_bytes: int


def random_model() -> Path:
    path = Path(tempfile.gettempdir()) / f"edgekit-{SHAPE}-q4_0.gguf"
    if not path.exists():
        script = ROOT / "scripts" / "make_random_language_model.py"
        subprocess.run([sys.executable, script, path, "--shape", SHAPE], check=True)
    return path


def weights_of(path: Path) -> Weights:
    import gguf

    sizes = [
        int(tensor.n_bytes) for tensor in gguf.GGUFReader(path).tensors if "_exps" in tensor.name
    ]
    with open_model(path) as model:
        facts, plan = model.facts, model.plan(context=CONTEXT, batch=BATCH)
    expert_bytes = sum(sizes) // facts.layers // facts.experts
    used_bytes = expert_bytes * facts.layers * facts.experts_used
    return Weights(expert_bytes, used_bytes, plan.touched_bytes_per_token)


def limits(path: Path, weights: Weights) -> Iterator[Limit]:
    """Budgets, largest first; what a budget needs beside weights is that of the smallest one."""
    size_bytes = path.stat().st_size
    with open_model(path) as model:
        least = model.plan(context=CONTEXT, batch=BATCH).minimum_bytes
        small = model.plan(memory_bytes=least, context=CONTEXT, batch=BATCH)
        beside = small.total_bytes - small.pinned_bytes
    for share in SHARES:
        yield Limit(f"{share:.0%}", int(share * size_bytes) - PROCESS_BYTES)
    cycle = beside + weights.touched_bytes
    for name, experts in (("cycle + 1", 1), ("cycle", 0), ("cycle - 1", -1)):
        yield Limit(name, cycle + experts * weights.expert_bytes)
    yield Limit("smallest", least)


def run_arm(arm: str, path: Path, memory_bytes: int, tokens: int) -> dict[str, Any]:
    """One run; a budget of 0 is none."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_experts", str(path), "--child", arm]
    command += ["--memory", str(memory_bytes), "--tokens", str(tokens)]
    forget_pages(path)
    if memory_bytes:
        with capped(memory_bytes + PROCESS_BYTES) as group:
            done = run_in(group, command)
    else:
        done = run_in(None, command)
    if done.returncode:
        return {"failed": f"exit {done.returncode} {done.stderr.strip()[-200:]}"}
    return dict(json.loads(done.stdout))


def random_tokens() -> Iterator[int]:
    generator = random.Random(1)
    while True:
        yield generator.randrange(1000, 16000)


def run_edgekit(path: Path, memory_bytes: int, count: int) -> dict[str, object]:
    tokens = random_tokens()
    with (
        open_model(path) as model,
        model.load(memory_bytes=memory_bytes or None, context=CONTEXT, batch=BATCH) as engine,
        engine.session() as session,
    ):
        session.eval(PROMPT)
        found = decode(lambda _: session.eval([next(tokens)]), 0, count)
        return {
            **found,
            "predicted_read_bytes_per_token": engine.budget.read_bytes_per_token,
        }


def run_llama(path: Path, _memory_bytes: int, count: int) -> dict[str, object]:
    llama = LlamaCpp(path, repack=False)
    llama.eval(PROMPT, 0)
    positions, tokens = itertools.count(len(PROMPT)), random_tokens()

    def step(_: int) -> NDArray[np.float32]:
        llama.eval([next(tokens)], next(positions))
        return np.zeros(1, np.float32)

    return decode(step, 0, count)


CHILDREN = {"edgekit": run_edgekit, "llama_cpp": run_llama}


def report(
    limit: Limit, weights: Weights, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> None:
    for item in (*ours, *theirs):
        if "failed" in item:
            print(f"failed: {item['failed']}")
    predicted = median(ours, "predicted_read_bytes_per_token")
    read, their_read = (median(arm, "read_bytes_per_token") for arm in (ours, theirs))
    speed, their_speed = (median(arm, "tokens_per_s") for arm in (ours, theirs))
    hits = "no hits, other weights are read too"
    if predicted <= weights.used_expert_bytes:
        predicted_hits = 1 - predicted / weights.used_expert_bytes
        hits = f"hits {predicted_hits:.1%} {1 - read / weights.used_expert_bytes:.1%}"
    print(
        f"{limit.name:9s} {limit.memory_bytes / 1e6:6.1f} MB: {hits}, read {predicted / 1e6:.2f} "
        f"{read / 1e6:.2f} MB/token (llama.cpp {their_read / 1e6:.2f}), {speed:.1f} tok/s "
        f"(llama.cpp {their_speed:.1f}, {speed / their_speed:.1f}x; possible "
        f"{median(ours, 'possible_tokens_per_s'):.1f}), same bits: "
        f"{all(item.get('same_bits') for item in ours)}",
        flush=True,
    )


def measure(
    limit: Limit, path: Path, arguments: argparse.Namespace, whole: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Take turns; what is possible comes from the storage's rate just before each run."""
    ours, theirs = [], []
    for _ in range(arguments.repeats):
        rate = run("disk", path, 0, 0)["bytes_per_s"]
        item = run_arm("edgekit", path, limit.memory_bytes, arguments.tokens)
        if "failed" not in item:
            disk = rate / max(item["predicted_read_bytes_per_token"], 1)
            item["possible_tokens_per_s"] = min(disk, whole["tokens_per_s"])
            item["same_bits"] = item["digest"] == whole["digest"]
        ours.append(item)
        theirs.append(run_arm("llama_cpp", path, limit.memory_bytes, arguments.tokens))
    return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--memory", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    path = arguments.model or random_model()
    if arguments.child is not None:
        found = CHILDREN[arguments.child](path, arguments.memory, arguments.tokens)
        print(json.dumps(found))
        return
    weights = weights_of(path)
    whole = run_arm("edgekit", path, 0, arguments.tokens)
    print(
        f"{path.name}: {path.stat().st_size / 1e6:.0f} MB, a token touches "
        f"{weights.touched_bytes / 1e6:.1f} MB, {weights.used_expert_bytes / 1e6:.1f} of it "
        f"experts of {weights.expert_bytes / 1e6:.2f} MB; "
        f"in memory {whole['tokens_per_s']:.1f} tok/s",
        flush=True,
    )
    for limit in limits(path, weights):
        report(limit, weights, *measure(limit, path, arguments, whole))


if __name__ == "__main__":
    main()
