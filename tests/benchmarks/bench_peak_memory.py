"""Table of planned peak memory: ``python tests/benchmarks/bench_peak_memory.py [MODEL ...]``.

For each model: activations as planned, the lower bound (largest sum of live bytes), whether the
plan is proven smallest, what the best greedy plan needs, and the sum in the order that the file
gives. Without arguments: every TensorFlow Lite and ONNX model below ``EDGEKIT_ASSETS``.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edgekit.converters.importers import load_model
from edgekit.errors import ModelError
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.schedule import schedule
from edgekit.shapes import bind_dims

DEVICE = "stm32h743"
COLUMNS = ("model", "nodes", "arena", "bound", "optimal", "greedy", "given order", "seconds")


def models() -> Iterator[Path]:
    if sys.argv[1:]:
        yield from (Path(name) for name in sys.argv[1:])
        return
    folder = os.environ.get("EDGEKIT_ASSETS")
    if not folder:
        sys.exit("name models, or set EDGEKIT_ASSETS")
    for pattern in ("mcu/**/*.tflite", "vision/*.onnx"):
        yield from sorted(Path(folder).glob(pattern))


def row(path: Path) -> list[str]:
    graph = bind_dims(load_model(path))
    started = time.perf_counter()
    found = schedule(graph)
    profile = load_profile(DEVICE)
    use = build_plan(found.graph, profile, executor="reference").memory(profile.working_memory)
    seconds = time.perf_counter() - started
    sizes = [f"{n:,}" for n in (use.arena_bytes, use.lower_bound_bytes)]
    proven = "yes" if use.optimal and found.optimal else "no"
    later = [f"{n:,}" for n in (use.greedy_bytes, found.given_peak_bytes)]
    return [path.stem, str(len(graph.nodes)), *sizes, proven, *later, f"{seconds:.2f}"]


def main() -> None:
    logging.disable(logging.WARNING)
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for path in models():
        try:
            print("| " + " | ".join(row(path)) + " |", flush=True)
        except ModelError as error:
            print(f"| {path.stem} | {str(error).splitlines()[0]} |")


if __name__ == "__main__":
    main()
