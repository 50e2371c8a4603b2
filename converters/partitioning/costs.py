"""The numbers that a placement is chosen by: nodes on processors, and tensors between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from edgekit.cost.roofline import crossing_cost, node_cost, refusal
from edgekit.cost.work import Precision, as_executed, node_work, tensor_bytes
from edgekit.errors import PlacementError
from edgekit.graph import Graph, Node
from edgekit.profiles import DeviceProfile, Processor


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Times of all nodes on all processors.

    Parameters
    ----------
    graph, profile, processors
        What they are of; ``processors`` are the candidates.
    host : int
        The candidate that has the inputs and takes the outputs.
    seconds : tuple of rows
        ``seconds[node][processor]``, None where the processor refuses the node.
    refusals : tuple of rows
        Why it refuses, None where it does not.
    sizes : mapping of tensor name to bytes
    last_use : mapping of tensor name to node index
        The last reader; beyond the last node for outputs.
    """

    graph: Graph
    profile: DeviceProfile
    processors: tuple[Processor, ...]
    host: int
    seconds: tuple[tuple[float | None, ...], ...]
    refusals: tuple[tuple[str | None, ...], ...]
    sizes: dict[str, int]
    last_use: dict[str, int]
    _crossings: dict[tuple[str, int, int], float | None] = field(default_factory=dict)

    def totals(self) -> list[float | None]:
        """Return the time of the whole graph on each processor, None where it refuses a node.

        Bringing inputs and outputs to a memory of its own is included.
        """
        totals: list[float | None] = []
        for place in range(len(self.processors)):
            times = [row[place] for row in self.seconds]
            if not self.beside(self.host) >> place & 1:
                times += [self.crossing(name, self.host, place) for name in self.graph.inputs]
                times += [self.crossing(name, place, self.host) for name in self.graph.outputs]
            known = [time for time in times if time is not None]
            totals.append(sum(known) if len(known) == len(times) else None)
        return totals

    def rows(self) -> Iterator[tuple[Node, tuple[str | None, ...]]]:
        """Yield every node with what each processor has against it."""
        return zip(self.graph.nodes, self.refusals, strict=True)

    def crossing(self, tensor: str, source: int, target: int) -> float | None:
        """Return the time until ``target`` has what ``source`` computed; None: no link."""
        key = (tensor, source, target)
        if key not in self._crossings:
            first, second = self.processors[source], self.processors[target]
            cost = crossing_cost(self.sizes[tensor], self.profile, first, second)
            self._crossings[key] = cost.seconds if cost else None
        return self._crossings[key]

    def sharers(self, source: int, target: int) -> int:
        """Return the bit set of who needs no crossing more once ``target`` has a tensor."""
        if self.processors[target].memory == self.processors[source].memory:
            return 1 << target
        return self.beside(target)

    def beside(self, place: int) -> int:
        """Return the bit set of the processors that compute from the same memory."""
        memory = self.processors[place].memory
        return sum(1 << i for i, p in enumerate(self.processors) if p.memory == memory)


def node_costs(
    graph: Graph,
    profile: DeviceProfile,
    precision: Precision | None,
    processors: Sequence[Processor],
    executor: str = "",
) -> Costs:
    """Cost every node on every candidate.

    Raises
    ------
    PlacementError
        If no candidate runs a node; the message has the reason of each.
    """
    seconds: list[tuple[float | None, ...]] = []
    refusals: list[tuple[str | None, ...]] = []
    for node in graph.nodes:
        work = as_executed(node_work(graph, node, precision), executor)
        reasons = tuple(refusal(work, processor) for processor in processors)
        if all(reasons):
            raise PlacementError(
                f"layer {node.where}: no processor of {profile.name} can run it\n"
                + "; ".join(reason for reason in reasons if reason)
            )
        seconds.append(
            tuple(
                None if reason else node_cost(work, profile, processor).seconds
                for processor, reason in zip(processors, reasons, strict=True)
            )
        )
        refusals.append(reasons)
    host = next((i for i, p in enumerate(processors) if p.memory == profile.working_memory), 0)
    sizes = {
        name: tensor_bytes(tensor, precision)
        for name, tensor in graph.tensors.items()
        if not tensor.is_constant
    }
    return Costs(
        graph,
        profile,
        tuple(processors),
        host,
        tuple(seconds),
        tuple(refusals),
        sizes,
        _last_uses(graph),
    )


def _last_uses(graph: Graph) -> dict[str, int]:
    last: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        last.update({name: index for name in node.inputs if name})
    last.update(dict.fromkeys(graph.outputs, len(graph.nodes)))
    return last
