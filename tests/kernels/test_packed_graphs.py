"""Networks whose activations have four and two bits, in arenas and whole: the same outputs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pytest

from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.converters.quantization.bit_widths import WIDTHS, width_groups, with_bit_widths
from edgekit.converters.quantization.histograms import clip_range, observe_histograms
from edgekit.dtypes import Array
from edgekit.errors import UnsupportedOpError
from edgekit.graph import Graph
from edgekit.native import has_library
from edgekit.ops.evaluate import evaluate
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.lowering import lower
from edgekit.runtime.native import NativeRunner
from edgekit.runtime.reference import ReferenceRunner
from edgekit.schedule import schedule
from tests.narrow_networks import int8_network, samples_of

needs_library = pytest.mark.skipif(not has_library(), reason="the native core is not built")
WIDTH_ORDERS = {"4": (4,), "2": (2,), "4 8": (4, 8), "8 2": (8, 2), "2 4 8": (2, 4, 8)}


def narrowed_graph(order: str, seed: int = 0) -> Graph:
    """Return a network whose groups have widths in turn, in the order of their schedule."""
    graph = int8_network(seed)
    histograms = observe_histograms(graph, samples_of(graph))
    widths = {}
    for group, bits in zip(width_groups(graph), cycle(WIDTH_ORDERS[order]), strict=False):
        if group.can_narrow and bits != 8:
            name = group.tensors[0]
            clip = clip_range(histograms[name], graph.tensors[name], bits)
            widths[name] = (WIDTHS[bits], clip)
    return schedule(with_bit_widths(graph, widths)).graph


def assert_same(found: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@needs_library
@pytest.mark.parametrize("order", WIDTH_ORDERS)
def test_arenas_of_bytes_hold_packed_tensors(order: str) -> None:
    graph = narrowed_graph(order)
    assert any(tensor.dtype.is_packed for tensor in graph.tensors.values())
    plan = build_plan(graph, load_profile("stm32h743"), executor="native")
    portable = build_plan(graph, load_profile("rp2040"), executor="native")
    for inputs in samples_of(graph, 3, seed=5):
        expected = evaluate(graph, inputs)
        assert_same(ReferenceRunner(graph, plan).run(inputs).outputs, expected)
        for each in (plan, portable):
            assert_same(NativeRunner(graph, each).run(inputs).outputs, expected)


@needs_library
@pytest.mark.parametrize("order", ["4", "2 4 8"])
@pytest.mark.parametrize("cached", [False, True])
def test_patches_of_packed_tensors_give_the_outputs_of_whole_layers(
    order: str, cached: bool
) -> None:
    graph = narrowed_graph(order)
    stage = patch_stages(graph)[-1]
    cut = split_into_patches(graph, PatchGrid(stage, 2, 1 if cached else 2, cached, False))
    plan = build_plan(cut, load_profile("stm32h743"), executor="native")
    for inputs in samples_of(graph, 2, seed=7):
        assert_same(NativeRunner(cut, plan).run(inputs).outputs, evaluate(graph, inputs))


def test_fewer_bits_take_less_memory() -> None:
    graph = int8_network()
    narrow = narrowed_graph("4")
    arenas = [
        build_plan(each, load_profile("stm32h743"), executor="native").memories[0].lower_bound_bytes
        for each in (graph, narrow)
    ]
    assert arenas[1] < arenas[0]


def test_kernels_for_helium_refuse_packed_layers_and_say_what_to_do() -> None:
    graph = narrowed_graph("4")
    refused = [
        node
        for node in graph.nodes
        if any(graph.tensors[n].dtype.is_packed for n in (*node.inputs, *node.outputs) if n)
    ]
    assert refused
    for node in refused:
        with pytest.raises(UnsupportedOpError, match="int8"):
            lower(OpView.of(graph, node), KernelSet.CORTEX_M_MVE)
