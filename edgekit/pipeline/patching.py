"""``convert --patch``: whether the first layers run patch by patch, and in which patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from edgekit.converters.partitioning.patch_search import (
    PatchCost,
    by_preference,
    live_bytes,
    search,
    weigh,
)
from edgekit.converters.partitioning.patches import (
    PatchGrid,
    parse_grid,
    patch_stages,
    split_into_patches,
)
from edgekit.converters.recipes import Recipe
from edgekit.deploy.cores import kernels_of
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.ops.kernel_set import KernelSet
from edgekit.pipeline.job import Product
from edgekit.profiles import DeviceProfile


@dataclass(frozen=True, slots=True)
class Patching:
    """What was chosen, and what whole layers would have taken.

    Parameters
    ----------
    chosen, whole : PatchCost
    last_layer : str
        Last layer of the patch stage, as a user knows it.
    whole_live_bytes : tuple of int
        Bytes alive at each node where layers run whole.
    exact : bool
        Whether outputs are those of whole layers.
    """

    chosen: PatchCost
    whole: PatchCost
    last_layer: str = ""
    whole_live_bytes: tuple[int, ...] = ()
    exact: bool = True

    @property
    def extra_macs(self) -> float:
        """Share of the whole network's multiply-accumulates that come on top."""
        return self.chosen.macs / self.whole.macs - 1 if self.whole.macs else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the answer for ``convert --json``; empty where layers run whole."""
        grid = self.chosen.grid
        if grid is None:
            return {}
        return {
            "rows": grid.rows,
            "columns": grid.columns,
            "last_layer": self.last_layer,
            "rows_kept": grid.cached,
            "input_streamed": grid.streamed,
            "live_peak_bytes": self.chosen.peak_bytes,
            "layer_by_layer_peak_bytes": self.whole.peak_bytes,
            "macs": self.chosen.macs,
            "layer_by_layer_macs": self.whole.macs,
            "layer_by_layer_live_bytes": list(self.whole_live_bytes),
        }

    def note(self) -> str:
        """Return the sentence for the user; empty where layers run whole."""
        grid = self.chosen.grid
        if grid is None:
            return ""
        kept = ", rows kept between them" if grid.cached else ""
        given = ", the input handed over part by part" if grid.streamed else ""
        return (
            f"Layers up to {self.last_layer} run in {grid.text} patches{kept}{given}: "
            f"{self.chosen.peak_bytes:,} bytes instead of {self.whole.peak_bytes:,}, "
            f"{self.extra_macs:+.1%} multiply-accumulates."
            f"{' Outputs are the same, bit for bit.' if self.exact else ''}"
        )


Fits = Callable[[Product], bool]
"""Whether the placed arena of a product fits; live bytes alone may be a few bytes below it."""


def with_patches(
    product: Product, recipe: Recipe, profile: DeviceProfile, fits: Fits
) -> tuple[Product, Patching | None]:
    """Return a product whose first layers run patch by patch, where that is asked for or needed.

    ``auto`` leaves what fits as it is. A grid ``RxC`` takes the stage with the smallest peak; where
    it has one column, rows are kept.

    Raises
    ------
    UsageError
        If patches were asked for where there can be none.
    """
    if profile.kind != "mcu":
        if recipe.patch not in ("auto", "off") or recipe.stream_input:
            raise UsageError(f"--patch and --stream-input are for firmware, not {profile.name}")
        return product, None
    if recipe.patch == "off":
        if recipe.stream_input:
            raise UsageError("--stream-input hands the input to patches; --patch is off")
        return product, None
    graph, kernels = product.graph, kernels_of(profile)
    if recipe.patch == "auto":
        choices = _automatic(product, profile, kernels, fits, streamed=recipe.stream_input)
    else:
        choices = [asked_for(graph, recipe, kernels)]
    for choice in choices[:-1]:
        made = in_patches(product, choice, kernels)
        if fits(made[0]):
            return made
    return in_patches(product, choices[-1], kernels) if choices else (product, None)


def in_patches(
    product: Product, choice: Patching, kernels: KernelSet
) -> tuple[Product, Patching | None]:
    """Return a product in the patches of a choice; as it is where that has none."""
    grid, graph = choice.chosen.grid, product.graph
    if grid is None:
        return product, None
    choice = patching_of(graph, choice, kernels)
    made = replace(
        product,
        graph=split_into_patches(graph, grid),
        streamed=graph.inputs if grid.streamed else (),
        notes=(*product.notes, choice.note()),
    )
    return made, choice


def patching_of(graph: Graph, choice: Patching, kernels: KernelSet) -> Patching:
    """Return a choice with what is said about it: its last layer, and memory without patches."""
    grid = choice.chosen.grid
    last = next(node for node in graph.nodes if grid is not None and node.name == grid.last)
    whole = tuple(live_bytes(graph, kernels))
    return replace(choice, last_layer=last.origin or last.name, whole_live_bytes=whole)


def smallest_with_patches(graph: Graph, profile: DeviceProfile) -> str:
    """Return what a user could do about a model that does not fit: empty where nothing helps."""
    front = search(graph, kernels_of(profile), streamed=True)
    best = by_preference(front, available_bytes(graph, profile))[0]
    if best.grid is None or best.peak_bytes > available_bytes(graph, profile):
        return ""
    return (
        f"with --stream-input (your code hands the input over part by part) {best.grid.text} "
        f"patches fit in {best.peak_bytes:,} bytes"
    )


def _automatic(
    product: Product, profile: DeviceProfile, kernels: KernelSet, fits: Fits, *, streamed: bool
) -> list[Patching]:
    """Return the choices whose live bytes fit, the best first; none where whole layers do."""
    graph, available = product.graph, available_bytes(product.graph, profile)
    whole = weigh(graph, None, kernels)
    if whole.peak_bytes <= available and not streamed and fits(product):
        return []
    front = search(graph, kernels, streamed=streamed)
    # Asked to stream, whole layers are no choice: they take the whole input. Else they do not fit.
    choices = [cost for cost in front if cost.grid is not None]
    if not choices and streamed:
        raise UsageError(_no_stage(graph))
    found = by_preference(choices, available) if choices else []
    return [Patching(cost, whole) for cost in found]


def asked_for(
    graph: Graph, recipe: Recipe, kernels: KernelSet, *, kept: bool = True, least: int = 0
) -> Patching:
    """Return the stage with the smallest peak for the grid ``RxC`` of a recipe.

    Parameters
    ----------
    kept : bool
        Whether rows are kept where the grid has one column.
    least : int
        Nodes that the stage has at least.

    Raises
    ------
    UsageError
        If there is none, or none that needs less memory than whole layers.
    """
    rows, columns = parse_grid(recipe.patch)
    grids = [
        PatchGrid(last, rows, columns, kept and columns == 1, recipe.stream_input)
        for last in _stages(graph, rows, columns)
        if last not in {node.name for node in graph.nodes[: max(least - 1, 0)]}
    ]
    if not grids:
        raise UsageError(_no_stage(graph, rows, columns))
    front = search(graph, kernels, streamed=recipe.stream_input, grids=grids)
    choices = [cost for cost in front if cost.grid is not None]
    if not choices:
        raise UsageError(
            f"{recipe.patch} patches of this model need no less memory than whole layers "
            f"({front[0].peak_bytes:,} bytes); leave --patch away or try another grid"
        )
    return Patching(min(choices, key=lambda cost: (cost.peak_bytes, cost.macs)), front[0])


def _stages(graph: Graph, rows: int, columns: int) -> Iterator[str]:
    """Yield the ends of stages whose output has as many rows and columns."""
    shapes = {node.name: graph.tensors[node.outputs[0]].static_shape for node in graph.nodes}
    for last in patch_stages(graph):
        _, height, width, _ = shapes[last]
        if rows <= height and columns <= width:
            yield last


def _no_stage(graph: Graph, rows: int = 2, columns: int = 1) -> str:
    stages = patch_stages(graph)
    first = graph.nodes[0].where if graph.nodes else graph.name
    if not stages:
        return f"patches: layer {first} cannot be computed part by part; use --patch off"
    return f"patches: no layer that can be computed part by part has {rows}x{columns} pixels"


def available_bytes(graph: Graph, profile: DeviceProfile) -> int:
    """Return what the arena may take: without constants, where these lie in the same memory."""
    available = profile.memory(profile.working_memory).available_bytes.integer
    home = profile.constants_memory or profile.working_memory
    return available - (graph.weights_bytes if home == profile.working_memory else 0)
