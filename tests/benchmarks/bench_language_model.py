"""The native language-model engine against llama.cpp, one thread, in one run.

    python -m tests.benchmarks.bench_language_model [MODEL.gguf] [--prompt 512] [--tokens 32]

Without a file, a model of TinyLlama-1.1B's shape with random Q4_0 weights is written to the
temporary folder (scripts/make_random_language_model.py, 620 MB). Both engines hold the model in
memory and take turns token by token and prompt by prompt, so that other load on the machine meets
both; llama.cpp runs with and without its repacked weights, and the better of the two counts.
Ratios are medians of paired times; "cpu" is processor time, which other load disturbs less than
"wall". Memory and time to first token are of a process each. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.language.engine import EngineSession, open_model
from edgekit.runtime.language.process_memory import peak_process_bytes

ROOT = Path(__file__).resolve().parents[2]
CONTEXT = 640
Timed = dict[str, float]


class LlamaCpp:
    """llama.cpp through its C interface: token ids in, logits computed.

    Parameters
    ----------
    path : Path
    repack : bool
        Whether weights are copied in the order of its fastest kernels (its default).
    """

    def __init__(self, path: Path, *, repack: bool) -> None:
        import llama_cpp

        self.api = llama_cpp
        llama_cpp.llama_backend_init()
        settings = llama_cpp.llama_model_default_params()
        settings.use_extra_bufts = repack
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), settings)
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = CONTEXT
        options.n_batch = options.n_ubatch = 512
        options.n_threads = options.n_threads_batch = 1
        self.context = llama_cpp.llama_init_from_model(self.model, options)

    def eval(self, tokens: Sequence[int], position: int) -> None:
        """Evaluate tokens; logits of the last one."""
        api = self.api
        batch = api.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = int(token)
            batch.pos[index] = position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = index == len(tokens) - 1
        status = api.llama_decode(self.context, batch)
        api.llama_batch_free(batch)
        assert status == 0, f"llama_decode returned {status}"

    def clear(self) -> None:
        """Forget all tokens."""
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def close(self) -> None:
        """Give the memory back."""
        self.api.llama_free(self.context)
        self.api.llama_model_free(self.model)


def timed(work: Callable[[], object]) -> Timed:
    """Processor and wall time of one call, seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def compare(theirs: list[Timed], ours: list[Timed], tokens: int) -> dict[str, Any]:
    """Tokens per second of both, and the median of the paired ratios (above 1: ours is faster)."""
    row: dict[str, Any] = {}
    for clock in ("cpu", "wall"):
        row[clock] = {
            "llama_cpp_tokens_per_s": tokens / statistics.median(t[clock] for t in theirs),
            "edgekit_tokens_per_s": tokens / statistics.median(t[clock] for t in ours),
            "ratio": statistics.median(
                their[clock] / our[clock] for their, our in zip(theirs, ours, strict=True)
            ),
        }
    return row


def decode(llama: LlamaCpp, session: EngineSession, tokens: list[int]) -> dict[str, Any]:
    """Evaluate one token at a time, in turns, after a prompt of 8."""
    llama.clear()
    session.truncate(0)
    llama.eval(tokens[:8], 0)
    session.eval(tokens[:8])
    theirs, ours = [], []
    for position, token in enumerate(tokens[8:], 8):
        theirs.append(timed(lambda t=token, p=position: llama.eval([t], p)))  # type: ignore[misc]
        ours.append(timed(lambda t=token: session.eval([t])))  # type: ignore[misc]
    return compare(theirs, ours, 1)


def prefill(
    llama: LlamaCpp, session: EngineSession, prompt: list[int], rounds: int
) -> dict[str, Any]:
    """Evaluate a whole prompt, in turns."""
    theirs, ours = [], []
    for _ in range(rounds):
        llama.clear()
        session.truncate(0)
        theirs.append(timed(lambda: llama.eval(prompt, 0)))
        ours.append(timed(lambda: session.eval(prompt)))
    return compare(theirs, ours, len(prompt))


def first_token(engine: str, path: Path, tokens: list[int]) -> dict[str, float]:
    """Load, read a prompt, give the first token: seconds and added peak bytes of this process."""
    if engine == "llama_cpp":
        import llama_cpp  # noqa: F401 - the library itself is not the model
    before_bytes = peak_process_bytes()
    start = time.perf_counter()
    if engine == "edgekit":
        model = open_model(path)
        loaded = model.load(context=CONTEXT)
        session = loaded.session()
        load_s = time.perf_counter() - start
        session.eval(tokens)
    else:
        llama = LlamaCpp(path, repack=True)
        load_s = time.perf_counter() - start
        llama.eval(tokens, 0)
    seconds = time.perf_counter() - start
    return {
        "load_s": load_s,
        "time_to_first_token_s": seconds,
        "added_memory_bytes": peak_process_bytes() - before_bytes,
    }


def first_token_in_child(engine: str, path: Path, prompt: int) -> dict[str, float]:
    """Run :func:`first_token` in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_language_model", str(path)]
    done = subprocess.run(
        [*command, "--first-token", engine, "--prompt", str(prompt)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def random_model() -> Path:
    """Path of the random model, written where it is not there yet."""
    path = Path(tempfile.gettempdir()) / "edgekit-bench" / "tinyllama-1.1b-q4_0.gguf"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        script = ROOT / "scripts" / "make_random_language_model.py"
        subprocess.run([sys.executable, str(script), str(path)], check=True, stdout=sys.stderr)
    return path


def measure(path: Path, prompt: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Measure everything."""
    model = open_model(path)
    generator = np.random.default_rng(0)
    ids = [int(t) for t in generator.integers(300, model.facts.vocabulary_size, prompt + tokens)]
    report: dict[str, Any] = {
        "model": path.name,
        "file_bytes": path.stat().st_size,
        "machine": {"processor": platform.machine(), "system": platform.system()},
        "threads": 1,
        "prompt_tokens": prompt,
        "llama_cpp": {},
    }
    with model, model.load(context=CONTEXT) as engine, engine.session() as session:
        report["kernels"] = engine.kernels
        report["planned_bytes"] = engine.budget.total_bytes
        for name, repack in (("repacked", True), ("as_in_file", False)):
            llama = LlamaCpp(path, repack=repack)
            report["llama_cpp"][name] = {
                "decode": decode(llama, session, ids[: tokens + 8]),
                "prefill": prefill(llama, session, ids[:prompt], rounds),
            }
            llama.close()
    for phase in ("decode", "prefill"):
        rows = [row[phase]["cpu"]["ratio"] for row in report["llama_cpp"].values()]
        report[f"{phase}_ratio_against_best"] = min(rows)
    report["first_token"] = {
        engine: first_token_in_child(engine, path, prompt) for engine in ("edgekit", "llama_cpp")
    }
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description="language models: edgekit and llama.cpp")
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3, help="of the prompt")
    parser.add_argument("--first-token", choices=["edgekit", "llama_cpp"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    path = arguments.model or random_model()
    if arguments.first_token:
        tokens = [int(t) for t in np.random.default_rng(0).integers(300, 10000, arguments.prompt)]
        print(json.dumps(first_token(arguments.first_token, path, tokens)))
        return
    print(json.dumps(measure(path, arguments.prompt, arguments.tokens, arguments.rounds), indent=1))


if __name__ == "__main__":
    main()
