"""The order of nodes that needs the least memory at its worst step.

A graph is cut at nodes through which everything passes (all nodes before are ancestors, all after
descendants); the segments between are independent of each other. Within a segment, the sets of
executed nodes are searched best-first by the peak on the way there: what lives after a set does not
depend on the order that led to it, so that the first time the full set is reached, the peak is the
smallest possible. A ready node that neither raises the peak nor leaves more bytes alive than before
is run at once: any order that runs it later can run it now at no cost.

Where a segment has too many sets, a beam search gives a good order without proof. The result is
never worse than the given order, and is the same every time.

The idea of searching over executed sets, with cuts, follows Ahn et al., "Ordering Chaos:
Memory-Aware Scheduling of Irregularly Wired Neural Networks for Edge Devices", MLSys 2020,
sections 3.1 and 3.2.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.errors import InternalError
from edgekit.graph import Graph, Node, TensorKind
from edgekit.lifetimes import in_place_pairs, scratch_bytes, view_pair
from edgekit.ops.kernel_set import KernelSet
from edgekit.selects import selects_in_order

_BEAM_WIDTH = 32


@dataclass(frozen=True, slots=True)
class Schedule:
    """A graph in a new order.

    Parameters
    ----------
    graph : Graph
    peak_bytes, given_peak_bytes : int
        Largest sum of live bytes in the new and in the given order.
    optimal : bool
        Whether no order has a smaller peak.
    """

    graph: Graph
    peak_bytes: int
    given_peak_bytes: int
    optimal: bool


def schedule(
    graph: Graph,
    *,
    kernels: KernelSet = KernelSet.PORTABLE,
    with_scratch: bool = True,
    state_limit: int = 4_000,
) -> Schedule:
    """Return the graph with its nodes in the order of the smallest peak.

    Where cases are chosen at run time, each a run of nodes, the order stays: in another one both
    cases would have to be computed.

    Parameters
    ----------
    graph : Graph
        With static shapes.
    kernels : KernelSet
        Whose scratch memory counts.
    with_scratch : bool
        Whether scratch memory of kernels counts.
    state_limit : int
        Executed sets looked at in one segment before the search gives up its proof.
    """
    costs = _Costs(graph, kernels, with_scratch)
    if selects_in_order(graph):
        given_peak = costs.peak_of(range(len(graph.nodes)))
        return Schedule(graph, given_peak, given_peak, given_peak == costs.floor_bytes())
    first = tuple(index for index in range(costs.count) if not costs.predecessors[index])
    state = _State(costs.floor_bytes(), costs.start_bytes, 0, (), first)
    optimal = True
    for segment in _segments(costs):
        state, proven = _best_order(costs, state, len(segment), state_limit)
        optimal = optimal and proven
    order = state.order
    given_peak, new_peak = costs.peak_of(range(len(graph.nodes))), costs.peak_of(order)
    optimal = optimal or min(given_peak, new_peak) == costs.floor_bytes()
    if new_peak >= given_peak:
        return Schedule(graph, given_peak, given_peak, optimal)
    nodes = [graph.nodes[index] for index in order]
    return Schedule(graph.replace(nodes=nodes), new_peak, given_peak, optimal)


@dataclass(frozen=True, slots=True)
class _Group:
    """Tensors that are views of the same bytes.

    ``readers`` is the set of nodes that read any of them; ``kept`` groups hold a graph output and
    live to the end; ``owned`` groups hold no graph input or output, so that an operator may write
    over them.
    """

    size_bytes: int
    readers: int
    kept: bool
    owned: bool


class _Costs:
    """What each node allocates and frees, on bit sets of executed nodes."""

    def __init__(self, graph: Graph, kernels: KernelSet, with_scratch: bool) -> None:
        self.count = len(graph.nodes)
        members = _view_groups(graph)
        group_of = {name: index for index, names in enumerate(members) for name in names}
        self.groups = [_group(graph, names) for names in members]
        self.predecessors = _predecessors(graph)
        self.successors: list[list[int]] = [[] for _ in graph.nodes]
        for index, before in enumerate(self.predecessors):
            for other in _members(before):
                self.successors[other].append(index)
        self.reads = [_indices(node.inputs, group_of) for node in graph.nodes]
        views = dict(_views(graph))
        self.makes = [
            _indices([name for name in node.outputs if name not in views], group_of)
            for node in graph.nodes
        ]
        self.in_place = [
            [
                (group_of[source], group_of[target])
                for source, target in in_place_pairs(graph, node)
                if _only_reader_is(node, source, members[group_of[source]])
            ]
            for node in graph.nodes
        ]
        self.scratch_bytes, self.scratch_in_place_bytes = (
            [
                scratch_bytes(graph, node, kernels, in_place=in_place) if with_scratch else 0
                for node in graph.nodes
            ]
            for in_place in (False, True)
        )
        states = [t.size_bytes for t in graph.tensors.values() if t.kind is TensorKind.STATE]
        inputs = _indices(graph.inputs, group_of)
        self.start_bytes = sum(states) + sum(self.groups[g].size_bytes for g in inputs)

    def run(self, done: int, live_bytes: int, node: int) -> tuple[int, int]:
        """Return (bytes alive while the node runs, bytes alive after it)."""
        after = done | 1 << node
        dying = {g for g in self.reads[node] if self._is_dead(g, after)}
        made_bytes = sum(self.groups[g].size_bytes for g in self.makes[node])
        during = live_bytes + made_bytes
        used: set[int] = set()
        for source, target in self.in_place[node]:
            if source in dying and self.groups[source].owned and not used & {source, target}:
                used |= {source, target}
                during -= self.groups[source].size_bytes
        during += (self.scratch_in_place_bytes if used else self.scratch_bytes)[node]
        dying.update(g for g in self.makes[node] if self._is_dead(g, after))
        freed_bytes = sum(self.groups[g].size_bytes for g in dying)
        return during, live_bytes + made_bytes - freed_bytes

    def floor_bytes(self) -> int:
        """Return what the most demanding node needs whatever else lives: no order peaks lower."""
        floor = self.start_bytes
        for node in range(self.count):
            needed = sum(self.groups[g].size_bytes for g in (*self.reads[node], *self.makes[node]))
            saved = sum(self.groups[source].size_bytes for source, _ in self.in_place[node])
            apart = needed + self.scratch_bytes[node]
            floor = max(floor, min(apart, needed + self.scratch_in_place_bytes[node] - saved))
        return floor

    def peak_of(self, order: Sequence[int]) -> int:
        """Return the largest number of bytes alive at any step of an order."""
        done, live, peak = 0, self.start_bytes, self.start_bytes
        for node in order:
            during, live = self.run(done, live, node)
            peak = max(peak, during)
            done |= 1 << node
        return peak

    def _is_dead(self, group: int, done: int) -> bool:
        return not self.groups[group].kept and not self.groups[group].readers & ~done


def _views(graph: Graph) -> list[tuple[str, str]]:
    """Return (output, input) of every node that only gives another view."""
    pairs = [view_pair(graph, node) for node in graph.nodes]
    return [(target, source) for source, target in (pair for pair in pairs if pair)]


def _view_groups(graph: Graph) -> list[list[str]]:
    """Return the computed tensors and graph inputs, those with the same bytes together."""
    source_of = dict(_views(graph))
    groups: dict[str, list[str]] = {}
    root_of: dict[str, str] = {}
    for name in (*graph.inputs, *(out for node in graph.nodes for out in node.outputs)):
        if graph.tensors[name].kind in (TensorKind.INPUT, TensorKind.ACTIVATION):
            root_of[name] = root_of.get(source_of.get(name, name), name)
            groups.setdefault(root_of[name], []).append(name)
    return list(groups.values())


def _group(graph: Graph, names: Sequence[str]) -> _Group:
    readers = 0
    for index, node in enumerate(graph.nodes):
        if not set(names).isdisjoint(node.inputs):
            readers |= 1 << index
    kept = not set(names).isdisjoint(graph.outputs)
    owned = not kept and set(names).isdisjoint(graph.inputs)
    return _Group(graph.tensors[names[0]].size_bytes, readers, kept, owned)


def _indices(names: Sequence[str], group_of: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(group_of[name] for name in names if name in group_of))


def _only_reader_is(node: Node, source: str, members: Sequence[str]) -> bool:
    """Whether a node reads a group's bytes through one tensor only."""
    return not any(name != source and name in node.inputs for name in members)


def _predecessors(graph: Graph) -> list[int]:
    """Return the nodes that must run before each node.

    Beside the producers of its inputs: nodes that share a state keep their order.
    """
    made_by: dict[str, int] = {}
    last_user: dict[str, int] = {}
    predecessors: list[int] = []
    for index, node in enumerate(graph.nodes):
        before = 0
        for name in node.inputs:
            if name in made_by:
                before |= 1 << made_by[name]
            if name and graph.tensors[name].kind is TensorKind.STATE:
                before |= 1 << last_user[name] if name in last_user else 0
                last_user[name] = index
        made_by.update(dict.fromkeys(node.outputs, index))
        predecessors.append(before)
    return predecessors


def _segments(costs: _Costs) -> list[list[int]]:
    """Cut the given order behind every node that everything passes through."""
    ancestors: list[int] = []
    for before in costs.predecessors:
        known = before
        for index in _members(before):
            known |= ancestors[index]
        ancestors.append(known)
    segments: list[list[int]] = [[]]
    for index in range(costs.count):
        segments[-1].append(index)
        bit = 1 << index
        if ancestors[index] == bit - 1 and all(later & bit for later in ancestors[index + 1 :]):
            segments.append([])
    return [segment for segment in segments if segment]


def _members(mask: int) -> list[int]:
    return [index for index in range(mask.bit_length()) if mask >> index & 1]


def _best_order(costs: _Costs, start: _State, count: int, state_limit: int) -> tuple[_State, bool]:
    """Return the state after the best order of the next ``count`` nodes, and whether it is proven.

    The nodes are those of one segment: nothing behind it is ready before all of it has run.
    """
    length = len(start.order) + count
    start = _run_free(costs, start, length)
    queue = [start]
    lowest_peak = {start.done: start.peak_bytes}
    while queue:
        state = heapq.heappop(queue)
        if len(state.order) == length:
            return state, True
        if len(lowest_peak) > state_limit:
            return _beam_order(costs, start, length), False
        for node in state.ready:
            new = _run_free(costs, _step(costs, state, node), length)
            if new.peak_bytes < lowest_peak.get(new.done, new.peak_bytes + 1):
                lowest_peak[new.done] = new.peak_bytes
                heapq.heappush(queue, new)
    raise InternalError("a segment of the graph has no order")


@dataclass(frozen=True, slots=True, order=True)
class _State:
    """A set of executed nodes and how it was reached; sorts by peak, then by live bytes."""

    peak_bytes: int
    live_bytes: int
    done: int
    order: tuple[int, ...]
    ready: tuple[int, ...]


def _step(costs: _Costs, state: _State, node: int) -> _State:
    during, live = costs.run(state.done, state.live_bytes, node)
    done = state.done | 1 << node
    released = [n for n in costs.successors[node] if not costs.predecessors[n] & ~done]
    ready = (*(n for n in state.ready if n != node), *released)
    return _State(max(state.peak_bytes, during), live, done, (*state.order, node), ready)


def _run_free(costs: _Costs, state: _State, length: int) -> _State:
    """Run every ready node that costs nothing: no higher peak, no more bytes alive after."""
    progress = True
    while progress and len(state.order) < length:
        progress = False
        for node in state.ready:
            during, live = costs.run(state.done, state.live_bytes, node)
            if during <= state.peak_bytes and live <= state.live_bytes:
                state, progress = _step(costs, state, node), True
                break
    return state


def _beam_order(costs: _Costs, start: _State, length: int) -> _State:
    """Return a good order: the best few states after each step, without proof."""
    beam = [start]
    for _ in range(length - len(start.order)):
        nexts: dict[int, _State] = {}
        for state in beam:
            for node in state.ready:
                new = _step(costs, state, node)
                nexts[new.done] = min(new, nexts.get(new.done, new))
        beam = sorted(nexts.values())[:_BEAM_WIDTH]
    return beam[0]
