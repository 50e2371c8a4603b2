"""Mixed precision on a microcontroller, step by step: memory, work, bit operations, accuracy.

One row a plan of a classifier that ships: whole int8 layers, int8 patches, kept rows,
outlier patches alone, widths alone, both, narrow weights. Rows without a choice at run time take
the patches with the least work that need no more memory than the mixed plan. The ratio of each row
is to the cheapest int8 patches without kept rows that need no more memory than it. Bit operations
are of the whole network, halos included; instructions are counted under QEMU on a Cortex-M4::

    PYTHONPATH=scripts python -m tests.benchmarks.bench_mixed_precision [--model letters]

The letters are those of the folder of assets (EDGEKIT_ASSETS).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit import zoo
from edgekit.converters.importers import load_model
from edgekit.converters.layout import to_layout
from edgekit.converters.partitioning.outliers import (
    calibrate_choice,
    fixed_choice,
    outlier_patches,
)
from edgekit.converters.partitioning.patch_search import PatchCost, live_peak_bytes, search
from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.converters.partitioning.selective_patches import Choice, split_selectively
from edgekit.converters.partitioning.selective_search import (
    bit_operations_of,
    macs_of,
    smallest_tiles,
)
from edgekit.converters.passes import simplify
from edgekit.converters.quantization.bit_search import search_bit_widths
from edgekit.converters.quantization.bit_widths import WIDTHS, width_groups, with_bit_widths
from edgekit.converters.quantization.fallback import quantize_with_gate
from edgekit.converters.quantization.histograms import clip_range, observe_histograms
from edgekit.dtypes import Array
from edgekit.emulators.mcu import emulate_firmware
from edgekit.graph import Graph, TensorKind
from edgekit.ops.kernel_set import KernelSet
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.schedule import schedule
from edgekit.shapes import bind_dims
from tests.benchmarks.image_classifiers import (
    LabelledImages,
    accuracy,
    labelled_images,
    network_inputs,
    with_bright_patch,
    with_bright_spots,
)

DEVICE = "stm32l4r5"
DSP = KernelSet.CORTEX_M_DSP
LAMBDAS = (0.8, 0.9, 0.95)
PHIS = (0.9, 0.98)
CHOSEN = (0.9, 0.98)
"""Lambda and phi of the mixed plan whose memory is the budget."""


@dataclass(frozen=True, slots=True)
class Row:
    """A plan and how long it took to find."""

    name: str
    graph: Graph
    streamed: bool
    seconds: float
    outlier_share: float = 0.0


@dataclass(slots=True)
class Study:
    """A network with its calibration data."""

    whole: Graph
    samples: list[dict[str, Array]]

    def row(self, name: str, make: Callable[[], tuple[Graph, bool, float]]) -> Row:
        begin = time.monotonic()
        graph, streamed, share = make()
        return Row(name, graph, streamed, time.monotonic() - begin, share)

    def narrow(self, lambda_: float, *, weights: int = 8, fixed: str = "") -> Graph:
        """Return the network with searched widths; the group of ``fixed`` keeps 8 bits."""
        graph = self.narrow_weights(self.whole) if weights == 4 else self.whole
        groups = [g for g in width_groups(graph) if fixed not in g.tensors]
        allowed = {name for group in groups for name in group.tensors}
        histograms = observe_histograms(graph, self.samples)
        found = search_bit_widths(graph, histograms, lambda_=lambda_, allowed=allowed)
        return with_bit_widths(graph, found.widths)

    def narrow_weights(self, graph: Graph) -> Graph:
        layers = {n.name: 4 for n in graph.nodes if n.op in ("conv2d", "depthwise_conv2d")}
        return with_bit_widths(graph, {}, layers, samples=self.samples)

    def narrow_stage(self, grid: PatchGrid, bits: int = 4) -> Graph:
        """Return the network with one width for all maps of the stage but its output."""
        count = next(i for i, n in enumerate(self.whole.nodes) if n.name == grid.last)
        inner = {n.outputs[0] for n in self.whole.nodes[:count]}
        histograms = observe_histograms(self.whole, self.samples)
        widths = {
            g.tensors[0]: (
                WIDTHS[bits],
                clip_range(histograms[g.tensors[0]], self.whole.tensors[g.tensors[0]], bits),
            )
            for g in width_groups(self.whole)
            if g.can_narrow and set(g.tensors) <= inner
        }
        return with_bit_widths(self.whole, widths)

    def selective(
        self, low: Graph, grid: PatchGrid, phi: float, *, high: Graph | None = None, static: bool
    ) -> tuple[Graph, bool, float]:
        high = high or self.whole
        first = next(n for n in low.nodes if n.op in ("conv2d", "depthwise_conv2d"))
        choice: Choice = calibrate_choice(
            low, grid, self.samples, tested=first.outputs[0], central_mass=phi
        )
        share = float(outlier_patches(low, grid, choice, self.samples).mean())
        if static:
            choice = fixed_choice(low, grid, choice, self.samples)
            share = len(choice.always or ()) / (grid.rows * grid.columns)
        best = smallest_tiles(high, low, grid, choice, DSP, outlier_share=share)
        return split_selectively(high, low, grid, best.choice), True, share


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Mixed precision, step by step.")
    parser.add_argument("--model", choices=zoo.IMAGE_CLASSIFIERS, default="surfaces")
    parser.add_argument("--images", type=int, default=200, help="test images")
    parser.add_argument("--patch", default="3x3", help="grid of the mixed plans")
    arguments = parser.parse_args()
    assets = Path(os.environ["EDGEKIT_ASSETS"]) if arguments.model == "letters" else None
    study = Study(*_network(arguments.model, assets))
    test = labelled_images(arguments.model, arguments.images, assets=assets)
    rows, columns = map(int, arguments.patch.split("x"))
    grid = PatchGrid(_deep_stage(study.whole, rows, columns), rows, columns, streamed=True)
    print(f"stage up to {grid.last}, {grid.text} patches, input streamed; {DEVICE}")
    made = list(_rows(study, grid))
    plain = _plain_patches(study.whole)
    head = "plan | peak bytes | MACs worst | bit operations expected (worst) | fewer | accuracy | s"
    print(f"| {head} |\n|---|---|---|---|---|---|---|")
    for row in made:
        peak, bits = _peak_bytes(row), bit_operations_of(row.graph, row.outlier_share)
        base = min((c.macs for c in plain if c.peak_bytes <= peak), default=0) * 8 * 8
        fewer = f"{base / bits.expected:.2f}x" if base else "no int8 patches fit"
        print(
            f"| {row.name} | {peak:,} | {macs_of(row.graph, row.outlier_share).worst:,} "
            f"| {bits.expected:,.0f} ({bits.worst:,}) | {fewer} "
            f"| {accuracy(row.graph, test, device=DEVICE):.1%} | {row.seconds:.1f} |",
            flush=True,
        )
    _instructions(made, study)
    _robustness(made, test)


def _network(model: str, assets: Path | None) -> tuple[Graph, list[dict[str, Array]]]:
    """Return the int8 network with stored pixels as its input, and calibration inputs."""
    pixels = labelled_images(model, 48, training=True, assets=assets).pixels
    graph = to_layout(bind_dims(simplify(load_model(zoo.image_classifier_path(model)))), "NHWC")
    floats = list(network_inputs(graph, pixels))
    stored = _with_stored_input(quantize_with_gate(graph, floats).graph)
    return stored, list(network_inputs(stored, pixels[:32]))


def _with_stored_input(graph: Graph) -> Graph:
    """Return the graph from its first int8 image on: the caller quantizes."""
    place = next(i for i, node in enumerate(graph.nodes) if node.op == "quantize")
    place += graph.nodes[place + 1].op == "transpose"
    nodes = graph.nodes[place + 1 :]
    image = replace(graph.tensors[graph.nodes[place].outputs[0]], kind=TensorKind.INPUT)
    bare = graph.replace(nodes=nodes, tensors=[image], inputs=(image.name,))
    return schedule(bare, kernels=DSP).graph


def _deep_stage(graph: Graph, rows: int, columns: int) -> str:
    """Return the end of the stage with the smallest peak."""
    shapes = {n.name: graph.tensors[n.outputs[0]].static_shape for n in graph.nodes}
    ends = [
        end for end in patch_stages(graph) if shapes[end][1] >= rows and shapes[end][2] >= columns
    ]
    grids = [PatchGrid(end, rows, columns, streamed=True) for end in ends]
    front = search(graph, DSP, streamed=True, grids=grids)
    chosen = min((c for c in front if c.grid), key=lambda cost: (cost.peak_bytes, cost.macs))
    assert chosen.grid is not None
    return chosen.grid.last


def _rows(study: Study, grid: PatchGrid) -> Iterator[Row]:
    whole = study.whole
    output = _output(whole, grid.last)

    def both(lambda_: float, phi: float, static: bool = False) -> Row:
        return study.row(
            f"both, lambda {lambda_}, {'static' if static else f'phi {phi}'}",
            lambda: study.selective(study.narrow(lambda_, fixed=output), grid, phi, static=static),
        )

    def patched(name: str, graph: Graph, *, kept: bool) -> Row:
        return study.row(name, lambda: _cheapest(graph, budget, kept=kept))

    chosen = both(*CHOSEN)
    budget = _peak_bytes(chosen)
    yield study.row("whole layers, int8", lambda: (whole, False, 0.0))
    yield patched("patches, int8", whole, kept=False)
    yield patched("patches, int8, rows kept", whole, kept=True)
    stage = study.narrow_stage(grid)
    yield study.row(
        "outlier patches alone", lambda: study.selective(stage, grid, CHOSEN[1], static=False)
    )
    for lambda_ in LAMBDAS:
        yield patched(f"widths alone, lambda {lambda_}", study.narrow(lambda_), kept=False)
    yield chosen
    yield from (both(lambda_, CHOSEN[1]) for lambda_ in LAMBDAS if lambda_ != CHOSEN[0])
    yield from (both(CHOSEN[0], phi) for phi in PHIS if phi != CHOSEN[1])
    yield both(*CHOSEN, static=True)
    for lambda_ in (1.0, *reversed(LAMBDAS)):
        narrow = study.narrow(lambda_, weights=4)
        yield patched(f"widths, lambda {lambda_}, 4-bit weights, rows kept", narrow, kept=True)


def _cheapest(graph: Graph, budget: int, *, kept: bool) -> tuple[Graph, bool, float]:
    """Return the patches with the least work that meet a budget, else the smallest."""
    choices = _plain_patches(graph)
    if kept:
        choices += [c for c in search(graph, DSP, streamed=True) if c.grid is not None]
    fitting = [c for c in choices if c.peak_bytes <= budget]
    best = min(fitting or choices, key=lambda c: c.macs if fitting else c.peak_bytes)
    assert best.grid is not None
    return split_into_patches(graph, best.grid), True, 0.0


def _plain_patches(graph: Graph) -> list[PatchCost]:
    """Return patches without kept rows, whichever are not beaten, input streamed."""
    grids = [
        PatchGrid(end, side, side, streamed=True)
        for end in patch_stages(graph)
        for side in range(2, 9)
        if side <= min(graph.tensors[_output(graph, end)].static_shape[1:3])
    ]
    found = search(graph, DSP, streamed=True, grids=grids)
    return [cost for cost in found if cost.grid is not None]


def _output(graph: Graph, name: str) -> str:
    return next(node for node in graph.nodes if node.name == name).outputs[0]


def _peak_bytes(row: Row) -> int:
    return live_peak_bytes(row.graph, DSP, row.graph.inputs if row.streamed else ())


def _instructions(rows: list[Row], study: Study) -> None:
    """Count instructions of the smallest plans on the emulated board."""
    profile = load_profile(DEVICE)
    print("\n| plan | instructions, one image | arena bytes |\n|---|---|---|")
    for row in rows:
        streamed = row.graph.inputs if row.streamed else ()
        plan = build_plan(row.graph, profile, executor="reference", kernels=DSP, streamed=streamed)
        trace = emulate_firmware(row.graph, plan, profile, study.samples[0]).trace
        arena = plan.memory(profile.working_memory).arena_bytes
        print(f"| {row.name} | {trace.instructions:,} | {arena:,} |", flush=True)


def _robustness(rows: list[Row], test: LabelledImages) -> None:
    """Print accuracies on images with outliers that calibration has not seen."""
    few = LabelledImages(test.pixels[:120], test.labels[:120])
    spots = replace(few, pixels=with_bright_spots(few.pixels, share=0.01, seed=1))
    patch = replace(few, pixels=with_bright_patch(few.pixels, side=16, seed=1))
    print("\n| plan | plain | 1 % bright pixels | bright square |\n|---|---|---|---|")
    for row in rows:
        if "both" in row.name or row.name in ("patches, int8", "outlier patches alone"):
            found = [accuracy(row.graph, each, device=DEVICE) for each in (few, spots, patch)]
            print(f"| {row.name} | {' | '.join(f'{share:.1%}' for share in found)} |", flush=True)


if __name__ == "__main__":
    main()
