"""Every test case of every operator on emulated cores, all of them in one boot a core.

The cases are those of the operators' own files, and so are tolerances: int8 is exact. What tests on
the host show of instructions that are written out in C, these show of the instructions themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.emitters.c_source import emit_c
from edgekit.deploy.cores import CORES
from edgekit.deploy.firmware import build_image
from edgekit.deploy.memory_layout import MemoryLayout
from edgekit.deploy.toolchain import Toolchain, zig_toolchain
from edgekit.dtypes import Array, from_device_bytes
from edgekit.emulators.mcu import EmulatedBoard
from edgekit.emulators.qemu_board import machine_of
from edgekit.errors import UnsupportedOpError
from edgekit.graph import Graph, Node, Tensor, TensorKind
from edgekit.ops import registry
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpCase
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.lowering import lower
from tests.kernels.run_case import fresh_arrays, run_reference, view_of

pytestmark = pytest.mark.toolchain


@dataclass(frozen=True, slots=True)
class Placed:
    """A case within the graph of all cases: its node, and its inputs by their names there."""

    op: str
    case: OpCase
    node: Node
    tensors: dict[str, Tensor]
    inputs: dict[str, Array]


def placed_cases(kernels: KernelSet) -> Iterator[Placed]:
    for op, spec in registry().items():
        for case in spec.cases():
            try:
                lower(view_of(op, case), kernels)
            except UnsupportedOpError:
                continue
            yield placed(op, case)


def placed(op: str, case: OpCase) -> Placed:
    prefix = f"{op}-{case.id}-"
    given = [pair for pair in case.inputs if pair is not None]
    outputs = [replace(t, kind=TensorKind.ACTIVATION) for t in case.outputs]
    named = {
        tensor.name: replace(tensor, name=prefix + tensor.name)
        for tensor in (*(tensor for tensor, _ in given), *outputs)
    }
    view = view_of(op, case)
    node = Node(
        prefix,
        op,
        tuple(named[tensor.name].name if tensor else "" for tensor in view.inputs),
        tuple(named[tensor.name].name for tensor in outputs),
        case.attrs,
    )
    arrays = fresh_arrays(case)
    inputs = {
        named[tensor.name].name: np.asarray(array)
        for tensor, array in zip(view.inputs, arrays, strict=True)
        if tensor is not None and array is not None and tensor.kind is TensorKind.INPUT
    }
    return Placed(op, case, node, {t.name: t for t in named.values()}, inputs)


def graph_of(cases: list[Placed]) -> Graph:
    return Graph(
        "cases",
        {name: tensor for each in cases for name, tensor in each.tensors.items()},
        tuple(each.node for each in cases),
        tuple(name for each in cases for name in each.inputs),
        tuple(name for each in cases for name in each.node.outputs),
    )


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize(
    "core_name", [pytest.param("cortex-m3", marks=pytest.mark.full), "cortex-m4", "cortex-m55"]
)
def test_every_case_on_a_core(core_name: str, tmp_path: Path, toolchain: Toolchain) -> None:
    check_core(core_name, tmp_path, toolchain)


@pytest.mark.full
@pytest.mark.usefixtures("qemu")
def test_every_case_by_the_compiler_of_the_wheel(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    check_core("cortex-m55", tmp_path, zig_toolchain())


def check_core(core_name: str, folder: Path, toolchain: Toolchain) -> None:
    core, profile = CORES[core_name], load_profile("stm32h743")
    machine = machine_of(core)
    cases = list(placed_cases(core.kernels))
    graph = graph_of(cases)
    plan = build_plan(graph, profile, executor="reference", kernels=core.kernels, time_limit_s=0.5)
    layout = MemoryLayout(machine.name, machine.flash, machine.ram, vectors=machine.vectors)
    model = emit_c(graph, plan)
    image = build_image(model.files, core, layout, folder, toolchain=toolchain)
    board = EmulatedBoard(graph, profile, core, model, image)
    inputs = {name: array for each in cases for name, array in each.inputs.items()}
    (found,) = board.run([inputs]).outputs
    outputs = dict(zip(graph.outputs, found, strict=True))
    wrong = [each.node.name for each in cases if not is_right(each, outputs)]
    assert len(cases) > 400
    assert wrong == []


def is_right(each: Placed, outputs: dict[str, bytes]) -> bool:
    expected = run_reference(each.op, each.case, zero_states=True)
    for name, array in zip(each.node.outputs, expected, strict=True):
        data, dtype = np.frombuffer(outputs[name], np.uint8), each.tensors[name].dtype
        found = from_device_bytes(data, dtype, array.shape)
        is_float = array.dtype.kind == "f"
        rtol, atol = (2e-6, each.case.tolerance) if is_float else (0, 0)
        if not np.allclose(found, array, rtol=rtol, atol=atol, equal_nan=True):
            return False
    return True
