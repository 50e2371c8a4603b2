"""The memory planner against its published neighbour and on problems with a known plan.

    python tests/benchmarks/bench_memory.py [--seconds 10]

Published: the instances under ``$EDGEKIT_ASSETS/memory``, beside the seconds of the MiniMalloc
solver (Moffitt, ASPLOS 2023) on one core of a 2-core x86-64 machine. Made: 20 hard problems and 100
cut from a rectangle (``scripts/make_memory_instances.py``), with a time limit each. Seconds are
wall-clock and include the greedy plans. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.memory import Buffer, plan_offsets
from edgekit.memory.csvfile import read_buffers
from edgekit.memory.planner import NO_NODE_LIMIT
from edgekit.memory.verifier import verify_offsets

CAPACITY_BYTES = 1 << 20
MINIMALLOC_SECONDS = {"C": 0.82, "D": 3.2, "G": 1.4, "J": 1.1, "K": 0.83}
HARD, RECTANGLES = 20, 100


def load_generator() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "scripts" / "make_memory_instances.py"
    spec = importlib.util.spec_from_file_location("make_memory_instances", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def solve(name: str, buffers: list[Buffer], seconds: float) -> dict[str, Any]:
    solution = plan_offsets(
        buffers, capacity_bytes=CAPACITY_BYTES, node_limit=NO_NODE_LIMIT, time_limit_s=seconds
    )
    verify_offsets(buffers, solution.offsets, capacity_bytes=solution.height_bytes)
    row = {
        "name": name,
        "buffers": len(buffers),
        "solved": solution.feasible,
        "seconds": round(solution.seconds, 3),
        "nodes": solution.nodes,
        "greedy_over_capacity": round(solution.greedy_height_bytes / CAPACITY_BYTES, 3),
    }
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def summarize(problems: Iterable[tuple[str, list[Buffer]]], seconds: float) -> dict[str, Any]:
    rows = [solve(name, buffers, seconds) for name, buffers in problems]
    return {
        "solved": sum(row["solved"] for row in rows),
        "of": len(rows),
        "median_s": statistics.median(row["seconds"] for row in rows),
        "unsolved": [row["name"] for row in rows if not row["solved"]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    seconds = parser.parse_args().seconds
    report: dict[str, Any] = {"machine": platform.machine(), "time_limit_s": seconds}
    assets = os.environ.get("EDGEKIT_ASSETS")
    if assets:
        rows = {
            name: solve(
                name,
                read_buffers(Path(assets, "memory", f"{name}.{CAPACITY_BYTES}.csv")),
                seconds,
            )
            for name in MINIMALLOC_SECONDS
        }
        report["published"] = {
            name: {**row, "minimalloc_s": MINIMALLOC_SECONDS[name]} for name, row in rows.items()
        }
        report["published_total_s"] = round(sum(row["seconds"] for row in rows.values()), 2)
        report["minimalloc_total_s"] = round(sum(MINIMALLOC_SECONDS.values()), 2)
    generator = load_generator()
    report["hard"] = summarize(generator.instances("hard", HARD), seconds)
    report["rectangle"] = summarize(generator.instances("rectangle", RECTANGLES), seconds)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
