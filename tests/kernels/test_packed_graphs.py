"""Networks whose activations have four and two bits, in arenas and whole: the same outputs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pytest

from edgekit.converters.emitters.c_source import emit_c
from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.converters.quantization.bit_widths import (
    NARROW_WEIGHTS,
    WIDTHS,
    width_groups,
    with_bit_widths,
)
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
WIDTH_ORDERS = {"8": (8,), "4": (4,), "2": (2,), "4 8": (4, 8), "8 2": (8, 2), "2 4 8": (2, 4, 8)}


def narrowed_graph(order: str, seed: int = 0, weight_bits: int | None = None) -> Graph:
    """Return a network whose groups have widths in turn, in the order of their schedule."""
    graph = int8_network(seed)
    histograms = observe_histograms(graph, samples_of(graph))
    widths = {}
    for group, bits in zip(width_groups(graph), cycle(WIDTH_ORDERS[order]), strict=False):
        if group.can_narrow and bits != 8:
            name = group.tensors[0]
            clip = clip_range(histograms[name], graph.tensors[name], bits)
            widths[name] = (WIDTHS[bits], clip)
    layers = {node.name: weight_bits for node in graph.nodes if node.op in NARROW_WEIGHTS}
    bits_of = {name: bits for name, bits in layers.items() if bits is not None}
    return schedule(with_bit_widths(graph, widths, bits_of)).graph


def assert_same(found: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@needs_library
@pytest.mark.parametrize("weight_bits", [None, 4, 2])
@pytest.mark.parametrize("order", WIDTH_ORDERS)
def test_arenas_of_bytes_hold_packed_tensors(order: str, weight_bits: int | None) -> None:
    graph = narrowed_graph(order, weight_bits=weight_bits)
    assert order == "8" or any(tensor.dtype.is_packed for tensor in graph.tensors.values())
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


@pytest.mark.parametrize("weight_bits", [4, 2])
def test_two_narrow_weights_share_a_byte_of_flash(weight_bits: int) -> None:
    """Padding to blocks of four aside; two bits are stored as four are."""
    wide, narrow = int8_network(), narrowed_graph("8", weight_bits=weight_bits)
    emitted, planned, weights = [], [], []
    for graph in (wide, narrow):
        plan = build_plan(graph, load_profile("stm32h743"), executor="reference")
        planned.append(plan.memory("flash").weights_bytes)
        emitted.append(emit_c(graph, plan).weights_bytes)
        layers = (node for node in graph.nodes if node.op in NARROW_WEIGHTS)
        weights.append(sum(graph.tensors[node.inputs[1]].stored_bytes for node in layers))
    assert planned == [wide.weights_bytes, narrow.weights_bytes]
    assert weights[1] == pytest.approx(weights[0] / 2, rel=0.05)
    assert emitted[0] - emitted[1] == pytest.approx(weights[0] / 2, rel=0.05)


def test_kernels_for_helium_read_narrow_weights_by_the_byte() -> None:
    wide, narrow = int8_network(), narrowed_graph("8", weight_bits=4)
    sizes = [
        build_plan(
            graph,
            load_profile("stm32h743"),
            executor="reference",
            kernels=KernelSet.CORTEX_M_MVE,
        )
        .memory("flash")
        .weights_bytes
        for graph in (wide, narrow)
    ]
    assert sizes[0] == sizes[1]
    for node in narrow.nodes:
        if node.op in NARROW_WEIGHTS:
            (call,) = lower(OpView.of(narrow, node), KernelSet.CORTEX_M_MVE)
            assert call.function.endswith("_s8")


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
