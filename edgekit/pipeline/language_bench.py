"""Speed of a language model on this computer."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from edgekit.runtime.language.session import ExecutorChoice, LoadOptions, load_language_model

PROMPT_TOKENS = 64
DECODED_TOKENS = 32


@dataclass(frozen=True, slots=True)
class TokenTiming:
    """Rates over a number of runs; times of one token in seconds."""

    executor: str
    runs: int
    min_s: float
    median_s: float
    p90_s: float
    tokens_per_s: float
    prefill_tokens_per_s: float
    read_bytes_per_token: float
    total_bytes: int


def bench_language_model(
    source: Path, *, runs: int, executor: ExecutorChoice = "auto", threads: int | None = None
) -> TokenTiming:
    """Evaluate the same prompt ``runs`` times, and decode token after token behind it.

    Parameters
    ----------
    source : Path
        Package or GGUF file.
    runs : int
    executor : {'auto', 'native', 'llama'}
    threads : int, optional

    Raises
    ------
    EdgekitError
        If the model cannot be loaded.
    """
    options = LoadOptions(executor=executor, threads=threads)
    with load_language_model(source, options) as session:
        own, size = session.executor, session.executor.vocabulary_size
        prompt = [(7 * index + 3) % size for index in range(min(PROMPT_TOKENS, own.context // 2))]
        decoded = min(DECODED_TOKENS, own.context - len(prompt))
        conversation = session.conversation()
        prefills: list[float] = []
        times: list[float] = []
        read_bytes = 0
        for run in range(runs + 1):  # the first is the warm-up
            conversation.go_back_to([-1])
            started = time.perf_counter()
            conversation.evaluate(prompt)
            prefill_s = time.perf_counter() - started
            before = conversation.read_bytes()
            for token in range(decoded):
                started = time.perf_counter()
                conversation.evaluate([token % size])
                if run:
                    times.append(time.perf_counter() - started)
            if run:
                prefills.append(prefill_s)
                read_bytes += conversation.read_bytes() - before
        conversation.close()
        budget = own.budget
    times.sort()
    return TokenTiming(
        executor=own.name,
        runs=runs,
        min_s=times[0],
        median_s=statistics.median(times),
        p90_s=times[min(len(times) - 1, round(0.9 * (len(times) - 1)))],
        tokens_per_s=1 / statistics.median(times),
        prefill_tokens_per_s=len(prompt) / statistics.median(prefills),
        read_bytes_per_token=read_bytes / len(times),
        total_bytes=budget.total_bytes if budget else 0,
    )
