"""Which parts of a graph run only for one value of a flag: the cases of a choice at run time.

A ``paste`` with a flag leaves its canvas as it is unless the flag has the value ``when``. Nodes
whose results nothing but such pastes reads need not run then: with the pastes of one flag and one
value they make up a case. Where both cases of a flag are runs of nodes that end in a paste, the
plan has a :class:`~edgekit.plan.Select` for them, and executors skip the case that is not taken.

Leaving a case out changes nothing: pastes write over their canvas in place, so that a canvas that
stays as it is costs no copy. :mod:`edgekit.verify_selects` proves it of every plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgekit.dtypes import Array
from edgekit.graph import Graph, Node, TensorKind
from edgekit.ops.evaluate import evaluate
from edgekit.plan import Compute, Plan, Select, Step

Guard = tuple[str, int]
"""A flag and the value that it must have."""


@dataclass(frozen=True, slots=True)
class Case:
    """Steps ``first`` to ``last``, inclusive, which run where ``flag`` is ``when``."""

    first: int
    last: int
    flag: str
    when: int


def guard_of(node: Node) -> Guard | None:
    """Return the flag and the value on which a node's effect depends, if it does."""
    when = node.attrs.get("when")
    if node.op != "paste" or len(node.inputs) < 3 or not isinstance(when, int):
        return None
    return node.inputs[2], when


def selects_of(graph: Graph, steps: Sequence[Step]) -> tuple[Select, ...]:
    """Return the choices of a graph that runs node by node, in order of their flags.

    Parameters
    ----------
    graph : Graph
    steps : sequence of Step
        Of its plan. Where anything but its nodes is among them, there is no choice: both cases run.
    """
    if [step.node if isinstance(step, Compute) else "" for step in steps] != [
        node.name for node in graph.nodes
    ]:
        return ()
    owners = _owners(graph)
    runs: dict[Guard, tuple[int, int] | None] = {}
    for index, node in enumerate(graph.nodes):
        guard = guard_of(node)
        if guard is None:
            continue
        first = index
        while first and owners[first - 1] == guard:
            first -= 1
        before = runs.get(guard, (first, index))
        # Pastes of one case that do not follow each other leave it without a run of its own.
        runs[guard] = (first, index) if before and before[0] == first else None
    found = []
    for flag in dict.fromkeys(flag for flag, _ in runs):
        low, high = runs.get((flag, 0)), runs.get((flag, 1))
        if low and high:
            found.append(Select((low, high), flag))
    return tuple(found)


def selects_in_order(graph: Graph) -> tuple[Select, ...]:
    """Return the choices of a graph whose nodes run one after the other; steps are positions."""
    return selects_of(graph, [Compute(node.name, "", (), "") for node in graph.nodes])


def cases_of(plan: Plan) -> tuple[Case, ...]:
    """Return the cases of a plan, in the order of its steps."""
    found = [
        Case(first, last, step.predicate, when)
        for step in plan.steps
        if isinstance(step, Select)
        for when, (first, last) in enumerate(step.cases)
    ]
    return tuple(sorted(found, key=lambda case: case.first))


def cases_taken(graph: Graph, plan: Plan, inputs: Mapping[str, Array]) -> dict[str, int]:
    """Return which case of each choice a run takes, by the definition of its flag.

    Computes what the flags depend on, and nothing else.
    """
    flags = tuple(step.predicate for step in plan.steps if isinstance(step, Select))
    if not flags:
        return {}
    needed, nodes = set(flags), []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.outputs):
            needed.update(node.inputs)
            nodes.append(node)
    found = evaluate(graph.replace(nodes=nodes[::-1], outputs=flags), inputs)
    return {name: int(array[0]) for name, array in found.items()}


def cheaper_cases(graph: Graph, costs: Sequence[float]) -> frozenset[int]:
    """Return the nodes (positions) of the cheaper case of every choice.

    Without them the costs add up to the worst case.

    Parameters
    ----------
    graph : Graph
    costs : sequence of float
        Of each node.
    """
    found: set[int] = set()
    for select in selects_in_order(graph):
        first, last = min(select.cases, key=lambda case: sum(costs[case[0] : case[1] + 1]))
        found.update(range(first, last + 1))
    return frozenset(found)


def _owners(graph: Graph) -> list[Guard | None]:
    """Return, for each node, the guard without which nothing reads its results."""
    readers: dict[str, list[Guard | None]] = {name: [None] for name in graph.outputs}
    owners: list[Guard | None] = []
    for node in reversed(graph.nodes):
        guard = guard_of(node)
        owner = guard or _only([g for name in node.outputs for g in readers.get(name, [None])])
        if any(name and graph.tensors[name].kind is TensorKind.STATE for name in node.inputs):
            owner = None
        owners.append(owner)
        for name, reader in _readings(node, guard, owner):
            readers.setdefault(name, []).append(reader)
    return owners[::-1]


def _readings(
    node: Node, guard: Guard | None, owner: Guard | None
) -> Iterator[tuple[str, Guard | None]]:
    """Yield what a node reads, and the guard without which it does not.

    Of a guarded paste that is the image alone: its canvas stays, and its flag decides.
    """
    for position, name in enumerate(node.inputs):
        yield name, owner if guard is None or position == 0 else None


def _only(guards: Sequence[Guard | None]) -> Guard | None:
    return guards[0] if guards and len(set(guards)) == 1 else None
