"""A model larger than its memory: ours against llama.cpp's memory map, under a real limit.

    python -m tests.benchmarks.bench_streaming [MODEL.gguf] [--repeats 3] [--tokens 24]

Without a file, a model of TinyLlama-1.1B's shape with random Q4_0 weights is written to the
temporary folder (620 MB). Every run is a process in a control group whose limit counts the page
cache too; before each run the file is dropped from the cache, and the rate of the storage (1 MiB
reads past the cache into huge pages, two at a time, beside a thread that reads memory) is
measured. Arms take turns; one thread. llama.cpp maps the file and does not repack weights: with
repacking it is killed below the model's size.

Columns: limit; tokens per second of both and the ratio of the medians; bytes read per token of
both, ours predicted; speed predicted from the storage's rate just before, and from memory's speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.bench_language_model import random_model
from tests.benchmarks.memory_cap import capped, forget_pages, run_in

SHARES = (0.84, 0.67, 0.50)
PROCESS_BYTES = 50_000_000
"""What a process may take beside weights in the bound on bytes read."""
LLAMA_TOKENS = 6

Runs = dict[str, list[dict[str, Any]]]


def run(arm: str, path: Path, cap_bytes: int, tokens: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.streaming_child"]
    command += [arm, str(path), str(cap_bytes), str(tokens)]
    forget_pages(path)
    if cap_bytes:
        with capped(cap_bytes) as group:
            done = run_in(group, command)
    else:
        done = run_in(None, command)
    if done.returncode:
        return {"failed": f"exit {done.returncode} {done.stderr.strip()[-200:]}"}
    return dict(json.loads(done.stdout))


def median(runs: list[dict[str, Any]], key: str) -> float:
    values = [item[key] for item in runs if key in item]
    return statistics.median(values) if values else float("nan")


def measure(path: Path, cap_bytes: int, repeats: int, tokens: int, whole: dict[str, Any]) -> Runs:
    """Take turns; what is predicted comes from the storage's rate just before each run."""
    runs: Runs = {"edgekit": [], "llama_cpp": []}
    for _ in range(repeats):
        rate = run("disk", path, cap_bytes, 0)["bytes_per_s"]
        ours = run("edgekit", path, cap_bytes, tokens)
        if "failed" not in ours:
            disk = rate / ours["predicted_read_bytes_per_token"]
            ours["predicted_tokens_per_s"] = min(disk, whole["tokens_per_s"])
            ours["share_of_possible"] = ours["tokens_per_s"] / ours["predicted_tokens_per_s"]
            ours["same_bits"] = ours["digest"] == whole["digest"]
        ours["storage_bytes_per_s"] = rate
        runs["edgekit"].append(ours)
        runs["llama_cpp"].append(run("llama_cpp", path, cap_bytes, LLAMA_TOKENS))
    return runs


def report(share: float, cap_bytes: int, runs: Runs) -> None:
    ours, theirs = runs["edgekit"], runs["llama_cpp"]
    for item in (*ours, *theirs):
        if "failed" in item:
            print(f"failed: {item['failed']}")
    speed, their_speed = median(ours, "tokens_per_s"), median(theirs, "tokens_per_s")
    read, their_read = (median(arm, "read_bytes_per_token") for arm in (ours, theirs))
    bound = 1.05 * (median(ours, "touched_bytes_per_token") - (cap_bytes - PROCESS_BYTES))
    print(
        f"{share:.0%} ({cap_bytes / 1e6:.0f} MB): {speed:.2f} : {their_speed:.2f} tok/s "
        f"({speed / their_speed:.2f}x), read {read / 1e6:.1f} : {their_read / 1e6:.1f} MB/token "
        f"({their_read / read:.1f}x fewer; bound {bound / 1e6:.1f}, predicted "
        f"{median(ours, 'predicted_read_bytes_per_token') / 1e6:.1f}), storage "
        f"{median(ours, 'storage_bytes_per_s') / 1e6:.0f} MB/s, "
        f"predicted {median(ours, 'predicted_tokens_per_s'):.2f} tok/s, "
        f"{median(ours, 'share_of_possible'):.0%} of what storage and memory allow, same bits: "
        f"{all(item.get('same_bits') for item in ours)}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=24)
    arguments = parser.parse_args()
    path = arguments.model or random_model()
    size_bytes = path.stat().st_size
    whole = run("edgekit", path, 0, arguments.tokens)
    print(f"{path.name}: {size_bytes / 1e6:.0f} MB, in memory {whole['tokens_per_s']:.2f} tok/s")
    for share in SHARES:
        cap_bytes = int(share * size_bytes)
        report(
            share, cap_bytes, measure(path, cap_bytes, arguments.repeats, arguments.tokens, whole)
        )


if __name__ == "__main__":
    main()
