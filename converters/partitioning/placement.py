"""Which processor runs which node: the cheapest placement, crossings included, with reasons.

The nodes are walked in order. A state says where each value that is still needed was computed and
to which processors it went already; of the ways that lead to one state only the cheapest is kept.
That is exact (for a chain it is the usual dynamic program over processors); where a graph keeps so
many values alive that there are more than ``WIDTH`` states, only the best of them are followed.

Only processors that an app reaches (``reached_by`` in the profile) and whose speed is known take
part. A processor that is slower than another one for every node, in the same memory, is left out
first: moving all of its nodes to the other never costs more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.converters.partitioning.costs import Costs, node_costs
from edgekit.converters.partitioning.reasons import one_pool_reasons, placement_reasons
from edgekit.cost.work import Precision
from edgekit.errors import PlacementError
from edgekit.graph import Graph
from edgekit.plan import Placement
from edgekit.profiles import DeviceProfile, Processor

WIDTH = 4096
"""States that are followed from node to node."""

ONE_POOL = frozenset({"onnxruntime", "litert"})
"""Executors whose session has one set of threads: all nodes run on one processor."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A tensor that another processor goes on with.

    Parameters
    ----------
    tensor : str
    source, target : str
        Processors.
    size_bytes : int
    seconds : float
    """

    tensor: str
    source: str
    target: str
    size_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PlacementResult:
    """Where every node runs.

    Parameters
    ----------
    placements : tuple of Placement
        One for each node, in order, with a reason for people.
    moves : tuple of Crossing
        What changes processor.
    seconds : float
        Time of all nodes and crossings, one after another.
    exact : bool
        Whether no placement has a smaller ``seconds``.
    left_out : tuple of str
        Processors that take no part, each with the reason.
    """

    placements: tuple[Placement, ...]
    moves: tuple[Crossing, ...]
    seconds: float
    exact: bool
    left_out: tuple[str, ...]


def place(
    graph: Graph,
    profile: DeviceProfile,
    precision: Precision | None = None,
    *,
    executor: str = "",
) -> PlacementResult:
    """Place every node on the processor where the whole takes the least time.

    Parameters
    ----------
    graph : Graph
        With static shapes.
    profile : DeviceProfile
    precision : str or None
        What float tensors become; None for the graph as it is.
    executor : str
        Only processors that this executor reaches; empty for any executor. One of
        :data:`ONE_POOL` places the whole graph on one processor.

    Raises
    ------
    PlacementError
        If the device has no processor that an app reaches, or none of them can run a node.
    """
    candidates, left_out = reachable(profile, executor)
    if not candidates:
        via = f" through {executor}" if executor else ""
        raise PlacementError(
            f"{profile.name}: an app reaches no processor{via}\n" + "\n".join(left_out)
        )
    costs = node_costs(graph, profile, precision, candidates, executor)
    exact = True
    if executor in ONE_POOL:
        chosen, seconds = _one_processor(costs)
        reasons = one_pool_reasons(costs, chosen)
    else:
        search = _Search(costs, _undominated(costs))
        chosen, seconds = search.run()
        exact, reasons = search.exact, placement_reasons(costs, chosen)
    moves = _crossings(costs, chosen)
    placements = tuple(
        Placement(node.name, costs.processors[chosen[index]].name, reasons[index])
        for index, node in enumerate(graph.nodes)
    )
    return PlacementResult(placements, moves, seconds, exact, tuple(left_out))


def reachable(profile: DeviceProfile, executor: str = "") -> tuple[list[Processor], list[str]]:
    """Return the processors that an app can use, and why it cannot use the others."""
    usable: list[Processor] = []
    left_out: list[str] = []
    for processor in profile.processors:
        known = processor.ops_per_s or processor.cycles_per_instruction is not None
        if not processor.reached_by:
            note = processor.note or "no executor reaches it"
            left_out.append(f"{processor.name}: {note}")
        elif executor and executor not in processor.reached_by:
            via = ", ".join(processor.reached_by)
            left_out.append(f"{processor.name}: reached by {via}, not by {executor}")
        elif not known:
            left_out.append(f"{processor.name}: its speed is not known")
        else:
            usable.append(processor)
    return usable, left_out


def _one_processor(costs: Costs) -> tuple[list[int], float]:
    """Return the processor that runs the whole graph in the least time, for every node."""
    totals = costs.totals()
    able = [(total, place) for place, total in enumerate(totals) if total is not None]
    if not able:
        refusals = [
            next(f"{node.where}: {row[place]}" for node, row in costs.rows() if row[place])
            for place in range(len(costs.processors))
        ]
        raise PlacementError(
            f"no single processor of {costs.profile.name} runs every layer\n" + "\n".join(refusals)
        )
    seconds, chosen = min(able)
    return [chosen] * len(costs.graph.nodes), seconds


def _undominated(costs: Costs) -> tuple[int, ...]:
    """Return the processors that no other one beats at every node."""
    kept = list(range(len(costs.processors)))
    for slow in reversed(range(len(costs.processors))):
        if any(_beats(costs, fast, slow) for fast in kept if fast != slow):
            kept.remove(slow)
    return tuple(kept)


def _beats(costs: Costs, fast: int, slow: int) -> bool:
    first, second = costs.processors[fast], costs.processors[slow]
    handover = [p.handover_s.value if p.handover_s else 0.0 for p in (first, second)]
    if first.memory != second.memory or handover[0] > handover[1]:
        return False
    for row in costs.seconds:
        quick, other = row[fast], row[slow]
        if other is not None and (quick is None or quick > other):
            return False
    return True


@dataclass(frozen=True, slots=True)
class _Way:
    """The cheapest way to a state: its time, and the choices as a linked list."""

    seconds: float
    processor: int
    before: _Way | None


State = tuple[tuple[int, int], ...]
"""For each live tensor, in order of its name in the live list: where it is, and who has it."""


class _Search:
    """Dynamic program over the live tensors."""

    def __init__(self, costs: Costs, processors: Sequence[int]) -> None:
        self.costs = costs
        self.processors = processors
        self.exact = True

    def run(self) -> tuple[list[int], float]:
        """Return the processor of every node, and the whole time."""
        live: list[str] = list(self.costs.graph.inputs)
        ready = (self.costs.host, self.costs.beside(self.costs.host))
        states: dict[State, _Way | None] = {tuple(ready for _ in live): None}
        for index, node in enumerate(self.costs.graph.nodes):
            live_after = self._live_after(index, live)
            states = self._step(index, live, live_after, states)
            if not states:
                raise PlacementError(
                    f"layer {node.where}: no link of {self.costs.profile.name} brings its inputs "
                    "to a processor that can run it"
                )
            live = live_after
        best: _Way | None = None
        for state, way in states.items():
            if way is None:
                continue
            seconds = way.seconds + self._return_seconds(live, state)
            if best is None or seconds < best.seconds:
                best = _Way(seconds, way.processor, way.before)
        return _unwind(best), best.seconds if best else 0.0

    def _live_after(self, index: int, live: Sequence[str]) -> list[str]:
        made = self.costs.graph.nodes[index].outputs
        last = self.costs.last_use
        return [name for name in (*live, *made) if last.get(name, -1) > index]

    def _step(
        self,
        index: int,
        live: Sequence[str],
        live_after: Sequence[str],
        states: dict[State, _Way | None],
    ) -> dict[State, _Way | None]:
        node = self.costs.graph.nodes[index]
        position = {name: place for place, name in enumerate(live)}
        read = [name for name in dict.fromkeys(node.inputs) if name in position]
        reached: dict[State, _Way | None] = {}
        for processor in self.processors:
            own = self.costs.seconds[index][processor]
            if own is None:
                continue
            for state, way in states.items():
                seconds, moved = self._receive(read, position, state, processor)
                if seconds is None:
                    continue
                total = (way.seconds if way else 0.0) + own + seconds
                after = _next_state(position, live_after, moved, processor)
                known = reached.get(after)
                if known is None or total < known.seconds:
                    reached[after] = _Way(total, processor, way)
        if len(reached) > WIDTH:
            self.exact = False
            ways = sorted(reached.items(), key=lambda item: item[1].seconds if item[1] else 0.0)
            reached = dict(ways[:WIDTH])
        return reached

    def _receive(
        self, read: Sequence[str], position: dict[str, int], state: State, target: int
    ) -> tuple[float | None, list[tuple[int, int]]]:
        """Return the time until ``target`` has all that it reads, and where all is then.

        The time is None where no link brings it there.
        """
        places = list(state)
        seconds = 0.0
        for name in read:
            source, holders = places[position[name]]
            if not holders >> target & 1:
                crossing = self.costs.crossing(name, source, target)
                if crossing is None:
                    return None, places
                seconds += crossing
                places[position[name]] = (source, holders | self.costs.sharers(source, target))
        return seconds, places

    def _return_seconds(self, live: Sequence[str], state: State) -> float:
        """Return the time to bring the outputs back to the working memory."""
        host, seconds = self.costs.host, 0.0
        for name, (source, holders) in zip(live, state, strict=True):
            if not holders & self.costs.beside(host):
                seconds += self.costs.crossing(name, source, host) or 0.0
        return seconds


def _next_state(
    position: dict[str, int],
    live_after: Sequence[str],
    places: Sequence[tuple[int, int]],
    processor: int,
) -> State:
    made = (processor, 1 << processor)
    return tuple(places[position[name]] if name in position else made for name in live_after)


def _unwind(way: _Way | None) -> list[int]:
    chosen: list[int] = []
    while way is not None:
        chosen.append(way.processor)
        way = way.before
    return chosen[::-1]


def _crossings(costs: Costs, chosen: Sequence[int]) -> tuple[Crossing, ...]:
    """Return every tensor that changes processor, once for each processor it goes to."""
    where = {
        output: chosen[index]
        for index, node in enumerate(costs.graph.nodes)
        for output in node.outputs
    }
    found: dict[tuple[str, int], Crossing] = {}
    for index, node in enumerate(costs.graph.nodes):
        for name in node.inputs:
            source, target = where.get(name, chosen[index]), chosen[index]
            if source != target and (name, target) not in found:
                found[name, target] = Crossing(
                    name,
                    costs.processors[source].name,
                    costs.processors[target].name,
                    costs.sizes[name],
                    costs.crossing(name, source, target) or 0.0,
                )
    return tuple(found.values())
