"""Which patches: every stage and grid weighed by peak bytes against extra multiply-accumulates.

The search tries each end of a patch stage whose output is not larger than that of any end before
(a larger image would have to be kept whole), with grids of growing fineness, with and
without kept rows. What is weighed is exact: the largest sum of live bytes of the patched graph,
scratch memory of kernels included, and its multiply-accumulates.

The idea of a front over fusion settings is that of msf-CNN (Huang et al., "msf-CNN: Patch-based
Multi-Stage Fusion with Convolutional Neural Networks for TinyML", NeurIPS 2025).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate

from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.errors import UnsupportedOpError
from edgekit.graph import Graph
from edgekit.lifetimes import find_storages
from edgekit.ops import spec_of
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from edgekit.plan import Compute

_MEMORY = "ram"
_MOST_PATCHES = 64
"""Each patch has its own calls in the generated code, of some hundred bytes a layer."""

_SIDES = (2, 3, 4, 5, 6, 8)
_WIDER = tuple(
    (rows, columns) for rows in (1, *_SIDES) for columns in _SIDES if rows < columns <= 3 * rows
)
_ROWS = (2, 3, 4, 6, 8, 12, 14, 16, 24, 28)


@dataclass(frozen=True, slots=True)
class PatchCost:
    """What a choice of patches costs.

    Parameters
    ----------
    grid : PatchGrid or None
        None: no patches.
    peak_bytes : int
        Largest sum of live bytes, scratch memory included: no arena is smaller.
    macs : int
        Multiply-accumulates of the whole network, what is computed twice included.
    """

    grid: PatchGrid | None
    peak_bytes: int
    macs: int


def weigh(graph: Graph, grid: PatchGrid | None, kernels: KernelSet) -> PatchCost:
    """Return what a choice costs (errors as :func:`split_into_patches`)."""
    patched = split_into_patches(graph, grid) if grid else graph
    streamed = graph.inputs if grid and grid.streamed else ()
    macs = sum(spec_of(node).macs(OpView.of(patched, node)) for node in patched.nodes)
    return PatchCost(grid, live_peak_bytes(patched, kernels, streamed), macs)


def live_peak_bytes(graph: Graph, kernels: KernelSet, streamed: Sequence[str] = ()) -> int:
    """Return the largest number of bytes alive at any node, in the order of the graph."""
    return max(live_bytes(graph, kernels, streamed), default=0)


def live_bytes(graph: Graph, kernels: KernelSet, streamed: Sequence[str] = ()) -> list[int]:
    """Return the bytes alive at each node, scratch memory included, in the order of the graph."""
    steps = [Compute(node.name, "", (), _MEMORY) for node in graph.nodes]
    changes = [0] * (len(steps) + 1)
    for storage in find_storages(
        graph, steps, host_memory=_MEMORY, kernels=kernels, streamed=streamed
    ):
        changes[storage.first_step] += storage.size_bytes
        changes[storage.last_step + 1] -= storage.size_bytes
    return list(accumulate(changes))[:-1]


def candidates(graph: Graph, *, streamed: bool) -> Iterator[PatchGrid]:
    """Yield the grids that the search weighs."""
    producers = {node.name: node for node in graph.nodes}
    smallest = max(tensor.size_bytes for tensor in graph.tensors.values())
    for last in patch_stages(graph):
        output = graph.tensors[producers[last].outputs[0]]
        if output.size_bytes > smallest:
            continue
        smallest = output.size_bytes
        _, height, width, _ = output.static_shape
        for side in _SIDES:
            if side <= min(height, width) and side * side <= _MOST_PATCHES:
                yield PatchGrid(last, side, side, streamed=streamed)
        for rows in _ROWS:
            if rows <= height:
                yield PatchGrid(last, rows, cached=True, streamed=streamed)


def search(
    graph: Graph, kernels: KernelSet, *, streamed: bool, grids: Iterable[PatchGrid] | None = None
) -> list[PatchCost]:
    """Return the choices that no other beats, whole layers first.

    Another choice beats one if it has neither more peak bytes nor more multiply-accumulates nor
    more patches.

    Parameters
    ----------
    graph : Graph
        With static shapes, channels last, in the order in which it runs.
    kernels : KernelSet
        Whose scratch memory counts.
    streamed : bool
        Whether the input is handed over part by part, in no memory of its own.
    grids : iterable of PatchGrid, optional
        What is weighed; all :func:`candidates`, without it. What cannot be is left out.

    Returns
    -------
    list of PatchCost
        By peak, the smallest last.
    """
    whole = weigh(graph, None, kernels)
    tried = candidates(graph, streamed=streamed) if grids is None else grids
    front = _front(whole, _weighed(graph, tried, kernels))
    if grids is None:
        front = _front(whole, [*front, *_weighed(graph, wider(graph, front), kernels)])
    return [whole, *sorted(front, key=lambda cost: -cost.peak_bytes)]


def _weighed(graph: Graph, grids: Iterable[PatchGrid], kernels: KernelSet) -> Iterator[PatchCost]:
    for grid in grids:
        with suppress(UnsupportedOpError):
            yield weigh(graph, grid, kernels)


def _front(whole: PatchCost, costs: Iterable[PatchCost]) -> list[PatchCost]:
    """Return the costs that no other beats."""
    found = list(costs)
    return [cost for cost in found if not any(_beats(other, cost) for other in (whole, *found))]


def wider(graph: Graph, front: Sequence[PatchCost]) -> Iterator[PatchGrid]:
    """Yield grids of more columns than rows for the ends of a front."""
    outputs = {node.name: node.outputs[0] for node in graph.nodes}
    squares = {c.grid.last: c.grid for c in front if c.grid is not None and not c.grid.cached}
    for last, square in squares.items():
        _, height, width, _ = graph.tensors[outputs[last]].static_shape
        for rows, columns in _WIDER:
            if rows <= height and columns <= width and rows * columns <= _MOST_PATCHES:
                yield replace(square, rows=rows, columns=columns)


def _beats(first: PatchCost, second: PatchCost) -> bool:
    one, other = ((cost.peak_bytes, cost.macs, _patches(cost)) for cost in (first, second))
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def by_preference(front: Sequence[PatchCost], available_bytes: int) -> list[PatchCost]:
    """Return the choices that fit, the best first; where none does, the smallest alone.

    Whole layers go before patches, then those with the fewest multiply-accumulates; of equal ones
    the fewest patches, which moves fewest bytes.

    Parameters
    ----------
    front : sequence of PatchCost
        As :func:`search` returns it; not empty.
    available_bytes : int
    """
    fitting = [cost for cost in front if cost.peak_bytes <= available_bytes]
    if not fitting:
        return [min(front, key=lambda cost: cost.peak_bytes)]
    return sorted(fitting, key=lambda cost: (cost.grid is not None, cost.macs, _patches(cost)))


def _patches(cost: PatchCost) -> int:
    return cost.grid.rows * cost.grid.columns if cost.grid else 0
