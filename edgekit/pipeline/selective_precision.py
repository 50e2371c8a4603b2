"""``convert --mixed static|runtime``: the first layers in patches of two precisions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgekit.converters.partitioning.outliers import (
    calibrate_choice,
    fixed_choice,
    outlier_shares,
)
from edgekit.converters.partitioning.patch_search import candidates, weigh
from edgekit.converters.partitioning.patches import PatchGrid, stage_length
from edgekit.converters.partitioning.selective_patches import Choice
from edgekit.converters.partitioning.selective_search import (
    TILES,
    SelectiveCost,
    bit_operations_of,
    search_selectively,
    smallest_tiles,
)
from edgekit.converters.quantization.bit_search import BitWidths
from edgekit.converters.quantization.bit_widths import width_groups, with_bit_widths
from edgekit.converters.quantization.histograms import Histogram, observe_histograms
from edgekit.cost.bit_operations import bit_operations
from edgekit.dtypes import DType
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.ops import spec_of
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import QuantRule
from edgekit.pipeline.job import Job, Product
from edgekit.pipeline.mixed_choice import Mixed
from edgekit.pipeline.narrowing import narrow_layers, narrowed, searched_widths
from edgekit.pipeline.patching import Patching, asked_for, available_bytes, patching_of

_OUTLIER_SHARE = 0.25
"""Of the patches of the calibration data: what calibration allows at most."""
_MOST_WORK = 3
"""Most multiply-accumulates at worst that a searched grid may take, as a multiple of those of whole
layers: with the grids that are weighed (up to 8x8) more work saves few bytes."""


def in_two_precisions(
    product: Product, job: Job, kernels: KernelSet
) -> tuple[Product, Patching | None, Mixed]:
    """Return a product in patches of few bits, outlier patches with 8, and what was chosen.

    Raises
    ------
    UsageError
        If there are no such patches, ``--patch`` is off, or no activation of the stage becomes
        narrower.
    """
    if job.recipe.patch == "off":
        raise UsageError(
            f"--mixed {job.recipe.mixed} chooses between patches; --patch is off (auto, or 2x2)"
        )
    stages = _Stages(narrowed(product.graph, job), job)
    if job.recipe.patch == "auto":
        cost, best = _searched(stages, job, kernels)
    else:
        cost, best = _asked_for(stages, job, kernels)
    work = bit_operations_of(best.cost.graph, best.outlier_share)
    mixed = Mixed(
        job.recipe.mixed,
        stages.widths(best.cost.grid.last),
        bit_operations(product.graph),
        work,
        best.cost.choice,
        best.outlier_share,
        example_shares=best.example_shares,
        weight_bits=narrow_layers(product.graph, job.recipe.mixed_weights),
    )
    chosen = replace(
        cost.chosen,
        grid=best.cost.grid,
        peak_bytes=best.cost.peak_bytes,
        macs=best.cost.macs.worst,
    )
    patching = patching_of(stages.high, replace(cost, chosen=chosen, exact=False), kernels)
    made = replace(
        product,
        graph=best.cost.graph,
        streamed=product.graph.inputs if best.cost.grid.streamed else (),
        notes=(*product.notes, patching.note()),
    )
    return made, patching, mixed


class _Stages:
    """The network of few bits for each end of a stage, whose output keeps its 8."""

    def __init__(self, high: Graph, job: Job) -> None:
        self.high = high
        self._job = job
        self._histograms: dict[str, Histogram] = observe_histograms(high, job.batches)
        self._found: dict[str, BitWidths] = {}
        self._low: dict[str, Graph | None] = {}
        self.first = _first_with_weights(high)

    @property
    def tested(self) -> str:
        """The map in which outliers are looked for."""
        return self.high.nodes[self.first].outputs[0]

    def widths(self, last: str) -> BitWidths:
        """Return the widths of the network with a stage that ends at a node."""
        if last not in self._found:
            allowed = _outside_stage_output(self.high, last)
            self._found[last] = searched_widths(
                self.high, self._job, allowed=allowed, histograms=self._histograms
            )
        return self._found[last]

    def low(self, last: str) -> Graph | None:
        """Return the network of few bits; None where the stage computes none of them."""
        if last not in self._low:
            low = with_bit_widths(self.high, self.widths(last).widths)
            stage = low.nodes[: _stage_length(low, last)]
            is_narrow = any(low.tensors[node.outputs[0]].dtype.is_packed for node in stage)
            self._low[last] = low if is_narrow and len(stage) > self.first else None
        return self._low[last]


@dataclass(frozen=True, slots=True, eq=False)
class _Calibrated:
    """A grid with its choice made from data."""

    cost: SelectiveCost
    outlier_share: float
    example_shares: tuple[float, ...]


def _asked_for(stages: _Stages, job: Job, kernels: KernelSet) -> tuple[Patching, _Calibrated]:
    cost = asked_for(stages.high, job.recipe, kernels, kept=False, least=stages.first + 1)
    assert cost.chosen.grid is not None  # a grid was asked for
    return cost, _calibrated(stages, cost.chosen.grid, job, kernels)


def _searched(stages: _Stages, job: Job, kernels: KernelSet) -> tuple[Patching, _Calibrated]:
    """Return the patches with the least work that fit; where none does, the smallest."""
    high, whole = stages.high, weigh(stages.high, None, kernels)
    found = search_selectively(
        high,
        stages.low,
        candidates(high, streamed=job.recipe.stream_input),
        Choice(tested=stages.tested),
        kernels,
        outlier_share=_OUTLIER_SHARE,
        budget_bytes=available_bytes(high, job.profile),
        most_macs=_MOST_WORK * whole.macs,
    )
    if found is None:
        raise UsageError(
            f"--mixed {job.recipe.mixed}: no patches of this model have activations of fewer bits "
            f"and take less than {_MOST_WORK} times the multiply-accumulates of whole layers; "
            "a smaller --mixed-lambda narrows more, or use --mixed widths"
        )
    cost = Patching(weigh(high, found.grid, kernels), whole)
    return cost, _calibrated(stages, found.grid, job, kernels, found.choice.tiles)


def _calibrated(
    stages: _Stages,
    grid: PatchGrid,
    job: Job,
    kernels: KernelSet,
    tiles: tuple[int, int] | None = None,
) -> _Calibrated:
    """Return a grid with its choice; its tiles are searched unless they are given."""
    if stages.low(grid.last) is None:
        raise UsageError(
            f"--mixed {job.recipe.mixed}: no activation of the patches is worth fewer than 8 bits "
            f"at lambda {job.recipe.mixed_lambda:g}; a smaller --mixed-lambda narrows more, or use "
            "--mixed widths"
        )
    low = narrowed(stages.high, job, stages.widths(grid.last))
    choice = calibrate_choice(
        low,
        grid,
        job.batches,
        tested=stages.tested,
        central_mass=job.recipe.mixed_phi,
        outlier_share=_OUTLIER_SHARE,
    )
    shares = outlier_shares(low, grid, choice, job.batches)
    share = float((shares > choice.most_share).mean())
    if job.recipe.mixed == "static":
        choice = fixed_choice(low, grid, choice, job.batches)
        share = len(choice.always or ()) / (grid.rows * grid.columns)
    best = smallest_tiles(
        stages.high,
        low,
        grid,
        choice,
        kernels,
        outlier_share=share,
        tiles=TILES if tiles is None else (tiles,),
    )
    return _Calibrated(best, share, tuple(shares[0].tolist()))


def _outside_stage_output(graph: Graph, last: str) -> frozenset[str]:
    """Return the tensors that may have fewer bits: the output of the stage keeps its 8."""
    output = graph.nodes[_stage_length(graph, last) - 1].outputs[0]
    return frozenset(
        name
        for group in width_groups(graph)
        if output not in group.tensors
        for name in group.tensors
    )


def _stage_length(graph: Graph, last: str) -> int:
    return stage_length(graph, PatchGrid(last, 1))


def _first_with_weights(graph: Graph) -> int:
    """Return the place of the layer whose output is tested: the first one with weights, in int8."""
    for index, node in enumerate(graph.nodes):
        is_stored = graph.tensors[node.outputs[0]].dtype is DType.INT8
        if spec_of(node).quantization is QuantRule.WEIGHTED and is_stored:
            return index
    raise UsageError("--mixed: no layer of this model has weights and an int8 output")
