"""Public int8 networks with fewer bits against themselves with 8, on natural images.

The networks come without labels. What is compared is the class, and every output; images are those
of :mod:`tests.benchmarks.natural_images`. Peak bytes are those of activations and scratch, in whole
layers or in patches, the input streamed where there are patches. Bit operations are of the whole
network, as expected from "outliers", the share of the calibration images' patches with 8 bits::

    PYTHONPATH=scripts python -m tests.benchmarks.bench_public_networks vww [--images 64]

Models come from the folder of assets (EDGEKIT_ASSETS).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import numpy as np

from edgekit.converters.importers import load_model
from edgekit.converters.layout import to_layout
from edgekit.converters.partitioning.patches import PatchGrid, split_into_patches
from edgekit.converters.partitioning.selective_search import bit_operations_of
from edgekit.converters.passes import simplify
from edgekit.dtypes import Array
from edgekit.graph import Graph
from edgekit.ops import int8
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.native import NativeRunner
from edgekit.schedule import schedule
from edgekit.shapes import bind_dims
from edgekit.units import short_name
from tests.benchmarks.image_classifiers import Floats
from tests.benchmarks.mixed_plans import (
    DSP,
    Made,
    Study,
    deep_stage,
    output_of,
    with_stored_input,
)
from tests.benchmarks.natural_images import natural_images, stored_inputs

NETWORKS = {
    "vww": "mcu/mlperf_tiny/vww/vww_96_int8.tflite",
    "person_detect": "mcu/tflm/person_detection/person_detect.tflite",
    "mcunet_vww": "mcu/tinyengine/vww.tflite",
    "mcunetv2_large": "mcu/tinyengine/mcunetv2_large.tflite",
    "mobilenet_v2": "mcu/tflm/xtensa_examples/mobilenet_v2_quantized_1x3x224x224.tflite",
}
DEVICE = "stm32h743"
LAMBDAS = (0.98, 0.95, 0.9)
PHI = 0.98
BEST = 5
"""Classes of int8 among which the class with fewer bits is looked for."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How near outputs are to those of int8.

    Attributes
    ----------
    agreement, among_best : float
        Share of images of one class, and of a class among the best of int8.
    mean, worst : float
        Of the absolute differences, in the unit of the outputs.
    """

    agreement: float
    among_best: float
    mean: float
    worst: float


def main() -> None:
    """Print the table of one network."""
    parser = argparse.ArgumentParser(description="Public networks with fewer bits.")
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--images", type=int, default=64, help="images that are compared")
    parser.add_argument("--calibration", type=int, default=32, help="images for calibration")
    parser.add_argument("--patch", default="3x3", help="grid of the plans in patches")
    parser.add_argument("--only", default="*", help="pattern of the names of plans")
    arguments = parser.parse_args()
    whole = stored_network(Path(os.environ["EDGEKIT_ASSETS"], NETWORKS[arguments.network]))
    size = max(whole.tensors[whole.inputs[0]].static_shape)
    calibration = natural_images(size, arguments.calibration, calibration=True)
    study = Study(whole, list(stored_inputs(whole, calibration)))
    images = natural_images(size, arguments.images, calibration=False)
    inputs = list(stored_inputs(whole, images))
    exact = outputs_of(whole, inputs)
    if np.array_equal(exact.min(axis=0), exact.max(axis=0)):
        print(f"{arguments.network}: int8 has the same outputs for every image; nothing to compare")
        return
    rows, columns = map(int, arguments.patch.split("x"))
    grid = PatchGrid(deep_stage(whole, rows, columns), rows, columns, streamed=True)
    print(
        f"{arguments.network}: {arguments.images} images, {arguments.calibration} for calibration, "
        f"outputs of int8 from {exact.min():.3g} to {exact.max():.3g}, patches {grid.text} up to "
        f"{short_name(grid.last)}\n"
    )
    head = f"plan | outliers | same class | in best {BEST} of int8 | mean | worst"
    print(f"| {head} | peak bytes | bit operations | s |\n|{'---|' * 9}")
    for name, make in _plans(study, grid):
        if not fnmatch(name, arguments.only):
            continue
        row = study.row(name, make)
        like = likeness(exact, outputs_of(row.graph, inputs))
        bits = bit_operations_of(row.graph, row.outlier_share).expected
        best = f"{like.among_best:.1%}" if exact.shape[1] > BEST else ""
        print(
            f"| {row.name} | {row.outlier_share:.0%} | {like.agreement:.1%} | {best} "
            f"| {like.mean:.3g} | {like.worst:.3g} | {row.peak_bytes:,} | {bits / 1e6:,.0f} M "
            f"| {row.seconds:.0f} |",
            flush=True,
        )


def stored_network(path: Path) -> Graph:
    """Return an int8 network in whole layers whose input is a stored image."""
    graph = to_layout(bind_dims(simplify(load_model(path))), "NHWC")
    if graph.tensors[graph.inputs[0]].dtype.is_float:
        return with_stored_input(graph)
    return schedule(graph, kernels=DSP).graph


def outputs_of(graph: Graph, inputs: Sequence[dict[str, Array]]) -> Floats:
    """Return the real outputs by the native kernels, shape (images, classes)."""
    (target,) = graph.outputs
    tensor = graph.tensors[target]
    runner = NativeRunner(graph, build_plan(graph, load_profile(DEVICE), executor="native"))
    try:
        stored = [runner.run(each).outputs[target] for each in inputs]
    finally:
        runner.close()
    real = [
        each if tensor.dtype.is_float else int8.real_from_stored(each, tensor) for each in stored
    ]
    return np.stack([each.ravel() for each in real]).astype(np.float32)


def likeness(exact: Floats, found: Floats) -> Likeness:
    """Compare outputs with those of int8, shape (images, classes) each."""
    classes = found.argmax(axis=1)
    best = np.argsort(-exact, axis=1, kind="stable")[:, :BEST]
    difference = np.abs(found - exact)
    return Likeness(
        float(np.mean(classes == exact.argmax(axis=1))),
        float(np.mean((best == classes[:, None]).any(axis=1))),
        float(difference.mean()),
        float(difference.max()),
    )


def _plans(study: Study, grid: PatchGrid) -> Iterator[tuple[str, Callable[[], Made]]]:
    """Yield names of plans and how they are made."""
    whole = study.whole

    def layers(lambda_: float, weights: int) -> Made:
        return study.narrow(lambda_, weights=weights), False, 0.0

    def chosen(lambda_: float, static: bool) -> Made:
        low = study.narrow(lambda_, fixed=output_of(whole, grid.last))
        return study.selective(low, grid, PHI, static=static)

    yield "int8", lambda: (whole, False, 0.0)
    for lambda_ in LAMBDAS:
        yield f"widths, lambda {lambda_}", partial(layers, lambda_, 8)
    yield "4-bit weights", partial(layers, 1.0, 4)
    for lambda_ in LAMBDAS:
        yield f"4-bit weights, widths, lambda {lambda_}", partial(layers, lambda_, 4)
    yield f"int8 in {grid.text} patches", lambda: (split_into_patches(whole, grid), True, 0.0)
    for lambda_ in LAMBDAS[1:]:
        for static, when in ((False, "at run time"), (True, "once")):
            name = f"{grid.text} patches, lambda {lambda_}, chosen {when}"
            yield name, partial(chosen, lambda_, static)


if __name__ == "__main__":
    main()
