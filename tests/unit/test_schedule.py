"""The chosen order: correct, never worse than the given one, and best where that is claimed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings

from edgekit.errors import ModelError
from edgekit.graph import Graph
from edgekit.lifetimes import find_storages, scratch_bytes
from edgekit.ops.kernel_set import KernelSet
from edgekit.plan import Compute
from edgekit.schedule import schedule
from tests.small_graphs import (
    Builder,
    chain,
    overwritable,
    random_graphs,
    residual,
    square_convolution,
    wide_then_narrow,
)


def live_peak_bytes(graph: Graph) -> int:
    """Largest sum of live bytes, from the lifetimes that plans are made of."""
    steps = [Compute(node.name, "cpu", (), "ram") for node in graph.nodes]
    storages = find_storages(graph, steps, host_memory="ram")
    return max(
        sum(s.size_bytes for s in storages if s.first_step <= step <= s.last_step)
        for step in range(len(steps))
    )


def smallest_peak_bytes(graph: Graph) -> int:
    """Best of all orders, by trying each."""
    best = live_peak_bytes(graph)
    for order in itertools.permutations(graph.nodes):
        try:
            best = min(best, live_peak_bytes(graph.replace(nodes=order)))
        except ModelError:
            continue
    return best


def test_branches_are_narrowed_one_by_one() -> None:
    found = schedule(wide_then_narrow(4))
    assert found.optimal
    assert found.peak_bytes < found.given_peak_bytes
    ops = [node.name for node in found.graph.nodes]
    assert ops != [node.name for node in wide_then_narrow(4).nodes]


def test_a_chain_keeps_its_order() -> None:
    graph = chain()
    found = schedule(graph)
    assert found.graph is graph
    assert found.optimal
    assert found.peak_bytes == found.given_peak_bytes == live_peak_bytes(graph)


def test_the_rows_that_a_convolution_keeps_are_counted() -> None:
    graph = overwritable(square_convolution(side=3))
    image_bytes = graph.tensors["middle"].size_bytes
    needed = [
        scratch_bytes(graph, graph.nodes[1], KernelSet.PORTABLE, in_place=in_place)
        for in_place in (False, True)
    ]
    assert needed[0] < needed[1] < needed[0] + image_bytes
    assert schedule(graph).peak_bytes == live_peak_bytes(graph) == image_bytes + needed[1]


@pytest.mark.parametrize("graph", [chain(), residual(), wide_then_narrow(3)], ids=lambda g: g.name)
def test_the_same_graph_gives_the_same_order(graph: Graph) -> None:
    orders = {tuple(n.name for n in schedule(graph).graph.nodes) for _ in range(3)}
    assert len(orders) == 1


@given(random_graphs(largest=5))
@settings(max_examples=25, deadline=None)
def test_a_proven_order_is_the_best_of_all(graph: Graph) -> None:
    found = schedule(graph)
    assert found.peak_bytes == live_peak_bytes(found.graph)
    if found.optimal and len(graph.nodes) <= 6:
        assert found.peak_bytes == smallest_peak_bytes(graph)


@given(random_graphs(largest=14))
@settings(max_examples=25, deadline=None)
def test_an_order_is_never_worse_than_the_given_one(graph: Graph) -> None:
    for state_limit in (2, 20_000):
        found = schedule(graph, state_limit=state_limit)
        assert found.given_peak_bytes == live_peak_bytes(graph)
        assert live_peak_bytes(found.graph) == found.peak_bytes <= found.given_peak_bytes
        assert sorted(n.name for n in found.graph.nodes) == sorted(n.name for n in graph.nodes)


def test_a_search_without_room_still_gives_an_order_and_claims_nothing() -> None:
    graph = wide_then_narrow(8)
    found = schedule(graph, state_limit=3)
    assert not found.optimal
    assert found.peak_bytes <= found.given_peak_bytes


def test_many_branches_stay_fast_by_cuts_and_free_steps() -> None:
    b = Builder()
    x = b.input("x", 1, 8)
    for _ in range(40):
        x = b.add(b.add(b.dense(x, 8, 8), b.dense(x, 8, 8)), b.dense(x, 8, 8))
    assert schedule(b.graph(x)).optimal
