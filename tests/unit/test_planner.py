"""Plans: steps, moves between memories, sums, and whether they fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from edgekit.errors import MemoryBudgetError, PlacementError, PlanError
from edgekit.fit import by_memory, check_fit, exceeded_memories, fit_hint, which_devices_fit
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate
from edgekit.plan import Move, Placement, Plan
from edgekit.planner import ExecutorMemory, build_plan
from edgekit.profiles import DeviceProfile, load_profile
from edgekit.runtime.reference import ReferenceRunner
from tests.small_devices import device, processor
from tests.small_graphs import Builder, chain, random_graphs, random_inputs, wide_then_narrow

BOARD = load_profile("stm32f746")
TWO_MEMORIES = device(processor("cpu"), processor("gpu", "vram"))


def planned(graph: Graph, profile: DeviceProfile = BOARD, **options: object) -> Plan:
    return build_plan(graph, profile, executor="reference", **options)  # type: ignore[arg-type]


def too_large(width: int = 1 << 15) -> Graph:
    b = Builder("large")
    return b.graph(b.dense(b.dense(b.input("x", 1, 4), 4, 1 << 17), 1 << 17, 4))


@given(random_graphs())
@settings(max_examples=20, deadline=None)
def test_arena_lies_between_lower_bound_and_greedy(graph: Graph) -> None:
    use = planned(graph).memory(BOARD.working_memory)
    assert use.lower_bound_bytes <= use.arena_bytes <= use.greedy_bytes


@pytest.mark.parametrize("alignment_bytes", [1, 4, 16, 64])
def test_offsets_are_aligned(alignment_bytes: int) -> None:
    plan = planned(wide_then_narrow(), alignment_bytes=alignment_bytes)
    assert all(buffer.offset_bytes % alignment_bytes == 0 for buffer in plan.buffers)


def test_the_same_graph_gives_the_same_plan() -> None:
    assert planned(wide_then_narrow()) == planned(wide_then_narrow())


def test_firmware_keeps_constants_in_flash_and_activations_in_ram() -> None:
    graph = chain()
    plan = planned(graph)
    ram, flash = plan.memory(BOARD.working_memory), plan.memory(BOARD.constants_memory)
    assert (ram.weights_bytes, flash.weights_bytes) == (0, graph.weights_bytes)
    assert flash.arena_bytes == 0


def test_executors_take_memory_of_their_own() -> None:
    memory = ExecutorMemory(weights_bytes=1000, overhead_bytes=500, load_bytes=10_000)
    use = planned(chain(), TWO_MEMORIES, executor_memory=memory).memory("ram")
    assert use.weights_bytes == 1000
    assert use.peak_bytes == 1000 + 500 + max(10_000, use.arena_bytes)


def alternating(graph: Graph) -> list[Placement]:
    names = ("cpu", "gpu")
    return [Placement(node.name, names[i % 2], "test") for i, node in enumerate(graph.nodes)]


def test_a_tensor_that_changes_memory_is_moved_once() -> None:
    b = Builder()
    made = b.dense(b.input("x", 1, 8), 8, 8)
    graph = b.graph(b.add(b.dense(made, 8, 8), b.dense(made, 8, 8)))
    on = {"cpu": graph.nodes[:1], "gpu": graph.nodes[1:]}
    placement = [Placement(n.name, where, "test") for where, nodes in on.items() for n in nodes]
    plan = planned(graph, TWO_MEMORIES, placement=placement)
    moves = [(s.tensor, s.target_memory) for s in plan.steps if isinstance(s, Move)]
    assert moves == [(made, "vram"), (graph.outputs[0], "ram")]


@given(random_graphs())
@settings(max_examples=20, deadline=None)
def test_two_memories_give_the_same_outputs_as_one(graph: Graph) -> None:
    inputs = random_inputs(graph)
    plan = planned(graph, TWO_MEMORIES, placement=alternating(graph))
    outputs = ReferenceRunner(graph, plan).run(inputs).outputs
    for name, expected in evaluate(graph, inputs).items():
        np.testing.assert_array_equal(outputs[name], expected)


def test_a_memory_without_a_link_cannot_be_used() -> None:
    lonely = device(processor("cpu"), processor("gpu", "island"))
    graph = chain()
    with pytest.raises(PlacementError, match="no link"):
        planned(graph, lonely, placement=alternating(graph))


def test_a_node_without_a_processor_is_refused() -> None:
    with pytest.raises(PlacementError, match="abs_1"):
        planned(chain(), placement=[Placement("fully_connected_0", "cpu", "test")])


def test_a_plan_that_fits_passes() -> None:
    plan = planned(chain())
    check_fit(plan)
    assert exceeded_memories(plan) == []


def test_what_does_not_fit_is_named_with_memory_step_and_both_sizes() -> None:
    plan = planned(too_large())
    with pytest.raises(MemoryBudgetError) as caught:
        check_fit(plan, hint="It would fit nothing.")
    error = caught.value
    assert error.memory in (BOARD.working_memory, BOARD.constants_memory)
    use = plan.memory(error.memory)
    assert (error.required_bytes, error.available_bytes) == (use.peak_bytes, use.available_bytes)
    for memory in (BOARD.working_memory, BOARD.constants_memory):
        assert memory in str(error)
    assert str(error).endswith("It would fit nothing.")


def test_the_hint_names_devices_in_order_until_there_are_enough() -> None:
    profiles = [load_profile(name) for name in ("nano33ble", "stm32h743", "pixel8")]
    plans = {profile.name: planned(too_large(), profile) for profile in profiles}
    fitting = [name for name, plan in plans.items() if not exceeded_memories(plan)]
    assert fitting
    found = which_devices_fit(profiles, lambda profile: plans[profile.name], limit=1)
    assert found == (fitting[0],)
    assert fitting[0] in fit_hint(found)


def test_devices_that_cannot_run_the_model_are_passed_over() -> None:
    def refuse(_: DeviceProfile) -> Plan:
        raise PlanError("no")

    assert which_devices_fit([BOARD], refuse) == ()
    assert "no device" in fit_hint(())


def test_alternatives_of_the_same_kind_come_first_and_grow() -> None:
    names = ("pixel8", "stm32h743", "nano33ble", "stm32f746")
    tried = [p.name for p in by_memory([load_profile(n) for n in names], BOARD)]
    assert tried == ["nano33ble", "stm32h743", "pixel8"]
