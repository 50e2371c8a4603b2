"""Instructions by class of operator: ``python -m tests.benchmarks.bench_mcu_layers [MODEL ...]``.

Every layer of the MLPerf Tiny models (or the models named) runs alone under QEMU, on the kernels of
each core. The sums over a class, divided by its multiply-accumulates (simple operations for
``elementwise``), are ``instructions_per_mac`` of the boards' profiles: what ``convert`` estimates
with before anything is compiled.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from edgekit.converters.emitters.c_source import emit_c
from edgekit.cost.work import node_work
from edgekit.deploy.cores import CORES
from edgekit.deploy.firmware import build_image
from edgekit.deploy.memory_layout import MemoryLayout
from edgekit.emulators.mcu import EmulatedBoard
from edgekit.emulators.qemu_board import machine_of
from edgekit.graph import Graph, Node, TensorKind
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from tests.benchmarks.bench_mcu import CORE_NAMES, models
from tests.mcu_models import planned, random_inputs

CLASSES = ("conv3x3", "conv", "depthwise", "matmul", "elementwise")
PROFILE = load_profile("stm32h743")


def alone(graph: Graph, node: Node) -> Graph:
    """Return a graph of one node."""
    read = [graph.tensors[name] for name in dict.fromkeys(node.inputs) if name]
    given = [replace(t, kind=TensorKind.INPUT) for t in read if not t.is_constant]
    return graph.replace(
        nodes=(node,), tensors=given, inputs=[t.name for t in given], outputs=node.outputs
    )


def count(graph: Graph, core_name: str) -> float:
    """Return the instructions of one inference."""
    core = CORES[core_name]
    plan = build_plan(graph, PROFILE, executor="reference", kernels=core.kernels)
    machine = machine_of(core)
    layout = MemoryLayout(machine.name, machine.flash, machine.ram, vectors=machine.vectors)
    model = emit_c(graph, plan)
    with tempfile.TemporaryDirectory() as folder:
        image = build_image(model.files, core, layout, Path(folder), uses_float=model.uses_float)
        board = EmulatedBoard(graph, PROFILE, core, model, image)
        return board.run([random_inputs(graph, 0)]).instructions


def main() -> None:
    macs: Counter[str] = Counter()
    instructions: Counter[tuple[str, str]] = Counter()
    for path in models():
        graph, _ = planned(path)
        for node in graph.nodes:
            work = node_work(graph, node, None)
            if work.op_class not in CLASSES:
                continue
            single = alone(graph, node)
            macs[work.op_class] += work.macs
            for core_name in CORE_NAMES:
                counted = count(single, core_name)
                instructions[core_name, work.op_class] += round(counted)
        print(f"counted {path.stem}", file=sys.stderr, flush=True)
    print("| class | operations | " + " | ".join(CORE_NAMES) + " |")
    print("|" + "---|" * (len(CORE_NAMES) + 2))
    for name in CLASSES:
        if macs[name]:
            rates = [f"{instructions[core, name] / macs[name]:.2f}" for core in CORE_NAMES]
            print(f"| {name} | {macs[name]:,} | " + " | ".join(rates) + " |")


if __name__ == "__main__":
    main()
