"""``convert --mixed``: fewer than 8 bits for activations that lose little by it.

``widths`` chooses the bits of every activation once, by
:mod:`edgekit.converters.quantization.bit_search`, and leaves patches to ``--patch``. ``static`` and
``runtime`` cut the first layers into ``--patch RxC`` patches and compute outlier patches with 8
bits, chosen by position or by a test on the patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from edgekit.converters.partitioning.outliers import (
    calibrate_choice,
    fixed_choice,
    outlier_shares,
)
from edgekit.converters.partitioning.patches import PatchGrid, stage_length
from edgekit.converters.partitioning.selective_patches import Choice, split_selectively
from edgekit.converters.partitioning.selective_search import Work, bit_operations_of, smallest_tiles
from edgekit.converters.quantization.bit_search import WIDE, BitWidths, search_bit_widths
from edgekit.converters.quantization.bit_widths import (
    NARROW_WEIGHTS,
    width_groups,
    with_bit_widths,
)
from edgekit.converters.quantization.fallback import gives_class_scores
from edgekit.converters.quantization.histograms import observe_histograms
from edgekit.converters.quantization.report import Ratio
from edgekit.cost.bit_operations import bit_operations
from edgekit.deploy.cores import kernels_of
from edgekit.dtypes import Array, DType
from edgekit.errors import AccuracyError, UsageError
from edgekit.graph import Graph, Tensor
from edgekit.ops import int8, spec_of
from edgekit.ops.evaluate import evaluate
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import QuantRule
from edgekit.pipeline.job import Job, Product
from edgekit.pipeline.kept_source import is_quantized
from edgekit.pipeline.patching import Patching, asked_for, patching_of
from edgekit.pipeline.weigh import needs_data
from edgekit.profiles import DeviceProfile

_REFINING_SAMPLES = 32
"""Samples with which narrow weights are rounded: the live tensors of all are held in memory."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """What was chosen.

    Parameters
    ----------
    mode : str
        ``widths``, ``static`` or ``runtime``.
    search : BitWidths
    int8_bit_operations : int
        Of the layers whole with 8 bits.
    bit_operations : Work
        Of the network as it runs.
    choice : Choice or None
    outlier_share : float
        Of the patches of the calibration data.
    accuracy : mapping of str to float
        What is left of the int8 network.
    example_shares : tuple of float
        Of the first calibration sample: the share of each patch's elements that are outliers.
    """

    mode: str
    search: BitWidths
    int8_bit_operations: int
    bit_operations: Work
    choice: Choice | None = None
    outlier_share: float = 0.0
    accuracy: Mapping[str, float] = field(default_factory=dict)
    example_shares: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the plain values of ``accuracy.mixed``."""
        narrow = {name: bits for name, bits in self.search.bits.items() if bits < WIDE}
        found: dict[str, Any] = {
            "mode": self.mode,
            "lambda": self.search.lambda_,
            "bits": narrow,
            "bit_operations": self.bit_operations.worst,
            "expected_bit_operations": round(self.bit_operations.expected),
            "int8_bit_operations": self.int8_bit_operations,
            **self.accuracy,
        }
        if self.choice is not None:
            found |= {
                "tiles": list(self.choice.tiles),
                "tested": self.choice.tested,
                "most_share": self.choice.most_share,
                "outlier_share": self.outlier_share,
                "always": sorted(self.choice.always or ()),
                "example_shares": list(self.example_shares),
            }
        return found

    def note(self) -> str:
        """Return the sentence for the user."""
        bits = [width for width in self.search.bits.values() if width < WIDE]
        work = self.bit_operations
        whole = max(self.int8_bit_operations, 1)
        worst = f" ({work.worst / whole:.0%} at worst)" if work.worst > round(work.expected) else ""
        where = {
            "widths": "",
            "static": "; some positions of patches always with 8",
            "runtime": "; patches with outliers with 8, as a test at run time says",
        }[self.mode]
        return (
            f"{len(bits)} of {len(self.search.bits)} groups of activations have 4 or 2 bits{where}"
            f": {work.expected / whole:.0%} of the bit operations of whole int8 layers{worst}. "
            "Outputs change."
        )


def with_mixed_precision(product: Product, job: Job) -> tuple[Product, Patching | None]:
    """Return a product with activations of fewer bits; in patches, unless these are left to do.

    Raises
    ------
    UsageError
        If the device or the model has no form with fewer bits, or ``--patch`` names no grid where
        one is needed.
    CalibrationError
        If there is no calibration data.
    AccuracyError
        If more is lost against int8 than may be.
    """
    kernels = _kernels(product, job.profile)
    if not job.batches:
        raise needs_data("--mixed")
    if job.recipe.mixed == "widths":
        made, patching, mixed = _narrow(product, job)
    else:
        made, patching, mixed = _selective(product, job, kernels)
    mixed = replace(mixed, accuracy=_measured(product.graph, made.graph, job))
    accuracy = {**made.accuracy, "precision": "mixed", "mixed": mixed.to_json()}
    return replace(made, accuracy=accuracy, notes=(*made.notes, mixed.note())), patching


def _kernels(product: Product, profile: DeviceProfile) -> KernelSet:
    if profile.kind != "mcu":
        raise UsageError(f"--mixed is for firmware, not {profile.name}")
    kernels = kernels_of(profile)
    if kernels is KernelSet.CORTEX_M_MVE:
        raise UsageError(f"--mixed: the kernels for Helium of {profile.name} compute 8 bits only")
    if not any(group.can_narrow for group in width_groups(product.graph)):
        hint = "" if is_quantized(product.graph) else "; it is not int8 (--precision int8)"
        raise UsageError(f"--mixed: no activation of this model can have fewer than 8 bits{hint}")
    return kernels


def _narrow(product: Product, job: Job) -> tuple[Product, Patching | None, Mixed]:
    graph = product.graph
    found = _search(graph, job, None)
    narrow = _with_weights(graph, job, found)
    work = bit_operations(narrow)
    mixed = Mixed("widths", found, bit_operations(graph), Work(work, work, float(work)))
    return replace(product, graph=narrow), None, mixed


def _selective(
    product: Product, job: Job, kernels: KernelSet
) -> tuple[Product, Patching | None, Mixed]:
    recipe = job.recipe
    if recipe.patch in ("auto", "off"):
        raise UsageError(f"--mixed {recipe.mixed} chooses between patches: name them (--patch 2x2)")
    high = _with_weights(product.graph, job)
    first = _first_with_weights(high)
    cost = asked_for(high, recipe, kernels, kept=False, least=first + 1)
    assert cost.chosen.grid is not None  # a grid was asked for
    grid = cost.chosen.grid
    found = _search(high, job, _outside_stage_output(high, grid))
    low = with_bit_widths(high, found.widths)
    choice = calibrate_choice(
        low,
        grid,
        job.batches,
        tested=low.nodes[first].outputs[0],
        central_mass=recipe.mixed_phi,
    )
    shares = outlier_shares(low, grid, choice, job.batches)
    share = float((shares > choice.most_share).mean())
    if recipe.mixed == "static":
        choice = fixed_choice(low, grid, choice, job.batches)
        share = len(choice.always or ()) / (grid.rows * grid.columns)
    best = smallest_tiles(high, low, grid, choice, kernels, outlier_share=share)
    graph = split_selectively(high, low, grid, best.choice)
    work = bit_operations_of(graph, share)
    whole = bit_operations(product.graph)
    example = tuple(shares[0].tolist())
    mixed = Mixed(recipe.mixed, found, whole, work, best.choice, share, example_shares=example)
    chosen = replace(cost.chosen, peak_bytes=best.peak_bytes, macs=best.macs.worst)
    patching = patching_of(high, replace(cost, chosen=chosen, exact=False), kernels)
    made = replace(
        product,
        graph=graph,
        streamed=graph.inputs if grid.streamed else (),
        notes=(*product.notes, patching.note()),
    )
    return made, patching, mixed


def _with_weights(graph: Graph, job: Job, found: BitWidths | None = None) -> Graph:
    """Return a graph with the weights that the recipe asks for, and the widths that were found."""
    widths = found.widths if found else {}
    if job.recipe.mixed_weights == WIDE:
        return with_bit_widths(graph, widths)
    narrow = {
        node.name: job.recipe.mixed_weights
        for node in graph.nodes
        if node.op in NARROW_WEIGHTS and graph.tensors[node.inputs[1]].dtype is DType.INT8
    }
    return with_bit_widths(graph, widths, narrow, samples=job.batches[:_REFINING_SAMPLES])


def _search(graph: Graph, job: Job, allowed: frozenset[str] | None) -> BitWidths:
    histograms = observe_histograms(graph, job.batches)
    return search_bit_widths(graph, histograms, lambda_=job.recipe.mixed_lambda, allowed=allowed)


def _outside_stage_output(graph: Graph, grid: PatchGrid) -> frozenset[str]:
    """Return the tensors that may have fewer bits: the output of the stage keeps its 8."""
    output = graph.nodes[stage_length(graph, grid) - 1].outputs[0]
    return frozenset(
        name
        for group in width_groups(graph)
        if output not in group.tensors
        for name in group.tensors
    )


def _first_with_weights(graph: Graph) -> int:
    """Return the place of the layer whose output is tested: the first one with weights, in int8."""
    for index, node in enumerate(graph.nodes):
        is_stored = graph.tensors[node.outputs[0]].dtype is DType.INT8
        if spec_of(node).quantization is QuantRule.WEIGHTED and is_stored:
            return index
    raise UsageError("--mixed: no layer of this model has weights and an int8 output")


def _measured(int8_graph: Graph, graph: Graph, job: Job) -> dict[str, float]:
    """Return how much of the int8 network is left: by labels where there are some.

    The gate of the recipe holds against int8; without labels accuracy is agreement on classes.
    """
    first = graph.outputs[0]
    ratios = {name: Ratio() for name in graph.outputs}
    same = []
    for sample in job.batches:
        exact, values = evaluate(int8_graph, sample), evaluate(graph, sample)
        same.append(int(np.argmax(values[first])) == int(np.argmax(exact[first])))
        for name, ratio in ratios.items():
            ratio.update(*(_real(array[name], graph.tensors[name]) for array in (exact, values)))
    found = {"agreement_with_int8": float(np.mean(same))}
    drop = 1 - found["agreement_with_int8"] if gives_class_scores(graph) else None
    if job.accuracy is not None:
        int8_accuracy = job.accuracy(partial(evaluate, int8_graph))
        mixed_accuracy = job.accuracy(partial(evaluate, graph))
        found |= {"int8_accuracy": int8_accuracy, "mixed_accuracy": mixed_accuracy}
        drop = int8_accuracy - mixed_accuracy
    _hold_gate(job, drop, min(ratio.db for ratio in ratios.values()))
    return found


def _hold_gate(job: Job, drop: float | None, ratio_db: float) -> None:
    advice = "a larger --mixed-lambda keeps more of them at 8 bits"
    most, least = job.recipe.max_accuracy_drop, job.recipe.min_sqnr_db
    if most is not None and drop is not None and drop > most:
        lost = (
            f"give another class than int8 for {100 * drop:.2f} % of the calibration data"
            if job.accuracy is None
            else f"lose {100 * drop:.2f} points of accuracy against int8"
        )
        text = f"fewer bits {lost}, {100 * most:g} are allowed; {advice}"
        raise AccuracyError(text, measured=drop, limit=most)
    if least is not None and ratio_db < least:
        text = f"fewer bits leave {ratio_db:.1f} dB against int8, {least:g} are asked for; {advice}"
        raise AccuracyError(text, measured=ratio_db, limit=least)


def _real(array: Array, tensor: Tensor) -> Array:
    """Return values on one scale with those of other widths."""
    is_plain = tensor.quantization is None or tensor.dtype.is_float
    return array if is_plain else int8.real_from_stored(array, tensor)
