"""Which tensors share bytes, and for how long they live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from edgekit.graph import Graph
from edgekit.lifetimes import PLANNED, ReusePolicy, Storage, find_storages
from edgekit.ops.kernel_set import KernelSet
from edgekit.plan import Compute, Move, Step
from tests.small_graphs import Builder, overwritable, random_graphs, square_convolution


def steps_of(graph: Graph) -> list[Compute]:
    return [Compute(node.name, "cpu", (), "ram") for node in graph.nodes]


def storages_of(graph: Graph, policy: ReusePolicy = PLANNED) -> tuple[Storage, ...]:
    return find_storages(graph, steps_of(graph), host_memory="ram", policy=policy)


def storage_of(tensor: str, storages: Sequence[Storage]) -> Storage:
    return next(s for s in storages if tensor in [value.tensor for value in s.values])


def names(storage: Storage) -> list[str]:
    return [value.tensor for value in storage.values]


def test_an_in_place_operator_takes_over_an_input_that_dies() -> None:
    b = Builder()
    made = b.dense(b.input("x", 1, 8), 8, 8)
    positive = b.node("abs", made)
    storages = storages_of(b.graph(b.dense(positive, 8, 4)))
    assert names(storage_of(made, storages)) == [made, positive]


@pytest.mark.parametrize("kernels", KernelSet)
def test_a_convolution_that_overwrites_its_input_keeps_rows_of_it(kernels: KernelSet) -> None:
    case = square_convolution()
    graph = overwritable(case)
    made = case.outputs[0].name
    storages = find_storages(graph, steps_of(graph), host_memory="ram", kernels=kernels)
    assert names(storage_of("middle", storages))[:2] == ["middle", made]
    apart = replace(graph, outputs=("middle", *graph.outputs))
    others = find_storages(apart, steps_of(apart), host_memory="ram", kernels=kernels)
    assert made not in names(storage_of("middle", others))
    row_bytes = graph.tensors["middle"].size_bytes // 6
    scratch = [storage_of("between:scratch", found).size_bytes for found in (storages, others)]
    assert scratch[0] == scratch[1] + 2 * row_bytes


def test_an_input_that_is_read_again_is_not_taken_over() -> None:
    b = Builder()
    made = b.dense(b.input("x", 1, 8), 8, 8)
    positive = b.node("abs", made)
    storages = storages_of(b.graph(b.add(b.dense(positive, 8, 8), made)))
    assert positive not in names(storage_of(made, storages))


def test_graph_inputs_and_outputs_are_never_taken_over() -> None:
    b = Builder()
    x = b.input("x", 1, 8)
    first = b.node("abs", x)
    second = b.node("abs", first)
    storages = storages_of(b.graph(first, second))
    assert names(storage_of(x, storages)) == [x]
    assert names(storage_of(first, storages)) == [first]


def test_constants_and_states_are_never_taken_over() -> None:
    b = Builder()
    x = b.input("x", 1, 8)
    c = b.constant("c", np.ones((1, 8), np.float32))
    storages = storages_of(b.graph(b.add(b.node("abs", c), x)))
    assert all("c" not in names(storage) for storage in storages)


def test_a_reshape_shares_bytes_while_its_input_lives_on() -> None:
    b = Builder()
    made = b.dense(b.input("x", 1, 8), 8, 8)
    folded = b.reshape(made, 8, 1)
    other = b.dense(made, 8, 8)
    storages = storages_of(b.graph(folded, other))
    assert names(storage_of(made, storages)) == [made, folded]


def test_a_tensor_with_a_live_view_is_not_taken_over() -> None:
    b = Builder()
    made = b.dense(b.input("x", 1, 8), 8, 8)
    view = b.reshape(made, 8, 1)
    positive = b.node("abs", made)
    storages = storages_of(b.graph(positive, b.reshape(b.node("square", view), 1, 8)))
    assert positive not in names(storage_of(made, storages))


def test_an_operator_reading_two_views_of_the_same_bytes_does_not_write_over_them() -> None:
    b = Builder()
    made = b.dense(b.input("x", 1, 4), 4, 4)
    square = b.reshape(made, 4, 1)
    total = b.node("add", b.reshape(square, 1, 4), made, activation="none")
    storages = storages_of(b.graph(total))
    assert total not in names(storage_of(made, storages))


def test_a_tensor_added_to_itself_may_be_written_over() -> None:
    b = Builder()
    made = b.dense(b.input("x", 1, 4), 4, 4)
    total = b.add(made, made)
    assert total in names(storage_of(made, storages_of(b.graph(total))))


def test_inputs_live_from_the_start_and_outputs_to_the_end() -> None:
    b = Builder()
    x, late = b.input("x", 1, 8), b.input("late", 1, 8)
    early = b.dense(x, 8, 2)
    graph = b.graph(early, b.dense(b.dense(late, 8, 8), 8, 8))
    storages = storages_of(graph)
    assert storage_of(late, storages).first_step == 0
    assert storage_of(early, storages).last_step == len(graph.nodes) - 1


def test_an_output_that_nothing_reads_lives_for_its_step() -> None:
    b = Builder()
    x = b.input("x", 1, 8)
    unused = b.dense(x, 8, 8)
    kept = b.dense(x, 8, 8)
    storage = storage_of(unused, storages_of(b.graph(kept)))
    assert (storage.first_step, storage.last_step) == (0, 0)


def test_a_moved_tensor_has_a_buffer_in_each_memory() -> None:
    b = Builder()
    x = b.input("x", 1, 8)
    made = b.dense(x, 8, 8)
    graph = b.graph(b.node("abs", made))
    steps: list[Step] = [
        Compute(graph.nodes[0].name, "cpu", (), "ram"),
        Move(made, "ram", "vram", "pcie", 32),
        Compute(graph.nodes[1].name, "gpu", (), "vram"),
        Move(graph.outputs[0], "vram", "ram", "pcie", 32),
    ]
    storages = find_storages(graph, steps, host_memory="ram")
    homes = {(s.memory, s.first_step, s.last_step) for s in storages if made in names(s)}
    assert homes == {("ram", 0, 1), ("vram", 1, 3)}


@pytest.mark.parametrize("op", ["abs", "square"])
def test_a_policy_limits_what_works_in_place(op: str) -> None:
    b = Builder()
    made = b.dense(b.input("x", 1, 8), 8, 8)
    changed = b.node(op, made)
    graph = b.graph(b.dense(changed, 8, 2))
    policy = ReusePolicy(in_place_ops=frozenset({"abs"}))
    shared = changed in names(storage_of(made, storages_of(graph, policy)))
    assert shared == (op == "abs")


def test_a_caller_that_owns_inputs_and_outputs_keeps_them_throughout() -> None:
    b = Builder()
    x = b.input("x", 1, 8)
    out = b.node("abs", b.dense(b.dense(x, 8, 8), 8, 8))
    graph = b.graph(out)
    storages = storages_of(graph, ReusePolicy(caller_owns_io=True))
    for name in (x, out):
        storage = storage_of(name, storages)
        assert names(storage) == [name]
        assert (storage.first_step, storage.last_step) == (0, len(graph.nodes) - 1)


@given(random_graphs())
@settings(max_examples=30, deadline=None)
def test_every_computed_tensor_has_one_storage_of_its_size(graph: Graph) -> None:
    storages = storages_of(graph)
    placed = [value.tensor for storage in storages for value in storage.values]
    assert sorted(placed) == sorted({*graph.inputs, *graph.producers()})
    for storage in storages:
        assert {value.size_bytes for value in storage.values} == {storage.size_bytes}
