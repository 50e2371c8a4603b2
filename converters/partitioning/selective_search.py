"""What a choice between two precisions costs, and which grid and tiles need least memory.

Work is counted twice: at worst (every patch takes its dearer case) and as expected (a given share
of the patches is of high precision). Memory is that of the worst case: both cases have their place
in one plan, and what one of them uses is free before the other begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from edgekit.converters.partitioning.patch_builder import own_needs, parts_of
from edgekit.converters.partitioning.patch_search import live_peak_bytes
from edgekit.converters.partitioning.patches import PatchGrid, stage_length
from edgekit.converters.partitioning.receptive_fields import Region
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


@dataclass(frozen=True, slots=True, eq=False)
class SelectiveCost:
    """What a grid and tiles cost.

    Parameters
    ----------
    grid : PatchGrid
    choice : Choice
    peak_bytes : int
        Largest sum of live bytes, scratch memory included, whatever is chosen.
    macs, bit_operations : Work
    graph : Graph
        In these patches.
    """

    grid: PatchGrid
    choice: Choice
    peak_bytes: int
    macs: Work
    bit_operations: Work
    graph: Graph


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
    return SelectiveCost(grid, choice, peak_bytes, macs, bits, graph)


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


LowOf = Callable[[str], Graph | None]
"""From the end of a stage to the graph of few bits; None where nothing in it becomes narrower."""


def search_selectively(
    high: Graph,
    low_of: LowOf,
    grids: Iterable[PatchGrid],
    choice: Choice,
    kernels: KernelSet,
    *,
    outlier_share: float,
    budget_bytes: int,
    most_macs: int,
) -> SelectiveCost | None:
    """Return the grid and tiles with the least work that meet a budget.

    They are tried by foreseen work, the least first, until one fits.

    Parameters
    ----------
    high : Graph
    low_of : callable
    grids : iterable of PatchGrid
        Those that cannot be computed in parts, or keep rows, are left out.
    choice : Choice
        Its tiles are replaced by each of :data:`TILES`. What it tests has no part in the cost.
    kernels : KernelSet
        Whose scratch memory counts.
    outlier_share : float
        Share of the patches that are of high precision.
    budget_bytes : int
        Most live bytes.
    most_macs : int
        Most multiply-accumulates of the network at worst, the test's apart: bytes are not bought
        with unlimited work.

    Returns
    -------
    SelectiveCost or None
        Where nothing meets the budget, the smallest of what was weighed; None where nothing can be
        cut with as few multiply-accumulates.
    """
    smallest: SelectiveCost | None = None
    floors: dict[PatchGrid, int] = {}
    for grid, tiles in _by_work(high, low_of, grids, outlier_share, most_macs):
        low = low_of(grid.last)
        assert low is not None  # its grids are left out
        if grid not in floors:
            floors[grid] = _floor_bytes(high, low, grid, kernels)
        if floors[grid] > budget_bytes and smallest and floors[grid] >= smallest.peak_bytes:
            continue
        chosen = replace(choice, tiles=tiles)
        cost = weigh_selectively(high, low, grid, chosen, kernels, outlier_share)
        if cost.peak_bytes <= budget_bytes:
            return cost
        if smallest is None or cost.peak_bytes < smallest.peak_bytes:
            smallest = cost
    return smallest


def _by_work(
    high: Graph, low_of: LowOf, grids: Iterable[PatchGrid], outlier_share: float, most_macs: int
) -> list[tuple[PatchGrid, tuple[int, int]]]:
    """Return grids and tiles within the limit by their expected multiply-accumulates."""
    found: list[tuple[float, PatchGrid, tuple[int, int]]] = []
    for grid in (grid for grid in grids if not grid.cached and low_of(grid.last) is not None):
        for tiles in TILES:
            try:
                low = _macs_in_parts(high, grid, grid.rows, grid.columns)
                tiled = _macs_in_parts(high, grid, grid.rows * tiles[0], grid.columns * tiles[1])
            except UnsupportedOpError:
                break
            if max(low, tiled) > most_macs:
                break  # finer tiles compute more twice
            found.append(((1 - outlier_share) * low + outlier_share * tiled, grid, tiles))
    found.sort(key=lambda one: one[0])
    return [(grid, tiles) for _, grid, tiles in found]


def _macs_in_parts(graph: Graph, grid: PatchGrid, rows: int, columns: int) -> int:
    """Return the multiply-accumulates of a network whose stage is cut into as many parts."""
    count = stage_length(graph, grid)
    stage, rest = graph.nodes[:count], graph.nodes[count:]
    macs = {node.outputs[0]: spec_of(node).macs(OpView.of(graph, node)) for node in graph.nodes}
    whole = Region.whole(graph.tensors[stage[-1].outputs[0]])
    areas: dict[str, int] = {}
    parts = parts_of(whole, min(rows, whole.height), min(columns, whole.width))
    for patch in own_needs(graph, stage, parts):
        for name, region in patch.made.items():
            areas[name] = areas.get(name, 0) + region.height * region.width
    total = sum(macs[node.outputs[0]] for node in rest)
    for node in stage:
        name = node.outputs[0]
        if macs[name]:
            image = Region.whole(graph.tensors[name])
            total += macs[name] * areas.get(name, 0) // (image.height * image.width)
    return total


def _floor_bytes(high: Graph, low: Graph, grid: PatchGrid, kernels: KernelSet) -> int:
    """Return the peak without any outlier patch: no tiles need less."""
    graph = split_selectively(high, low, grid, Choice(always=frozenset()))
    return live_peak_bytes(graph, kernels, graph.inputs if grid.streamed else ())
