"""``convert --mixed``: fewer than 8 bits for activations that lose little by it.

``widths`` chooses the bits of every activation once, by
:mod:`edgekit.converters.quantization.bit_search`, and leaves patches to ``--patch``. ``static`` and
``runtime`` cut the first layers into patches and compute outlier patches with 8 bits, chosen by
position or by a test on the patch (:mod:`edgekit.pipeline.selective_precision`). ``auto`` weighs
int8 and narrower forms and takes the fastest that fits (:mod:`edgekit.pipeline.fastest_precision`).
"""

from __future__ import annotations

from dataclasses import replace

from edgekit.converters.partitioning.selective_search import Work
from edgekit.cost.bit_operations import bit_operations
from edgekit.pipeline.job import Job, Product
from edgekit.pipeline.mixed_accuracy import measured_against_int8
from edgekit.pipeline.mixed_choice import Mixed
from edgekit.pipeline.narrowing import narrow_kernels, narrow_layers, narrowed, searched_widths
from edgekit.pipeline.patching import Patching
from edgekit.pipeline.selective_precision import in_two_precisions
from edgekit.pipeline.weigh import needs_data


def with_mixed_precision(product: Product, job: Job) -> tuple[Product, Patching | None]:
    """Return a product with activations of fewer bits; in patches, unless these are left to do.

    Raises
    ------
    UsageError
        If the device or the model has no form with fewer bits, or no patches where they are needed.
    CalibrationError
        If there is no calibration data.
    AccuracyError
        If more is lost against int8 than may be.
    """
    kernels = narrow_kernels(product, job.profile)
    if not job.batches:
        raise needs_data("--mixed")
    if job.recipe.mixed == "widths":
        made, patching, mixed = _narrow(product, job)
    else:
        made, patching, mixed = in_two_precisions(product, job, kernels)
    mixed = replace(mixed, accuracy=measured_against_int8(product.graph, made.graph, job))
    accuracy = {**made.accuracy, "precision": "mixed", "mixed": mixed.to_json()}
    return replace(made, accuracy=accuracy, notes=(*made.notes, mixed.note())), patching


def _narrow(product: Product, job: Job) -> tuple[Product, Patching | None, Mixed]:
    graph = product.graph
    found = searched_widths(graph, job)
    narrow = narrowed(graph, job, found)
    work = bit_operations(narrow)
    mixed = Mixed(
        "widths",
        found,
        bit_operations(graph),
        Work(work, work, float(work)),
        weight_bits=narrow_layers(product.graph, job.recipe.mixed_weights),
    )
    return replace(product, graph=narrow), None, mixed
