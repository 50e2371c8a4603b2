"""Predicted instructions: more work takes more of them, whatever the widths."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.converters.calibration.ranges import calibrate
from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.converters.quantization.bit_widths import WIDTHS, width_groups, with_bit_widths
from edgekit.converters.quantization.static import quantize_static
from edgekit.cost.instruction_rates import RATES
from edgekit.cost.instructions import amounts, instructions, kind_of, node_instructions
from edgekit.cost.work import node_work
from edgekit.dtypes import DType
from edgekit.graph import Graph, Node, Tensor
from edgekit.ops import int8
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from tests.narrow_networks import block_network, samples_of


def network(side: int = 16, bits: int = 8) -> Graph:
    graph = block_network(side=side)
    graph = quantize_static(graph, calibrate(graph, samples_of(graph, 2)))
    names = [g.tensors[0] for g in width_groups(graph) if bits in g.narrow_bits]
    widths = {name: (WIDTHS[bits], int8.quantization_of(graph.tensors[name])) for name in names}
    return with_bit_widths(graph, widths)


@pytest.mark.parametrize("kernels", list(RATES), ids=lambda kernels: str(kernels.value))
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_every_amount_of_work_has_a_rate(kernels: KernelSet, bits: int) -> None:
    graph = network(bits=bits)
    grid = PatchGrid(patch_stages(graph)[3], 3, 1, cached=True)
    for node in split_into_patches(graph, grid).nodes:
        view = OpView.of(split_into_patches(graph, grid), node)
        kind = kind_of(view)
        if kind != "view":
            assert set(amounts(view)) <= set(RATES[kernels][kind])
            assert all(RATES[kernels][kind][what] >= 0 for what in amounts(view))


@pytest.mark.parametrize("kernels", list(RATES), ids=lambda kernels: str(kernels.value))
def test_larger_images_and_what_is_computed_twice_take_more(kernels: KernelSet) -> None:
    whole = sum(instructions(network(), kernels).values())
    assert sum(instructions(network(side=32), kernels).values()) > 2 * whole
    stage = patch_stages(network())[3]
    patched = [
        sum(instructions(split_into_patches(network(), PatchGrid(stage, n, n)), kernels).values())
        for n in (2, 4)
    ]
    assert whole < patched[0] < patched[1]


@pytest.mark.parametrize("kernels", list(RATES), ids=lambda kernels: str(kernels.value))
def test_only_sums_of_one_width_are_looked_up(kernels: KernelSet) -> None:
    def taken(first: int, second: int, output: int) -> float:
        image = Tensor("x", (1, 24, 24, 16), DType.INT8)
        x, y, z = (replace(image, dtype=WIDTHS[bits]) for bits in (first, second, output))
        return node_instructions(OpView(Node("a", "add", ("x", "y"), ("z",)), (x, y), (z,)), rates)

    rates = RATES[kernels]
    assert taken(4, 4, 4) < taken(8, 8, 8)
    assert taken(4, 8, 4) == taken(4, 8, 8) == taken(8, 8, 4) == taken(8, 8, 8)


def test_what_computes_nothing_takes_nothing() -> None:
    graph = network()
    views = [node for node in graph.nodes if kind_of(OpView.of(graph, node)) == "view"]
    counts = instructions(graph, KernelSet.CORTEX_M_DSP)
    assert all(counts[node.name] == 0 for node in views)
    assert all(count > 0 for name, count in counts.items() if name not in {v.name for v in views})


def test_the_time_of_narrow_layers_is_that_of_int8_times_a_factor() -> None:
    wide, narrow = network(), network(bits=4)
    for one, other in zip(wide.nodes, narrow.nodes, strict=True):
        view = OpView.of(narrow, other)
        tensors = [tensor for tensor in (*view.inputs, *view.outputs) if tensor is not None]
        work = node_work(narrow, other)
        assert node_work(wide, one).width_factor == 1.0
        if not any(tensor.dtype.is_packed for tensor in tensors):
            assert work.width_factor == 1.0
        else:
            assert 0.0 < work.width_factor < 3.0
    assert any(node_work(narrow, node).width_factor != 1.0 for node in narrow.nodes)
