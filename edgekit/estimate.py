"""Modelled time and energy of one inference: node costs on a timeline, crossings included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from msgspec import structs

from edgekit.cost.roofline import Cost, crossing_cost, node_cost, refusal
from edgekit.cost.timeline import Task, run_tasks, to_ns
from edgekit.cost.work import Precision, as_executed, node_work, tensor_bytes
from edgekit.errors import PlacementError
from edgekit.graph import Graph, Node
from edgekit.plan import Estimates, Placement, StepCost
from edgekit.profiles import DeviceProfile, Processor
from edgekit.selects import cheaper_cases


def estimate_graph(
    graph: Graph,
    profile: DeviceProfile,
    placement: Sequence[Placement],
    precision: Precision | None = None,
    *,
    executor: str = "",
) -> Estimates:
    """Estimate one inference of a placed graph.

    Processors that share no cores work at the same time where the graph lets them.

    Parameters
    ----------
    graph : Graph
        With static shapes, in the order in which it runs.
    profile : DeviceProfile
    placement : sequence of Placement
        One for each node.
    precision : str or None
        What float tensors become; None for the graph as it is.
    executor : str
        What runs it, where that matters (:func:`~edgekit.cost.work.as_executed`).

    Returns
    -------
    Estimates
        ``kind`` is ``modelled``. The breakdown has one entry for each node, in order, and before it
        one for each tensor that it waits for from another processor (``node`` names the tensor and
        ``processor`` the way). ``step`` is the index of the node in the graph. The energy includes
        the idle power of the device over the latency. Of a choice at run time the dearer case
        counts; the other takes no time.

    Raises
    ------
    PlacementError
        If a node is not placed, or placed where it cannot run.
    """
    tasks, costs = placed_tasks(graph, profile, placement, precision, executor=executor)
    latency_s = run_tasks(tasks).end_ns * 1e-9
    energy_j = sum(cost.energy_j for cost in costs) + idle_power_w(profile) * latency_s
    return Estimates(latency_s, energy_j, "modelled", tuple(costs))


def placed_tasks(
    graph: Graph,
    profile: DeviceProfile,
    placement: Sequence[Placement],
    precision: Precision | None = None,
    *,
    executor: str = "",
) -> tuple[list[Task], list[StepCost]]:
    """Return the work of one inference for a timeline, and the cost of each task.

    Parameters and errors are those of :func:`estimate_graph`.
    """
    processors = placed_processors(graph, profile, placement)
    builder = _TaskBuilder(graph, profile, processors, precision, executor)
    for step, node in enumerate(graph.nodes):
        builder.add(step, node)
    builder.return_outputs()
    builder.leave_out_cheaper_cases()
    return builder.tasks, builder.costs


def idle_power_w(profile: DeviceProfile) -> float:
    """Return the power that the device takes whatever it does."""
    return profile.power.idle_w.value if profile.power else 0.0


class _TaskBuilder:
    """Turns nodes into tasks one by one, with a task for every tensor that changes processor."""

    def __init__(
        self,
        graph: Graph,
        profile: DeviceProfile,
        processors: dict[str, Processor],
        precision: Precision | None,
        executor: str,
    ) -> None:
        self.graph = graph
        self.profile = profile
        self.processors = processors
        self.precision = precision
        self.executor = executor
        self.tasks: list[Task] = []
        self.costs: list[StepCost] = []
        self._producers = graph.producers()
        self._host = next(
            (p for p in profile.processors if p.memory == profile.working_memory),
            profile.processors[0],
        )
        self._done: dict[str, int] = {}
        self._moved: dict[tuple[str, str], int] = {}

    def add(self, step: int, node: Node) -> None:
        processor = self.processors[node.name]
        known = [self._available(step, name, processor) for name in dict.fromkeys(node.inputs)]
        waits = tuple(index for index in known if index is not None)
        work = as_executed(node_work(self.graph, node, self.precision), self.executor)
        reason = refusal(work, processor)
        if reason:
            raise PlacementError(f"layer {node.where} cannot run where it is placed: {reason}")
        cost = node_cost(work, self.profile, processor)
        self._append(step, node.name, processor.name, resources_of(processor), cost, waits)
        self._done.update(dict.fromkeys(node.outputs, len(self.tasks) - 1))

    def return_outputs(self) -> None:
        """Bring outputs that other processors hold back to the working memory."""
        for name in self.graph.outputs:
            producer = self._producers.get(name)
            if producer and self.processors[producer.name].memory != self._host.memory:
                self._available(len(self.graph.nodes), name, self._host)

    def leave_out_cheaper_cases(self) -> None:
        """Take all time from the cases that the worst run does not take."""
        if len(self.costs) != len(self.graph.nodes):
            return  # tensors change processor: there both cases run
        for index in cheaper_cases(self.graph, [cost.seconds for cost in self.costs]):
            self.tasks[index] = replace(self.tasks[index], duration_ns=0, energy_j=0.0)
            self.costs[index] = structs.replace(self.costs[index], seconds=0.0, energy_j=0.0)

    def _available(self, step: int, tensor: str, target: Processor) -> int | None:
        """Return the task after which ``target`` can read a tensor; None: at once.

        Inputs lie in the working memory; constants where they are read from.
        """
        source, done = self._host, self._done.get(tensor)
        if tensor in self._producers:
            source = self.processors[self._producers[tensor].name]
        elif tensor not in self.graph.inputs or source.memory == target.memory:
            return None
        if source.name == target.name:
            return done
        shared = source.memory == target.memory
        key = (tensor, target.name if shared else target.memory)
        if key not in self._moved:
            size_bytes = tensor_bytes(self.graph.tensors[tensor], self.precision)
            cost = crossing_cost(size_bytes, self.profile, source, target)
            if cost is None:
                raise PlacementError(
                    f"no link of {self.profile.name} brings {tensor} from {source.memory} "
                    f"to {target.memory}"
                )
            link = self.profile.link_between(source.memory, target.memory)
            way = link.name if link else f"{source.name} -> {target.name}"
            self._append(step, tensor, way, (way,), cost, () if done is None else (done,))
            self._moved[key] = len(self.tasks) - 1
        return self._moved[key]

    def _append(
        self,
        step: int,
        name: str,
        place: str,
        resources: tuple[str, ...],
        cost: Cost,
        after: tuple[int, ...],
    ) -> None:
        self.tasks.append(Task(name, resources, to_ns(cost.seconds), after, cost.energy_j))
        self.costs.append(StepCost(step, name, place, cost.seconds, cost.energy_j, cost.bound))


def placed_processors(
    graph: Graph, profile: DeviceProfile, placement: Sequence[Placement]
) -> dict[str, Processor]:
    """Return the processor of every node by name.

    Raises
    ------
    PlacementError
        If a node has no placement, or one on a processor that the device does not have.
    """
    names = {item.node: item.processor for item in placement}
    known = {processor.name: processor for processor in profile.processors}
    placed: dict[str, Processor] = {}
    for node in graph.nodes:
        name = names.get(node.name)
        if name not in known:
            what = "is not placed" if name is None else f"is placed on {name}"
            raise PlacementError(
                f"layer {node.where} {what}; {profile.name} has {', '.join(sorted(known))}"
            )
        placed[node.name] = known[name]
    return placed


def resources_of(processor: Processor) -> tuple[str, ...]:
    """Return what is busy while a processor works: its parts, or itself."""
    return processor.made_of or (processor.name,)
