"""Plans that edgekit makes are sound, and the verifier finds every way to break one."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from edgekit.errors import ExecutionError, InternalError
from edgekit.graph import Graph
from edgekit.ops import registry
from edgekit.ops.evaluate import evaluate
from edgekit.ops.kernel_set import KernelSet
from edgekit.package import plan_from_json, plan_to_json
from edgekit.plan import Compute, Move, Plan, PlannedBuffer, Repeat
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.reference import ReferenceRunner
from edgekit.verify import find_problems, verify_plan
from tests.single_node_graphs import graph_of
from tests.small_graphs import (
    Builder,
    chain,
    overwritable,
    random_graphs,
    random_inputs,
    residual,
    square_convolution,
)

BOARD = "stm32f746"


def planned(graph: Graph) -> Plan:
    return build_plan(graph, load_profile(BOARD), executor="reference")


def with_buffer(plan: Plan, index: int, **changes: object) -> Plan:
    buffers = list(plan.buffers)
    buffers[index] = replace(buffers[index], **changes)
    return replace(plan, buffers=tuple(buffers))


def index_of(plan: Plan, matches: Callable[[PlannedBuffer], bool]) -> int:
    return next(i for i, buffer in enumerate(plan.buffers) if matches(buffer))


@given(random_graphs())
@settings(max_examples=25, deadline=None)
def test_a_built_plan_is_sound(graph: Graph) -> None:
    assert list(find_problems(planned(graph), graph)) == []


def on_input(plan: Plan) -> Plan:
    """Put the input on top of what is computed from it while it lives."""
    index = index_of(plan, lambda b: b.kind == "input")
    first = index_of(plan, lambda b: b.kind == "activation" and b.first_step == 0)
    return with_buffer(plan, index, offset_bytes=plan.buffers[first].offset_bytes)


def moved(**changes: object) -> Callable[[Plan], Plan]:
    return lambda plan: with_buffer(plan, 0, **changes)


def without_buffer(plan: Plan) -> Plan:
    return replace(plan, buffers=plan.buffers[1:])


def reversed_steps(plan: Plan) -> Plan:
    return replace(plan, steps=plan.steps[::-1])


def repeated_step(plan: Plan) -> Plan:
    return replace(plan, steps=(*plan.steps, plan.steps[-1]))


def short_step_list(plan: Plan) -> Plan:
    return replace(plan, steps=plan.steps[:-1])


def foreign_step(plan: Plan) -> Plan:
    return replace(plan, steps=(Repeat(0, 1, 2), *plan.steps[1:]))


def unknown_move(plan: Plan) -> Plan:
    return replace(plan, steps=(Move("nothing", "a", "b", "c", 1), *plan.steps))


def forward_dependency(plan: Plan) -> Plan:
    step = plan.steps[0]
    assert isinstance(step, Compute)
    return replace(plan, steps=(replace(step, after=(1,)), *plan.steps[1:]))


def other_sum(plan: Plan) -> Plan:
    use = plan.memories[0]
    return replace(plan, memories=(replace(use, peak_bytes=1), *plan.memories[1:]))


def other_bound(plan: Plan) -> Plan:
    use = plan.memories[0]
    return replace(plan, memories=(replace(use, lower_bound_bytes=1), *plan.memories[1:]))


@pytest.mark.parametrize(
    "spoil",
    [
        on_input,
        moved(offset_bytes=-16),
        moved(offset_bytes=1 << 40),
        moved(offset_bytes=1),
        moved(size_bytes=1 << 40),
        moved(size_bytes=4),
        moved(memory="nowhere"),
        moved(first_step=5, last_step=4),
        moved(last_step=10**9),
        without_buffer,
        reversed_steps,
        repeated_step,
        short_step_list,
        foreign_step,
        unknown_move,
        forward_dependency,
        other_sum,
        other_bound,
    ],
)
def test_a_spoilt_plan_is_refused(spoil: Callable[[Plan], Plan]) -> None:
    graph = chain()
    plan = spoil(planned(graph))
    assert list(find_problems(plan, graph))
    with pytest.raises(InternalError):
        verify_plan(plan, graph)


def test_an_alias_over_a_tensor_that_lives_on_is_refused() -> None:
    graph = residual()
    plan = planned(graph)
    start = graph.nodes[0].outputs[0]
    copy = graph.nodes[1].outputs[0]
    offset_bytes = plan.buffers[index_of(plan, lambda b: b.tensor == start)].offset_bytes
    index = index_of(plan, lambda b: b.tensor == copy)
    spoilt = with_buffer(plan, index, offset_bytes=offset_bytes, alias_of=start)
    assert any("overlap" in problem for problem in find_problems(spoilt, graph))


def test_an_alias_by_an_operator_that_does_not_work_in_place_is_refused() -> None:
    b = Builder()
    made = b.dense(b.input("x", 1, 8), 8, 8)
    graph = b.graph(b.dense(made, 8, 8))
    plan = planned(graph)
    offset_bytes = plan.buffers[index_of(plan, lambda b: b.tensor == made)].offset_bytes
    index = index_of(plan, lambda b: b.kind == "output")
    spoilt = with_buffer(plan, index, offset_bytes=offset_bytes, alias_of=made)
    assert any("overlap" in problem for problem in find_problems(spoilt, graph))


def test_scratch_memory_without_the_rows_that_are_overwritten_is_refused() -> None:
    case = square_convolution()
    graph = overwritable(case)
    plan = planned(graph)
    index = index_of(plan, lambda b: b.kind == "scratch")
    row_bytes = graph.tensors["middle"].size_bytes // 6
    spoilt = with_buffer(plan, index, size_bytes=plan.buffers[index].size_bytes - row_bytes)
    assert any("scratch" in problem for problem in find_problems(spoilt, graph))


def test_arenas_notice_by_use_what_the_verifier_refuses() -> None:
    graph = chain()
    runner = ReferenceRunner(graph, on_input(planned(graph)))
    with pytest.raises(ExecutionError, match=graph.inputs[0]):
        runner.run(random_inputs(graph))


@given(random_graphs())
@settings(max_examples=20, deadline=None)
def test_arena_execution_equals_the_plain_evaluator(graph: Graph) -> None:
    inputs = random_inputs(graph)
    result = ReferenceRunner(graph, planned(graph)).run(inputs)
    for name, expected in evaluate(graph, inputs).items():
        assert (result.outputs[name] == expected).all()


def test_scratch_memory_must_suffice_for_the_kernels_of_the_plan() -> None:
    case = next(c for c in registry()["conv2d"].cases() if c.id == "int8_channel_same3x3")
    graph, _ = graph_of("conv2d", case)
    profile = load_profile(BOARD)
    needy = build_plan(graph, profile, executor="reference", kernels=KernelSet.CORTEX_M_DSP)
    assert not list(find_problems(needy, graph))
    assert not list(find_problems(replace(needy, kernels=KernelSet.PORTABLE), graph))
    modest = build_plan(graph, profile, executor="reference")
    problems = list(find_problems(replace(modest, kernels=KernelSet.CORTEX_M_DSP), graph))
    assert any("scratch" in problem for problem in problems)


def test_a_plan_that_names_no_kernels_is_for_the_portable_ones() -> None:
    stored = msgspec.json.decode(plan_to_json(planned(chain())))
    assert stored.pop("kernels") == "portable"
    read = plan_from_json(msgspec.json.encode(stored), where="plan.json")
    assert read.kernels is KernelSet.PORTABLE
