"""From a TensorFlow Lite file to what phones, boards and computers run: the file itself.

For files that are quantized already, whose int8 values are the publisher's and could only change in
another format, and for float files with layers that ONNX has no form for. LiteRT runs the file;
where LiteRT refuses it, or dies of it, the reference executor does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.converters.importers.tflite import NAME as TFLITE
from edgekit.converters.layout import to_layout
from edgekit.dtypes import Array
from edgekit.errors import ExecutionError
from edgekit.graph import Graph
from edgekit.pipeline.job import Job, Product
from edgekit.pipeline.kept_source import kept_accuracy, kept_note
from edgekit.runtime.child import ChildInterpreter
from edgekit.runtime.memory_model import litert_memory
from edgekit.runtime.tflite_interpreters import usable_interpreter

EXECUTOR = "litert"
FALLBACK = "reference"


def is_tflite(job: Job) -> bool:
    """Whether a model is a file that LiteRT reads."""
    return job.source.format == TFLITE


def convert_for_litert(job: Job) -> Product:
    """Return the file as it is for LiteRT, or its graph for the reference executor.

    Raises
    ------
    UsageError
        If another precision was asked for than the file has.
    MissingDependencyError
        If no LiteRT is installed to try the model with.
    """
    accuracy = kept_accuracy(job)
    refusal = litert_refusal(job.source.path, job.bound)
    if refusal is None:
        return Product(
            EXECUTOR,
            job.bound,
            model_file=job.source.path,
            reach=EXECUTOR,
            accuracy=accuracy,
            executor_memory=litert_memory(
                job.source.path.stat().st_size,
                job.bound.weights_bytes,
                len(job.source.graph.nodes),
            ),
            notes=(kept_note(job),),
        )
    note = f"LiteRT refuses this model, the reference executor runs it: {refusal}"
    return Product(
        FALLBACK,
        to_layout(job.bound, "NHWC"),
        reach=FALLBACK,
        accuracy=accuracy,
        notes=(kept_note(job), note),
    )


def litert_refusal(model: Path, graph: Graph) -> str | None:
    """Return why LiteRT does not run a model, None where it does.

    The model is loaded and run once on zeros in a child process. It may abort the child, also only
    when that ends: then the interpreter wrote where it should not.

    Raises
    ------
    MissingDependencyError
        If neither ai-edge-litert nor a usable tflite-runtime is installed.
    """
    tensors = [graph.tensors[name] for name in graph.inputs]
    zeros: list[Array] = [np.zeros(t.static_shape, t.dtype.numpy) for t in tensors]
    try:
        with ChildInterpreter(usable_interpreter(), model) as child:
            outputs, _ = child.run(zeros)
            child.finish()
    except ExecutionError as error:
        return str(error)
    tensors = [graph.tensors[name] for name in graph.outputs]
    expected = [(tensor.static_shape, tensor.dtype.numpy) for tensor in tensors]
    if [(output.shape, output.dtype) for output in outputs] != expected:
        return "its outputs have other shapes or dtypes there than in the file"
    return None
