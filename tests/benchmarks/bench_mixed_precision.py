"""Mixed precision on a microcontroller, step by step: memory, work, bit operations, accuracy.

One row a plan of a classifier that ships: whole int8 layers, int8 patches, kept rows,
outlier patches alone, widths alone, both, narrow weights. Rows without a choice at run time take
the patches with the least work that need no more memory than int8 patches with kept rows. "fewer"
compares with the cheapest int8 patches without kept rows that need no more memory than the row,
"smaller" with the smallest ones that take no more work at worst. Bit operations are of the whole
network, halos included; "in patches" is the ratio for the layers in patches alone. Instructions
are counted under QEMU on a Cortex-M4; at worst every patch is an outlier patch::

    PYTHONPATH=scripts python -m tests.benchmarks.bench_mixed_precision [--model letters]

The letters are those of the folder of assets (EDGEKIT_ASSETS).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edgekit import zoo
from edgekit.converters.partitioning.patch_search import PatchCost
from edgekit.converters.partitioning.patches import PatchGrid
from edgekit.converters.partitioning.selective_search import bit_operations_of, macs_of
from edgekit.dtypes import Array
from edgekit.emulators.mcu import emulated_board
from edgekit.graph import Graph
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from tests.benchmarks.image_classifiers import (
    LabelledImages,
    accuracy,
    labelled_images,
    network_inputs,
    with_bright_patch,
    with_bright_spots,
)
from tests.benchmarks.mixed_plans import (
    DSP,
    Row,
    Study,
    cheapest,
    cut,
    deep_stage,
    fewest_bytes,
    least_work,
    output_of,
    smallest,
    stage_bit_operations,
    study_of,
    with_outliers_everywhere,
)

DEVICE = "stm32l4r5"
LAMBDAS = (0.95, 0.9, 0.8)
PHIS = (0.9, 0.98)
CHOSEN = 0.9
"""Lambda of the plans with another phi, and with positions that are chosen once."""
MORE_WORK = 1.25
"""Multiply-accumulates that plans of least memory may take, as a share of those of whole layers."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What rows are measured on."""

    study: Study
    grid: PatchGrid
    test: LabelledImages
    boards: list[dict[str, Array]]
    """Inputs that are run under QEMU."""


def main() -> None:
    """Print the tables."""
    arguments = _arguments()
    assets = Path(os.environ["EDGEKIT_ASSETS"]) if arguments.model == "letters" else None
    study = study_of(arguments.model, assets)
    test = labelled_images(arguments.model, arguments.images, assets=assets)
    rows, columns = map(int, arguments.patch.split("x"))
    grid = PatchGrid(deep_stage(study.whole, rows, columns), rows, columns, streamed=True)
    boards = list(network_inputs(study.whole, test.pixels[: arguments.board_images]))
    bench = Bench(study, grid, test, boards)
    print(f"stage up to {grid.last}, {grid.text} patches, input streamed; {DEVICE}")
    print(f"{len(test.labels)} images, instructions of {len(boards)}\n")
    _table(bench, _rows(study, grid))
    print(f"\nleast memory within {MORE_WORK} times the work of whole layers\n")
    _table(bench, _small_rows(study))
    print("\nimages with outliers that calibration has not seen\n")
    _robustness(bench, arguments.outlier_images)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Mixed precision, step by step.")
    parser.add_argument("--model", choices=zoo.IMAGE_CLASSIFIERS, default="surfaces")
    parser.add_argument("--images", type=int, default=1000, help="test images")
    parser.add_argument("--outlier-images", type=int, default=200, help="test images with outliers")
    parser.add_argument("--board-images", type=int, default=10, help="images run under QEMU")
    parser.add_argument("--patch", default="3x3", help="grid of the plans with a choice")
    return parser.parse_args()


def _rows(study: Study, grid: PatchGrid) -> Iterator[Row]:
    """Yield plans of least work within the memory of int8 patches that compute nothing twice."""
    whole = study.whole
    budget = study.row("", partial(smallest, whole, _macs(whole), kept=True)).peak_bytes

    def patched(name: str, graph: Graph, *, kept: bool = False) -> Row:
        return study.row(name, partial(cheapest, graph, budget, kept=kept))

    yield study.row("whole layers, int8", lambda: (whole, False, 0.0))
    yield patched("patches, int8", whole)
    yield patched("patches, int8, rows kept", whole, kept=True)
    yield _outliers_alone(study, grid)
    for lambda_ in LAMBDAS:
        yield patched(f"widths alone, lambda {lambda_}", study.narrow(lambda_))
    yield from (_both(study, grid, lambda_, PHIS[-1]) for lambda_ in LAMBDAS)
    yield _both(study, grid, CHOSEN, PHIS[0])
    yield _both(study, grid, CHOSEN, PHIS[-1], static=True)
    for lambda_ in (1.0, *LAMBDAS):
        narrow = study.narrow(lambda_, weights=4)
        text = "4-bit weights" + (f", widths, lambda {lambda_}" if lambda_ < 1 else "")
        yield patched(text, narrow)
        yield patched(f"{text}, rows kept", narrow, kept=True)


def _small_rows(study: Study) -> Iterator[Row]:
    """Yield plans of least memory."""
    most_macs = int(MORE_WORK * _macs(study.whole))
    networks = {"int8": study.whole}
    networks |= {f"widths, lambda {each}": study.narrow(each) for each in LAMBDAS}
    for name, graph in networks.items():
        for kept in (False, True):
            text = f"{name}{', rows kept' if kept else ''}"
            yield study.row(text, partial(smallest, graph, most_macs, kept=kept))


def _macs(graph: Graph) -> int:
    return macs_of(graph, 0.0).worst


def _both(
    study: Study, grid: PatchGrid, lambda_: float, phi: float, *, static: bool = False
) -> Row:
    output = output_of(study.whole, grid.last)
    return study.row(
        f"both, lambda {lambda_}, {'static' if static else f'phi {phi}'}",
        lambda: study.selective(study.narrow(lambda_, fixed=output), grid, phi, static=static),
    )


def _outliers_alone(study: Study, grid: PatchGrid) -> Row:
    return study.row(
        "outlier patches alone (4 bits in the stage)",
        lambda: study.selective(study.narrow_stage(grid), grid, PHIS[-1], static=False),
    )


def _table(bench: Bench, rows: Iterator[Row]) -> None:
    columns = (
        "plan | peak bytes | smaller | MACs at worst | bit operations expected (at worst) | fewer "
        "| in patches | right | instructions mean (at worst) | search s"
    )
    print(f"| {columns} |\n|{'---|' * 10}")
    for row in rows:
        print(f"| {' | '.join(_cells(bench, row))} |", flush=True)


def _cells(bench: Bench, row: Row) -> Iterator[str]:
    plain, peak = bench.study.plain_patches, row.peak_bytes
    macs = macs_of(row.graph, row.outlier_share).worst
    bits = bit_operations_of(row.graph, row.outlier_share)
    base = least_work(plain, peak)
    base_bytes = fewest_bytes(plain, macs)
    yield row.name
    yield f"{peak:,}"
    yield f"{peak / base_bytes - 1:+.0%}" if base_bytes else "-"
    yield f"{macs:,}"
    worst = f" ({bits.worst / 1e6:,.0f} M)" if bits.worst > bits.expected else ""
    yield f"{bits.expected / 1e6:,.0f} M{worst}"
    yield f"{base.macs * 64 / bits.expected:.2f}x" if base else "no int8 patches fit"
    yield _fewer_in_stage(bench.study, row, base)
    yield f"{accuracy(row.graph, bench.test, device=DEVICE):.1%}"
    yield _instructions(row, bench.boards)
    yield f"{row.seconds:.1f}"


def _fewer_in_stage(study: Study, row: Row, base: PatchCost | None) -> str:
    own = stage_bit_operations(row.graph, row.outlier_share)
    if base is None or own == 0:
        return "-"
    return f"{stage_bit_operations(cut(study.whole, base)[0], 0.0) / own:.2f}x"


def _instructions(row: Row, inputs: list[dict[str, Array]]) -> str:
    """Count instructions on the emulated board: the mean, and with an outlier in every patch."""
    mean = _mean_instructions(row.graph, row, inputs)
    always = with_outliers_everywhere(row.graph)
    if always.nodes == row.graph.nodes:
        return f"{mean / 1e6:.1f} M"
    return f"{mean / 1e6:.1f} M ({_mean_instructions(always, row, inputs[:1]) / 1e6:.1f} M)"


def _mean_instructions(graph: Graph, row: Row, inputs: list[dict[str, Array]]) -> float:
    profile = load_profile(DEVICE)
    streamed = graph.inputs if row.streamed else ()
    plan = build_plan(graph, profile, executor="reference", kernels=DSP, streamed=streamed)
    with tempfile.TemporaryDirectory() as folder:
        return emulated_board(graph, plan, profile, Path(folder)).run(inputs).instructions


def _robustness(bench: Bench, count: int) -> None:
    """Print accuracies on images with outliers that calibration has not seen."""
    few = LabelledImages(bench.test.pixels[:count], bench.test.labels[:count])
    spots = replace(few, pixels=with_bright_spots(few.pixels, share=0.01, seed=1))
    square = replace(few, pixels=with_bright_patch(few.pixels, side=16, seed=1))
    print("| plan | plain | 1 % bright pixels | bright square |\n|---|---|---|---|")
    study, grid = bench.study, bench.grid
    plans = [Row("int8", study.whole, False, 0.0), _outliers_alone(study, grid)]
    plans += [_both(study, grid, each, PHIS[-1]) for each in LAMBDAS]
    plans += [_both(study, grid, each, PHIS[-1], static=True) for each in LAMBDAS]
    for row in plans:
        found = [accuracy(row.graph, each, device=DEVICE) for each in (few, spots, square)]
        print(f"| {row.name} | {' | '.join(f'{share:.1%}' for share in found)} |", flush=True)


if __name__ == "__main__":
    main()
