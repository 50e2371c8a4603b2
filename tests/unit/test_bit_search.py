"""Bit operations, and the search for widths: scores, lambda, the memory budget."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.converters.partitioning.patch_search import live_peak_bytes
from edgekit.converters.quantization.bit_search import BitWidths, search_bit_widths
from edgekit.converters.quantization.bit_widths import Width, width_groups, with_bit_widths
from edgekit.converters.quantization.histograms import Histogram, observe_histograms
from edgekit.cost.bit_operations import bit_operations, node_bit_operations
from edgekit.errors import CalibrationError, PlanError, UsageError
from edgekit.graph import Graph
from edgekit.ops import spec_of
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from tests.narrow_networks import block_network, int8_network, samples_of

GRAPH = int8_network()
SEEN = observe_histograms(GRAPH, samples_of(GRAPH))
LAMBDAS = st.floats(0.0, 1.0)


def search(lambda_: float, **options: object) -> BitWidths:
    return search_bit_widths(GRAPH, SEEN, lambda_=lambda_, **options)  # type: ignore[arg-type]


def peak(graph: Graph) -> int:
    return live_peak_bytes(graph, KernelSet.PORTABLE)


def test_bit_operations_weigh_products_by_both_widths() -> None:
    macs = {
        node.name: spec_of(node).macs(OpView.of(GRAPH, node))
        for node in GRAPH.nodes
        if node.op in ("conv2d", "depthwise_conv2d", "fully_connected")
    }
    assert node_bit_operations(GRAPH) == {name: 64 * count for name, count in macs.items()}
    assert bit_operations(block_network()) == 16 * bit_operations(GRAPH)
    weights = {node.name: 4 for node in GRAPH.nodes if node.op.endswith("conv2d")}
    narrow = node_bit_operations(with_bit_widths(GRAPH, {}, weights))
    assert all(narrow[name] == 32 * macs[name] for name in weights)


@settings(deadline=None, max_examples=8)
@given(LAMBDAS)
def test_every_group_has_the_width_of_its_greatest_score(lambda_: float) -> None:
    found = search(lambda_)
    rows: dict[str, list[tuple[float, int]]] = {}
    for row in found.scores:
        assert 0.0 <= row.omega <= 1.0
        assert 0.0 <= row.phi <= 1.0
        expected = -lambda_ * row.omega + (1 - lambda_) * row.phi
        assert row.score == pytest.approx(expected)
        rows.setdefault(row.group, []).append((row.score, row.bits))
    assert {group: max(scored)[1] for group, scored in rows.items()} == dict(found.bits)
    assert found.bit_operations == bit_operations(with_bit_widths(GRAPH, found.widths))


@settings(deadline=None, max_examples=8)
@given(LAMBDAS, LAMBDAS)
def test_a_greater_lambda_never_saves_more(one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert search(less).bit_operations <= search(more).bit_operations


def test_the_ends_of_lambda() -> None:
    assert not search(1.0).widths
    multiplied = {row.group for row in search(0.0).scores if row.phi > 0}
    assert {group for group, bits in search(0.0).bits.items() if bits == 2} == multiplied


def test_only_what_is_allowed_is_narrowed() -> None:
    groups = [group for group in width_groups(GRAPH) if group.can_narrow]
    chosen = groups[1].tensors
    found = search(0.0, allowed=chosen)
    assert set(found.bits) == {chosen[0]}
    assert all(bits != 2 for bits in search(0.0, bits=(4,)).bits.values())


@settings(deadline=None, max_examples=6)
@given(LAMBDAS, st.floats(0.0, 1.0))
def test_a_budget_is_met_with_nothing_narrower_than_needed(lambda_: float, share: float) -> None:
    whole = peak(GRAPH)
    least = peak(with_bit_widths(GRAPH, _narrowest()))
    budget = int(least + share * (whole - least))
    free = search(lambda_)
    found = search(lambda_, budget_bytes=budget, peak_bytes=peak)
    assert found.peak_bytes == peak(with_bit_widths(GRAPH, found.widths))
    assert found.peak_bytes <= budget
    assert all(found.bits[group] <= free.bits[group] for group in free.bits)
    if peak(with_bit_widths(GRAPH, free.widths)) <= budget:
        assert dict(found.bits) == dict(free.bits)


def _narrowest() -> dict[str, Width]:
    rows = search(0.5).scores
    return {row.group: row.width for row in rows if row.bits == 2}


def test_a_budget_out_of_reach_says_what_is_reached() -> None:
    least = peak(with_bit_widths(GRAPH, _narrowest()))
    with pytest.raises(PlanError, match=f"{least} bytes are reached, of a budget of 10"):
        search(0.5, budget_bytes=10, peak_bytes=peak)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        search(1.5)
    with pytest.raises(UsageError, match="widest first"):
        search(0.5, bits=(2, 4))
    with pytest.raises(UsageError, match="budget needs"):
        search(0.5, budget_bytes=100)
    nothing: Mapping[str, Histogram] = {}
    with pytest.raises(CalibrationError, match="no histogram"):
        search_bit_widths(GRAPH, nothing, lambda_=0.5)
