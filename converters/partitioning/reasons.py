"""Why a node runs where it runs, in words: its time there, and what the next best would take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.converters.partitioning.costs import Costs
from edgekit.cost.work import node_work
from edgekit.units import format_bytes, format_seconds


@dataclass(frozen=True, slots=True)
class _Option:
    """A node on one processor with the neighbours where they are."""

    seconds: float
    crossings: int
    crossing_bytes: int

    def text(self, name: str) -> str:
        time = f"{format_seconds(self.seconds)} on {name}"
        if not self.crossings:
            return time
        plural = "s" if self.crossings > 1 else ""
        size = format_bytes(self.crossing_bytes)
        return f"{time} incl. {self.crossings} crossing{plural} of {size}"


def placement_reasons(costs: Costs, chosen: Sequence[int]) -> list[str]:
    """Return one sentence for each node.

    Parameters
    ----------
    costs : Costs
    chosen : sequence of int
        Index of the processor of each node.
    """
    neighbours = _Neighbours(costs, chosen)
    return [_reason(costs, neighbours, index, place) for index, place in enumerate(chosen)]


def one_pool_reasons(costs: Costs, chosen: Sequence[int]) -> list[str]:
    """Return one sentence for each node of a graph that runs on one processor as a whole."""
    totals = costs.totals()
    place = chosen[0] if chosen else 0
    name = costs.processors[place].name
    times = sorted((t, costs.processors[i].name) for i, t in enumerate(totals) if t is not None)
    others = [f"{format_seconds(time)} on {other}" for time, other in times if other != name]
    whole = f"one thread pool runs all layers: {format_seconds(totals[place] or 0.0)}"
    if others:
        whole += f" against {others[0]}"
    reasons: list[str] = []
    for index, (_, refusals) in enumerate(costs.rows()):
        own = costs.seconds[index][place] or 0.0
        refused = [text for text in refusals if text]
        reasons.append("; ".join([f"runs in {format_seconds(own)} on {name}", whole, *refused]))
    return reasons


def _reason(costs: Costs, neighbours: _Neighbours, index: int, chosen: int) -> str:
    node = costs.graph.nodes[index]
    if node_work(costs.graph, node).op_class == "view":
        return f"stays on {costs.processors[chosen].name}: another view of the same bytes"
    here = neighbours.option(index, chosen)
    options: list[tuple[float, str]] = []
    for place, processor in enumerate(costs.processors):
        option = neighbours.option(index, place) if place != chosen else None
        if option is not None:
            options.append((option.seconds, option.text(processor.name)))
    refused = [text for text in costs.refusals[index] if text]
    own = here.text(costs.processors[chosen].name) if here else costs.processors[chosen].name
    parts = [f"runs in {own}"]
    if options:
        parts[0] += f" against {min(options)[1]}"
    elif not refused:
        parts.append("the only processor that an app reaches")
    return "; ".join([*parts, *refused])


class _Neighbours:
    """Finds what a node would take elsewhere while all other nodes stay."""

    def __init__(self, costs: Costs, chosen: Sequence[int]) -> None:
        self.costs = costs
        self.where = dict.fromkeys(costs.graph.inputs, costs.host)
        self.readers: dict[str, set[int]] = {}
        for index, node in enumerate(costs.graph.nodes):
            self.where.update(dict.fromkeys(node.outputs, chosen[index]))
            for name in node.inputs:
                self.readers.setdefault(name, set()).add(chosen[index])

    def option(self, index: int, place: int) -> _Option | None:
        """Return a node on one processor, or None where it cannot run there."""
        own = self.costs.seconds[index][place]
        if own is None:
            return None
        node = self.costs.graph.nodes[index]
        pairs: list[tuple[str, int, int]] = []
        for name in dict.fromkeys(node.inputs):
            source = self.where.get(name)
            if source is not None and self._differs(name, source, place):
                pairs.append((name, source, place))
        for name in node.outputs:
            pairs += [(name, place, t) for t in self.readers.get(name, set()) if t != place]
        times = [self.costs.crossing(*pair) for pair in pairs]
        if any(time is None for time in times):
            return None
        size_bytes = sum(self.costs.sizes[name] for name, _, _ in pairs)
        return _Option(own + sum(t for t in times if t is not None), len(pairs), size_bytes)

    def _differs(self, name: str, source: int, place: int) -> bool:
        """Whether reading costs a crossing; inputs lie in the host's memory, ready for all."""
        if name in self.costs.graph.inputs:
            processors = self.costs.processors
            return processors[source].memory != processors[place].memory
        return source != place
