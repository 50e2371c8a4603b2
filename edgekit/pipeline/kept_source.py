"""Models that are kept as they are, above all those that are quantized already."""

from __future__ import annotations

from typing import Any

from edgekit.dtypes import DType
from edgekit.errors import UsageError
from edgekit.graph import Graph, Node
from edgekit.ops import spec_of
from edgekit.ops.spec import QuantRule
from edgekit.pipeline.job import Job


def is_quantized(graph: Graph) -> bool:
    """Whether a layer of the graph computes in int8 already."""
    return any(
        graph.tensors[name].dtype is DType.INT8 and graph.tensors[name].quantization is not None
        for node in graph.nodes
        for name in node.outputs
    )


def kept_precision(job: Job) -> str:
    """Return the precision that a model has from its source."""
    return "int8" if is_quantized(job.bound) else "float32"


def kept_note(job: Job) -> str:
    """Return the sentence that tells a user what happens to a model that is kept."""
    if kept_precision(job) != "int8":
        return "The model stays as it is."
    if any(_has_int8_weights(job.bound, node) for node in job.bound.nodes):
        return "The model is quantized already; its int8 values are kept bit for bit."
    return (
        "The model is quantized already and stays as it is: its layers compute in float between "
        "values that are rounded to int8."
    )


def _has_int8_weights(graph: Graph, node: Node) -> bool:
    """Whether a layer multiplies by int8 weights in integers."""
    return spec_of(node).quantization is QuantRule.WEIGHTED and all(
        graph.tensors[name].dtype is DType.INT8 for name in (*node.inputs[:2], node.outputs[0])
    )


def kept_accuracy(job: Job) -> dict[str, Any]:
    """Return what the manifest says about the accuracy of a model that is kept.

    Raises
    ------
    UsageError
        If another precision was asked for.
    """
    wanted, has = job.recipe.precision, kept_precision(job)
    if wanted not in ("auto", has):
        what = "is quantized to int8 already" if has == "int8" else "stays in float32 on this way"
        advice = ", or convert the float model" if has == "int8" else ""
        raise UsageError(
            f"{job.source.name} {what} and does not become {wanted}; leave --precision out{advice}"
        )
    return {"precision": has, "method": "as in the source model", "reason": kept_note(job)}
