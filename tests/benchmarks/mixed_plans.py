"""Plans of an image classifier that benchmarks of mixed precision compare.

Each is a graph of whole layers or of patches with a streamed input, int8 or with fewer bits, found
by the planners that ``convert --patch`` and ``convert --mixed`` use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from edgekit import zoo
from edgekit.converters.importers import load_model
from edgekit.converters.layout import to_layout
from edgekit.converters.partitioning.outliers import (
    calibrate_choice,
    fixed_choice,
    outlier_patches,
)
from edgekit.converters.partitioning.patch_search import (
    PatchCost,
    candidates,
    live_peak_bytes,
    search,
    wider,
)
from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.converters.partitioning.selective_patches import Choice, split_selectively
from edgekit.converters.partitioning.selective_search import smallest_tiles, work_of
from edgekit.converters.passes import simplify
from edgekit.converters.quantization.bit_search import search_bit_widths
from edgekit.converters.quantization.bit_widths import WIDTHS, width_groups, with_bit_widths
from edgekit.converters.quantization.fallback import quantize_with_gate
from edgekit.converters.quantization.histograms import (
    Histogram,
    clip_range,
    observe_histograms,
)
from edgekit.cost.bit_operations import node_bit_operations
from edgekit.dtypes import Array
from edgekit.graph import Graph, TensorKind
from edgekit.ops.kernel_set import KernelSet
from edgekit.schedule import schedule
from edgekit.shapes import bind_dims
from tests.benchmarks.image_classifiers import labelled_images, network_inputs

DSP = KernelSet.CORTEX_M_DSP
WEIGHTED = ("conv2d", "depthwise_conv2d")
CALIBRATION_IMAGES, REFINING_IMAGES = 48, 32

Made = tuple[Graph, bool, float]
"""A graph, whether its input is streamed, and the share of outlier patches."""


@dataclass(frozen=True, slots=True)
class Row:
    """A plan and how long it took to find."""

    name: str
    graph: Graph
    streamed: bool
    seconds: float
    outlier_share: float = 0.0

    @property
    def peak_bytes(self) -> int:
        """Memory of activations and scratch, whatever the input."""
        return live_peak_bytes(self.graph, DSP, self.graph.inputs if self.streamed else ())


@dataclass
class Study:
    """A network with its calibration data.

    Attributes
    ----------
    whole : Graph
        Int8, in whole layers.
    samples : list of dict of str to array
    """

    whole: Graph
    samples: list[dict[str, Array]]
    _narrow: dict[tuple[float, int, str], Graph] = field(default_factory=dict)

    @cached_property
    def histograms(self) -> dict[str, Histogram]:
        """Those of every activation."""
        return dict(observe_histograms(self.whole, self.samples))

    @cached_property
    def plain_patches(self) -> list[PatchCost]:
        """Int8 patches without kept rows that no others beat."""
        return plain_patches(self.whole)

    def row(self, name: str, make: Callable[[], Made]) -> Row:
        """Make a plan and take the time."""
        begin = time.monotonic()
        graph, streamed, share = make()
        return Row(name, graph, streamed, time.monotonic() - begin, share)

    def narrow(self, lambda_: float, *, weights: int = 8, fixed: str = "") -> Graph:
        """Return the network with searched widths; the group of ``fixed`` keeps 8 bits."""
        key = lambda_, weights, fixed
        if key not in self._narrow:
            groups = [g for g in width_groups(self.whole) if fixed not in g.tensors]
            allowed = {name for group in groups for name in group.tensors}
            found = search_bit_widths(self.whole, self.histograms, lambda_=lambda_, allowed=allowed)
            layers = [n.name for n in self.whole.nodes if n.op in WEIGHTED and weights < 8]
            bits = dict.fromkeys(layers, weights)
            self._narrow[key] = with_bit_widths(
                self.whole, found.widths, bits, samples=self.samples
            )
        return self._narrow[key]

    def narrow_stage(self, grid: PatchGrid, bits: int = 4) -> Graph:
        """Return the network with one width for all maps of the stage but its output."""
        count = next(i for i, n in enumerate(self.whole.nodes) if n.name == grid.last)
        inner = {n.outputs[0] for n in self.whole.nodes[:count]}
        firsts = [
            g.tensors[0]
            for g in width_groups(self.whole)
            if g.can_narrow and set(g.tensors) <= inner
        ]
        widths = {
            name: (
                WIDTHS[bits],
                clip_range(self.histograms[name], self.whole.tensors[name], bits),
            )
            for name in firsts
        }
        return with_bit_widths(self.whole, widths, samples=self.samples)

    def selective(self, low: Graph, grid: PatchGrid, phi: float, *, static: bool) -> Made:
        """Return patches of two precisions."""
        first = next(n for n in low.nodes if n.op in WEIGHTED)
        choice: Choice = calibrate_choice(
            low, grid, self.samples, tested=first.outputs[0], central_mass=phi
        )
        share = float(outlier_patches(low, grid, choice, self.samples).mean())
        if static:
            choice = fixed_choice(low, grid, choice, self.samples)
            share = len(choice.always or ()) / (grid.rows * grid.columns)
        best = smallest_tiles(self.whole, low, grid, choice, DSP, outlier_share=share)
        return split_selectively(self.whole, low, grid, best.choice), True, share


def study_of(model: str, assets: Path | None) -> Study:
    """Return a classifier of the zoo in int8, with stored pixels as its input."""
    pixels = labelled_images(model, CALIBRATION_IMAGES, training=True, assets=assets).pixels
    graph = to_layout(bind_dims(simplify(load_model(zoo.image_classifier_path(model)))), "NHWC")
    floats = list(network_inputs(graph, pixels))
    stored = with_stored_input(quantize_with_gate(graph, floats).graph)
    return Study(stored, list(network_inputs(stored, pixels[:REFINING_IMAGES])))


def with_stored_input(graph: Graph) -> Graph:
    """Return the graph from its first int8 image on: the caller quantizes."""
    place = next(i for i, node in enumerate(graph.nodes) if node.op == "quantize")
    place += graph.nodes[place + 1].op == "transpose"
    nodes = graph.nodes[place + 1 :]
    image = replace(graph.tensors[graph.nodes[place].outputs[0]], kind=TensorKind.INPUT)
    bare = graph.replace(nodes=nodes, tensors=[image], inputs=(image.name,))
    return schedule(bare, kernels=DSP).graph


def deep_stage(graph: Graph, rows: int, columns: int) -> str:
    """Return the last layer of the stage with the smallest peak."""
    shapes = {n.name: graph.tensors[n.outputs[0]].static_shape for n in graph.nodes}
    ends = [
        end for end in patch_stages(graph) if shapes[end][1] >= rows and shapes[end][2] >= columns
    ]
    grids = [PatchGrid(end, rows, columns, streamed=True) for end in ends]
    front = search(graph, DSP, streamed=True, grids=grids)
    chosen = min((c for c in front if c.grid), key=lambda cost: (cost.peak_bytes, cost.macs))
    assert chosen.grid is not None
    return chosen.grid.last


def plain_patches(graph: Graph) -> list[PatchCost]:
    """Return patches without kept rows, whichever are not beaten, input streamed."""
    grids = [grid for grid in candidates(graph, streamed=True) if not grid.cached]
    squares = search(graph, DSP, streamed=True, grids=grids)
    found = search(graph, DSP, streamed=True, grids=[*grids, *wider(graph, squares)])
    return [cost for cost in found if cost.grid is not None]


def all_patches(graph: Graph) -> list[PatchCost]:
    """Return patches without and with kept rows, whichever are not beaten."""
    return [cost for cost in search(graph, DSP, streamed=True) if cost.grid is not None]


def cheapest(graph: Graph, budget_bytes: int, *, kept: bool) -> Made:
    """Return the patches with the least work that meet a budget, else the smallest."""
    choices = all_patches(graph) if kept else plain_patches(graph)
    fitting = [c for c in choices if c.peak_bytes <= budget_bytes]
    return cut(graph, min(fitting or choices, key=lambda c: c.macs if fitting else c.peak_bytes))


def smallest(graph: Graph, most_macs: int, *, kept: bool) -> Made:
    """Return the patches with the smallest peak that take no more work, else the least work."""
    choices = all_patches(graph) if kept else plain_patches(graph)
    fitting = [c for c in choices if c.macs <= most_macs]
    return cut(graph, min(fitting or choices, key=lambda c: c.peak_bytes if fitting else c.macs))


def cut(graph: Graph, cost: PatchCost) -> Made:
    """Return the graph in the patches of a plan."""
    assert cost.grid is not None
    return split_into_patches(graph, cost.grid), True, 0.0


def with_outliers_everywhere(graph: Graph) -> Graph:
    """Return a graph whose every patch is an outlier patch, whatever the input."""
    tests = [node for node in graph.nodes if node.op == "outlier_test"]
    always = {node.name: replace(node, attrs={**node.attrs, "most": -1}) for node in tests}
    return graph.replace(nodes=[always.get(node.name, node) for node in graph.nodes])


def output_of(graph: Graph, name: str) -> str:
    """Return the output of a layer."""
    return next(node for node in graph.nodes if node.name == name).outputs[0]


def least_work(plans: Sequence[PatchCost], budget_bytes: int) -> PatchCost | None:
    """Return the plan with the least work of those within a budget."""
    fitting = [plan for plan in plans if plan.peak_bytes <= budget_bytes]
    return min(fitting, key=lambda plan: plan.macs, default=None)


def fewest_bytes(plans: Sequence[PatchCost], most_macs: int) -> int:
    """Return the smallest peak of plans within so much work; 0 if none is."""
    return min((plan.peak_bytes for plan in plans if plan.macs <= most_macs), default=0)


def stage_bit_operations(graph: Graph, outlier_share: float) -> float:
    """Return the bit operations of the layers in patches, as expected; 0 if all run whole."""
    each = node_bit_operations(graph)
    places = [index for index, node in enumerate(graph.nodes) if node.op == "paste"]
    stage = {node.name for node in graph.nodes[: max(places, default=-1) + 1]}
    return work_of(graph, lambda n: each.get(n.name, 0) * (n.name in stage), outlier_share).expected
