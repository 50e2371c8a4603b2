"""What a choice between two precisions costs, and which grid and tiles need least memory.

Work is counted twice: at worst (every patch takes its dearer case) and as expected (a given share
of the patches is of high precision). Memory is that of the worst case: both cases have their place
in one plan, and what one of them uses is free before the other begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from edgekit.converters.partitioning.patch_search import live_peak_bytes
from edgekit.converters.partitioning.patches import PatchGrid
from edgekit.converters.partitioning.selective_patches import Choice, split_selectively
from edgekit.cost.bit_operations import node_bit_operations
from edgekit.errors import EdgekitError, UnsupportedOpError, UsageError
from edgekit.graph import Graph, Node
from edgekit.ops import spec_of
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from edgekit.selects import cheaper_cases, selects_in_order

TILES = ((1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (4, 4))
"""Rows and columns into which a patch of high precision is cut that a search tries."""


@dataclass(frozen=True, slots=True)
class Work:
    """Work of a graph with choices, in the unit of what was counted.

    Parameters
    ----------
    lowest : int
        Where every patch takes its cheaper case.
    worst : int
        Where every patch takes its dearer case.
    expected : float
        Where the given share of patches is of high precision.
    """

    lowest: int
    worst: int
    expected: float


@dataclass(frozen=True, slots=True)
class SelectiveCost:
    """What a grid and tiles cost.

    Parameters
    ----------
    grid : PatchGrid
    choice : Choice
    peak_bytes : int
        Largest sum of live bytes, scratch memory included, whatever is chosen.
    macs, bit_operations : Work
    """

    grid: PatchGrid
    choice: Choice
    peak_bytes: int
    macs: Work
    bit_operations: Work


def work_of(graph: Graph, work: Callable[[Node], int], outlier_share: float) -> Work:
    """Return the work of a graph.

    Parameters
    ----------
    graph : Graph
        Of :func:`split_selectively`; any other has no choices, and one amount of work.
    work : callable
        Work of a node, for instance its multiply-accumulates.
    outlier_share : float
        Share of the patches that are of high precision.
    """
    each = [work(node) for node in graph.nodes]
    lowest = sum(each)
    worst = lowest - sum(each[index] for index in cheaper_cases(graph, each))
    expected = float(lowest)
    for select in selects_in_order(graph):
        low, high = (sum(each[first : last + 1]) for first, last in select.cases)
        lowest -= max(low, high)
        expected -= outlier_share * low + (1 - outlier_share) * high
    return Work(lowest, worst, expected)


def macs_of(graph: Graph, outlier_share: float) -> Work:
    """Return the multiply-accumulates of a graph."""
    return work_of(graph, lambda node: spec_of(node).macs(OpView.of(graph, node)), outlier_share)


def bit_operations_of(graph: Graph, outlier_share: float) -> Work:
    """Return the bit operations of a graph."""
    each = node_bit_operations(graph)
    return work_of(graph, lambda node: each.get(node.name, 0), outlier_share)


def weigh_selectively(
    high: Graph,
    low: Graph,
    grid: PatchGrid,
    choice: Choice,
    kernels: KernelSet,
    outlier_share: float,
) -> SelectiveCost:
    """Return what a grid and a choice cost (errors as :func:`split_selectively`)."""
    graph = split_selectively(high, low, grid, choice)
    streamed = graph.inputs if grid.streamed else ()
    peak_bytes = live_peak_bytes(graph, kernels, streamed)
    macs, bits = macs_of(graph, outlier_share), bit_operations_of(graph, outlier_share)
    return SelectiveCost(grid, choice, peak_bytes, macs, bits)


def smallest_tiles(
    high: Graph,
    low: Graph,
    grid: PatchGrid,
    choice: Choice,
    kernels: KernelSet,
    *,
    outlier_share: float,
    tiles: Iterable[tuple[int, int]] = TILES,
) -> SelectiveCost:
    """Return the tiles with the smallest peak; of equal ones those with the least expected work.

    Raises
    ------
    UnsupportedOpError
        If the stage cannot be computed in any of these tiles.
    UsageError
        If there are no tiles, or as :func:`split_selectively`.
    """
    found: list[SelectiveCost] = []
    refusal: EdgekitError = UsageError("there are no tiles to choose from")
    for each in tiles:
        chosen = replace(choice, tiles=each)
        try:
            found.append(weigh_selectively(high, low, grid, chosen, kernels, outlier_share))
        except UnsupportedOpError as error:
            refusal = error
    if not found:
        raise refusal
    return min(found, key=lambda cost: (cost.peak_bytes, cost.macs.expected))


def search_selectively(
    high: Graph,
    low: Graph,
    grids: Iterable[PatchGrid],
    choice: Choice,
    kernels: KernelSet,
    *,
    outlier_share: float,
) -> list[SelectiveCost]:
    """Return the grids and tiles that no other beats in peak and expected bit operations.

    Parameters
    ----------
    high, low : Graph
    grids : iterable of PatchGrid
        Those that cannot be computed in parts, or keep rows, are left out.
    choice : Choice
        Its tiles are replaced by each of :data:`TILES`. What it tests has no part in the cost.
    kernels : KernelSet
        Whose scratch memory counts.
    outlier_share : float
        Share of the patches that are of high precision.

    Returns
    -------
    list of SelectiveCost
        By peak, the smallest last; empty where nothing can be.
    """
    found: list[SelectiveCost] = []
    for grid in (grid for grid in grids if not grid.cached):
        for tiles in TILES:
            chosen = replace(choice, tiles=tiles)
            try:
                found.append(weigh_selectively(high, low, grid, chosen, kernels, outlier_share))
            except UnsupportedOpError:
                continue
    found.sort(key=lambda cost: (cost.peak_bytes, cost.bit_operations.expected))
    front: list[SelectiveCost] = []
    for cost in found:
        if not front or cost.bit_operations.expected < front[-1].bit_operations.expected:
            front.append(cost)
    return front[::-1]
