"""From a graph with an order and a placement to a plan with every byte placed.

The order of nodes is the graph's (:mod:`edgekit.schedule` chooses it). Nodes on processors with
memories of their own get ``Move`` steps wherever a tensor changes memory. Offsets come from
:mod:`edgekit.memory`, one arena a memory; the result is proven by :mod:`edgekit.verify` before it
is returned. Whether it fits is asked apart, by :func:`edgekit.fit.check_fit`, so that a dry run
can show what does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from edgekit.errors import PlacementError
from edgekit.graph import Graph, Node
from edgekit.lifetimes import PLANNED, ReusePolicy, Storage, find_storages
from edgekit.memory import Buffer, Solution, plan_offsets
from edgekit.ops.kernel_set import KernelSet
from edgekit.plan import (
    Compute,
    Estimates,
    MemoryUse,
    Move,
    Placement,
    Plan,
    PlannedBuffer,
    Step,
)
from edgekit.profiles import DeviceProfile
from edgekit.selects import selects_of
from edgekit.verify import live_bytes, verify_plan


@dataclass(frozen=True, slots=True)
class ExecutorMemory:
    """Memory that an executor takes beside the arena, in the working memory.

    Parameters
    ----------
    weights_bytes : int
        Constants as the executor holds them (copies and repacking included).
    overhead_bytes : int
        Its code and its bookkeeping.
    load_bytes : int
        Taken beside the two only while the model is loaded, when there are no activations yet.
    policy : ReusePolicy
        How it places activations.
    """

    weights_bytes: int
    overhead_bytes: int
    load_bytes: int = 0
    policy: ReusePolicy = PLANNED


def build_plan(
    graph: Graph,
    profile: DeviceProfile,
    *,
    executor: str,
    placement: Sequence[Placement] = (),
    estimates: Estimates | None = None,
    alignment_bytes: int = 16,
    executor_memory: ExecutorMemory | None = None,
    kernels: KernelSet = KernelSet.PORTABLE,
    time_limit_s: float = 60.0,
    streamed: Sequence[str] = (),
) -> Plan:
    """Plan a static graph on a device.

    Parameters
    ----------
    graph : Graph
        With static shapes, in the order in which it is to run.
    profile : DeviceProfile
    executor : str
        ``reference``, ``native``, ``onnxruntime`` or ``litert``.
    placement : sequence of Placement
        One for each node; without it everything runs on the first processor that computes from
        the working memory.
    estimates : Estimates, optional
        Copied into the plan.
    alignment_bytes : int
        Every offset is a multiple of it.
    executor_memory : ExecutorMemory, optional
        What an executor that does not follow the plan to the byte needs
        (:mod:`edgekit.runtime.memory_model`). Without it: the weights as they are, no overhead.
    kernels : KernelSet
        Whose scratch memory is planned.
    time_limit_s : float
        For the search for optimal offsets, all memories together.
    streamed : sequence of str
        Graph inputs of which the caller hands over parts; nothing but ``slice`` reads them.

    Returns
    -------
    Plan
        Verified, but not checked against the budget.

    Raises
    ------
    PlacementError
        If a node has no place, or no link carries a tensor to where it is needed.
    """
    on = _processors(graph, profile, placement)
    steps = _Stepper(graph, profile, on).steps()
    storages = find_storages(
        graph,
        steps,
        host_memory=profile.working_memory,
        policy=executor_memory.policy if executor_memory else PLANNED,
        kernels=kernels,
        streamed=streamed,
    )
    homes = {step.memory for step in steps if isinstance(step, Compute)}
    names = [m.name for m in profile.memories if m.name in homes | {profile.working_memory}]
    solutions = {
        name: _place([s for s in storages if s.memory == name], alignment_bytes, time_limit_s)
        for name in names
    }
    plan = Plan(
        device=profile.name,
        executor=executor,
        steps=steps,
        buffers=_buffers(storages, solutions),
        memories=(),
        placement=tuple(Placement(node.name, on[node.name], "") for node in graph.nodes)
        if not placement
        else tuple(placement),
        estimates=estimates,
        kernels=kernels,
        streamed=tuple(streamed),
    )
    plan = _with_memories(plan, graph, profile, solutions, alignment_bytes, executor_memory)
    verify_plan(plan, graph)
    return plan


def _processors(
    graph: Graph, profile: DeviceProfile, placement: Sequence[Placement]
) -> dict[str, str]:
    """Return the processor of every node by the node's name."""
    known = {processor.name for processor in profile.processors}
    if not placement:
        near = [p.name for p in profile.processors if p.memory == profile.working_memory]
        if not near:
            raise PlacementError(f"{profile.name}: no processor computes from its working memory")
        return {node.name: near[0] for node in graph.nodes}
    on = {item.node: item.processor for item in placement}
    for node in graph.nodes:
        if on.get(node.name) not in known:
            raise PlacementError(
                f"layer {node.where} is placed on {on.get(node.name, 'no processor')}; "
                f"{profile.name} has {', '.join(sorted(known))}"
            )
    return on


@dataclass(slots=True)
class _Stepper:
    """Turns nodes into steps, with a move wherever a tensor is needed in another memory."""

    graph: Graph
    profile: DeviceProfile
    on: Mapping[str, str]
    done: list[Step] = field(default_factory=list)
    written: dict[tuple[str, str], int] = field(default_factory=dict)
    home: dict[str, str] = field(default_factory=dict)

    def steps(self) -> tuple[Step, ...]:
        self.home = dict.fromkeys(self.graph.inputs, self.profile.working_memory)
        for node in self.graph.nodes:
            self._compute(node)
        for name in self.graph.outputs:
            self._bring(name, self.profile.working_memory)
        return (*self.done, *selects_of(self.graph, self.done))

    def _compute(self, node: Node) -> None:
        processor = self.profile.processor(self.on[node.name])
        for name in dict.fromkeys(node.inputs):
            if name:
                self._bring(name, processor.memory)
        after = {self.written.get((name, processor.memory), -1) for name in node.inputs} - {-1}
        step = Compute(node.name, processor.name, tuple(sorted(after)), processor.memory)
        for name in node.outputs:
            self.home[name] = processor.memory
            self.written[(name, processor.memory)] = len(self.done)
        self.done.append(step)

    def _bring(self, name: str, memory: str) -> None:
        """Make sure that a tensor is in a memory; constants and states lie where they are used."""
        source = self.home.get(name)
        if source is None or source == memory or (name, memory) in self.written:
            return
        link = self.profile.link_between(source, memory)
        if link is None:
            raise PlacementError(
                f"tensor {name} is needed in {memory}, and {self.profile.name} has no link "
                f"there from {source}"
            )
        after = self.written.get((name, source))
        size_bytes = self.graph.tensors[name].size_bytes
        move = Move(name, source, memory, link.name, size_bytes, () if after is None else (after,))
        self.written[(name, memory)] = len(self.done)
        self.done.append(move)


def _place(storages: Sequence[Storage], alignment_bytes: int, time_limit_s: float) -> Solution:
    return plan_offsets(
        [
            Buffer(
                id=storage.values[0].tensor,
                first_step=storage.first_step,
                end_step=storage.last_step + 1,
                size_bytes=storage.size_bytes,
                alignment_bytes=alignment_bytes,
            )
            for storage in storages
        ],
        time_limit_s=time_limit_s,
    )


def _buffers(
    storages: Sequence[Storage], solutions: Mapping[str, Solution]
) -> tuple[PlannedBuffer, ...]:
    return tuple(
        PlannedBuffer(
            tensor=value.tensor,
            memory=storage.memory,
            offset_bytes=solutions[storage.memory].offsets[storage.values[0].tensor],
            size_bytes=value.size_bytes,
            first_step=value.first_step,
            last_step=value.last_step,
            alias_of=value.alias_of,
            kind=value.kind,
        )
        for storage in storages
        for value in storage.values
    )


def _with_memories(
    plan: Plan,
    graph: Graph,
    profile: DeviceProfile,
    solutions: Mapping[str, Solution],
    alignment_bytes: int,
    executor_memory: ExecutorMemory | None,
) -> Plan:
    """Add the sums of every memory that the plan touches."""
    weights = _weights_bytes(plan, graph, profile)
    overhead = dict.fromkeys(weights, 0)
    if executor_memory is not None:
        home = profile.working_memory
        spare = max(executor_memory.load_bytes - solutions[home].height_bytes, 0)
        weights[home] = executor_memory.weights_bytes
        overhead[home] = executor_memory.overhead_bytes + spare
    uses: list[MemoryUse] = []
    for memory in profile.memories:
        solution = solutions.get(memory.name)
        arena_bytes = solution.height_bytes if solution else 0
        own_bytes = weights.get(memory.name, 0) + overhead.get(memory.name, 0)
        if solution is None and own_bytes == 0:
            continue
        uses.append(
            MemoryUse(
                name=memory.name,
                peak_bytes=arena_bytes + own_bytes,
                available_bytes=memory.available_bytes.integer,
                arena_bytes=arena_bytes,
                weights_bytes=weights.get(memory.name, 0),
                overhead_bytes=overhead.get(memory.name, 0),
                optimal=solution.optimal if solution else True,
                greedy_bytes=solution.greedy_height_bytes if solution else 0,
                alignment_bytes=alignment_bytes,
            )
        )
    return replace(plan, memories=tuple(_with_peak(plan, use) for use in uses))


def _with_peak(plan: Plan, use: MemoryUse) -> MemoryUse:
    """Add the step at which most bytes live; that sum is a lower bound of any arena."""
    live = live_bytes(plan, use)
    peak = max(live)
    step = plan.steps[live.index(peak)] if plan.steps and peak else None
    name = step.node if isinstance(step, Compute) else step.tensor if isinstance(step, Move) else ""
    return replace(use, lower_bound_bytes=peak, peak_step=name)


def _weights_bytes(plan: Plan, graph: Graph, profile: DeviceProfile) -> dict[str, int]:
    """Return the bytes of constants in each memory.

    Firmware reads them in place; elsewhere they are loaded to where they are used, more than once
    where processors with different memories use them.
    """
    nodes = {node.name: node for node in graph.nodes}
    places: set[tuple[str, str]] = set()
    for step in plan.steps:
        if isinstance(step, Compute):
            home = profile.constants_memory or step.memory
            places.update((name, home) for name in nodes[step.node].inputs if name)
    totals: dict[str, int] = {}
    for name, memory in sorted(places):
        tensor = graph.tensors[name]
        if tensor.is_constant:
            is_wide = plan.kernels is KernelSet.CORTEX_M_MVE  # which reads weights by the byte
            wide_bytes = tensor.elements * tensor.dtype.item_bytes
            held_bytes = wide_bytes if is_wide else tensor.stored_bytes
            totals[memory] = totals.get(memory, 0) + held_bytes
    return totals
