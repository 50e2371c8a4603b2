"""Proof that a case of a choice can be left out: part of :mod:`edgekit.verify`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgekit.dtypes import DType
from edgekit.graph import Graph, Node, TensorKind
from edgekit.plan import Compute, Plan, PlannedBuffer, Select
from edgekit.selects import Case, cases_of, guard_of


def select_shape_problems(plan: Plan) -> Iterator[str]:
    """Yield what is wrong with the step ranges of choices, without looking at the graph."""
    steps = sum(not isinstance(step, Select) for step in plan.steps)
    taken: set[int] = set()
    for index, step in enumerate(plan.steps):
        if not isinstance(step, Select):
            if index >= steps:
                yield f"step {index} stands behind a choice"
            continue
        if len(step.cases) != 2:
            yield f"step {index} chooses between {len(step.cases)} cases, two can be"
        for first, last in step.cases:
            if not 0 <= first <= last < steps:
                yield f"step {index} has a case from step {first} to {last}"
                continue
            own = set(range(first, last + 1))
            if own & taken:
                yield f"step {index} has a case that overlaps another"
            if not all(isinstance(plan.steps[place], Compute) for place in own):
                yield f"step {index} has a case with steps that compute nothing"
            taken |= own


def select_problems(plan: Plan, graph: Graph) -> Iterator[str]:
    """Yield what would go wrong if a case were left out.

    Parameters
    ----------
    plan : Plan
        Without :func:`select_shape_problems`, its steps the nodes of ``graph``, each once.
    graph : Graph
    """
    cases = cases_of(plan)
    if not cases:
        return
    by_name = {node.name: node for node in graph.nodes}
    order = [by_name[step.node] for step in plan.steps if isinstance(step, Compute)]
    if len(order) + sum(isinstance(step, Select) for step in plan.steps) != len(plan.steps):
        yield "there are choices in a plan that moves tensors"
        return
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(order):
        for name in node.inputs:
            readers.setdefault(name, []).append(index)
    buffers = {buffer.tensor: buffer for buffer in plan.buffers}
    for case in cases:
        yield from _flag_problems(graph, order, buffers, case)
        for index in range(case.first, case.last + 1):
            problem = _node_problem(graph, order[index], buffers, readers, case)
            if problem:
                yield f"step {index} cannot be left out: {problem}"


def _flag_problems(
    graph: Graph, order: Sequence[Node], buffers: dict[str, PlannedBuffer], case: Case
) -> Iterator[str]:
    flag = graph.tensors.get(case.flag)
    if flag is None or flag.dtype is not DType.UINT8 or flag.shape != (1,):
        yield f"{case.flag} is no flag to choose by"
        return
    if not any(case.flag in node.outputs for node in order[: case.first]):
        yield f"the flag {case.flag} is not computed before step {case.first}"
    buffer = buffers.get(case.flag)
    if buffer is None or not buffer.first_step < case.first <= buffer.last_step:
        yield f"the flag {case.flag} is gone at step {case.first}"


def _node_problem(
    graph: Graph,
    node: Node,
    buffers: dict[str, PlannedBuffer],
    readers: dict[str, list[int]],
    case: Case,
) -> str:
    """Return why a node of a case must run even so; empty where it need not."""
    if any(name and graph.tensors[name].kind is TensorKind.STATE for name in node.inputs):
        return "it has a state"
    guard = guard_of(node)
    if guard is not None:
        if guard != (case.flag, case.when):
            return f"it is of another case than {case.when} of {case.flag}"
        source, target = buffers.get(node.inputs[1]), buffers.get(node.outputs[0])
        if source is None or target is None or target.alias_of != source.tensor:
            return "its canvas is not written in place"
        return "" if source.offset_bytes == target.offset_bytes else "its canvas moves"
    for name in node.outputs:
        inside = all(case.first <= index <= case.last for index in readers.get(name, []))
        if name in graph.outputs or not inside:
            return f"{name} is read elsewhere"
    return ""
