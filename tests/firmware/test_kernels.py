"""Every int8 case of every operator on the emulated cores: equal to the reference bit for bit.

All cases of the operators' own files make one model, so that each core boots once. A new operator
is tested as soon as it has a kernel and cases.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.emitters.c_source import emit_c
from edgekit.deploy.cores import CORES
from edgekit.deploy.firmware import build_image
from edgekit.deploy.memory_layout import MemoryLayout
from edgekit.deploy.toolchain import Toolchain, zig_toolchain
from edgekit.dtypes import Array, DType
from edgekit.emulators.mcu import EmulatedBoard, output_arrays
from edgekit.emulators.qemu_board import machine_of
from edgekit.errors import UnsupportedOpError
from edgekit.graph import Graph, Node, Tensor
from edgekit.lifetimes import VIEW_OPS
from edgekit.ops import registry
from edgekit.ops.evaluate import evaluate
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.lowering import lower
from tests.single_node_graphs import graph_of

pytestmark = pytest.mark.toolchain


def int8_graphs() -> Iterator[tuple[Graph, dict[str, Array]]]:
    """Yield every case that has a kernel as a graph with its inputs."""
    for op, spec in sorted(registry().items()):
        for case in spec.cases():
            first = case.inputs[0]
            if first is None or first[0].dtype is not DType.INT8 or op in VIEW_OPS:
                continue
            graph, inputs = graph_of(op, case)
            try:
                lower(OpView.of(graph, graph.nodes[0]), KernelSet.PORTABLE)
            except UnsupportedOpError:
                continue
            if inputs:
                yield graph, inputs


def joined() -> tuple[Graph, dict[str, Array]]:
    """Return all cases side by side in one graph."""
    tensors: dict[str, Tensor] = {}
    nodes: list[Node] = []
    given: dict[str, Array] = {}
    for graph, inputs in int8_graphs():
        node = graph.nodes[0]
        own = f"{node.op}_{graph.name}"
        names = {name: f"{own}_{name}" if name else "" for name in ("", *graph.tensors)}
        tensors |= {names[n]: replace(t, name=names[n]) for n, t in graph.tensors.items()}
        given |= {names[n]: data for n, data in inputs.items() if n in graph.inputs}
        nodes.append(
            replace(
                node,
                name=own,
                inputs=tuple(names[n] for n in node.inputs),
                outputs=tuple(names[n] for n in node.outputs),
            )
        )
    outputs = tuple(name for node in nodes for name in node.outputs)
    return Graph("cases", tensors, tuple(nodes), tuple(given), outputs), given


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def check_core(name: str, folder: Path, toolchain: Toolchain) -> None:
    core = CORES[name]
    machine = machine_of(core)
    graph, inputs = joined()
    profile = load_profile("stm32h743")
    plan = build_plan(graph, profile, executor="reference", kernels=core.kernels, time_limit_s=1)
    model = emit_c(graph, plan)
    layout = MemoryLayout(machine.name, machine.flash, machine.ram, vectors=machine.vectors)
    image = build_image(model.files, core, layout, folder, toolchain=toolchain)
    run = EmulatedBoard(graph, profile, core, model, image).run([inputs])
    found, expected = output_arrays(graph, run.outputs[0]), evaluate(graph, inputs)
    assert len(found) > 100
    assert [n for n, array in found.items() if not np.array_equal(array, expected[n])] == []


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m55"])
def test_kernels_on_a_core_equal_the_reference(
    core: str, folder: Path, toolchain: Toolchain
) -> None:
    check_core(core, folder, toolchain)


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_kernels_by_the_compiler_of_the_wheel_equal_the_reference(core: str, folder: Path) -> None:
    pytest.importorskip("ziglang")
    check_core(core, folder, zig_toolchain())
