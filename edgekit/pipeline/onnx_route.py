"""From a graph to what onnxruntime runs on phones, boards and computers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np

from edgekit.converters.emitters.onnx import emit_onnx
from edgekit.converters.importers.onnx import NAME as ONNX
from edgekit.converters.quantization.dynamic import quantize_dynamic_onnx
from edgekit.converters.quantization.fallback import Judge
from edgekit.converters.quantization.onnx_runs import session_runner
from edgekit.converters.quantization.onnx_static import quantize_onnx_with_gate
from edgekit.dtypes import Array
from edgekit.graph import Graph
from edgekit.pipeline.job import Job, Product
from edgekit.pipeline.kept_source import is_quantized, kept_accuracy, kept_note
from edgekit.pipeline.weigh import Candidate, Makers, gather, needs_data, weigh
from edgekit.runtime.memory_model import onnxruntime_file_memory

EXECUTOR = "onnxruntime"
SAMPLE_TOKENS = (6, 17, 33, 64)
"""Lengths of the token sequences that an encoder is judged on where there is no data."""


def convert_for_onnxruntime(job: Job) -> Product:
    """Return the ONNX model in the precision that suits the device.

    Raises
    ------
    CalibrationError, AccuracyError
        As :func:`~edgekit.pipeline.weigh.gather` and :func:`~edgekit.pipeline.weigh.weigh`.
    """
    if is_quantized(job.bound) and job.source.format == ONNX:
        return _kept(job)
    candidates, notes = gather(job, _makers(job))
    choice = weigh(job, candidates, EXECUTOR)
    taken = choice.candidate
    return Product(
        executor=EXECUTOR,
        graph=taken.graph,
        model_file=taken.model_file,
        reach=EXECUTOR,
        cost_precision=taken.cost_precision,
        accuracy=choice.accuracy,
        executor_memory=taken.memory,
        notes=(*choice.notes, *notes),
    )


def _kept(job: Job) -> Product:
    """Return a model that is quantized already as it is: its file is what onnxruntime reads."""
    model = job.source.path.read_bytes()
    return Product(
        executor=EXECUTOR,
        graph=job.bound,
        model_file=model,
        reach=EXECUTOR,
        accuracy=kept_accuracy(job),
        executor_memory=onnxruntime_file_memory(model),
        notes=(kept_note(job),),
    )


def _makers(job: Job) -> Makers:
    judge = cache(partial(_judge, job))
    if is_encoder(job.graph):
        int8 = partial(_int8_dynamic, job, judge)
    else:
        int8 = partial(_int8_static, job)
    return {
        "float32": partial(_float32, job),
        "float16": partial(_float16, job, judge),
        "int8": int8,
    }


def is_encoder(graph: Graph) -> bool:
    """Whether a graph is a transformer encoder: layer normalization and no convolution.

    Ranges of its activations differ so much from input to input that dynamic quantization fits.
    """
    ops = {node.op for node in graph.nodes}
    return "layer_norm" in ops and not ops & {"conv2d", "depthwise_conv2d"}


def _float32(job: Job) -> Candidate:
    model = emit_onnx(job.graph)
    return Candidate(
        job.bound,
        "as it is",
        job.bound.weights_bytes,
        model_file=model,
        memory=onnxruntime_file_memory(model),
    )


def _float16(job: Job, judge: Callable[[], Judge]) -> Candidate:
    model = emit_onnx(job.graph, float16=True)
    return Candidate(
        job.bound,
        "weights and arithmetic in float16",
        job.bound.weights_bytes // 2,
        model_file=model,
        quality=judge().quality(session_runner(model)),
        cost_precision="float16",
        memory=onnxruntime_file_memory(model),
    )


def _int8_dynamic(job: Job, judge: Callable[[], Judge]) -> Candidate:
    model = quantize_dynamic_onnx(emit_onnx(job.graph), exclude=job.recipe.keep_float)
    return Candidate(
        job.bound,
        "dynamic int8: weights uint8 per channel, activations quantized at run time",
        len(model),
        model_file=model,
        quality=judge().quality(session_runner(model)),
        cost_precision="int8_dynamic",
        memory=onnxruntime_file_memory(model),
    )


def _int8_static(job: Job) -> Candidate:
    if not job.batches:
        raise needs_data("it")
    result = quantize_onnx_with_gate(
        job.bound,
        job.batches,
        gate=job.gate,
        observer=job.recipe.observer,
        keep_float=job.recipe.keep_float,
        accuracy=job.accuracy,
    )
    model = result.graph.model
    return Candidate(
        result.graph.graph,
        f"static int8, weights per channel, {job.recipe.observer} ranges",
        result.graph.graph.weights_bytes,
        model_file=model,
        quality=result.quality,
        report=result.report,
        kept_float=result.fallback_layers,
        reasons=result.reasons,
        memory=onnxruntime_file_memory(model),
    )


def _judge(job: Job) -> Judge:
    """Measure against float on the calibration data, or on random tokens for an encoder."""
    if job.batches:
        return Judge(job.graph, job.batches, job.accuracy)
    if is_encoder(job.graph):
        return Judge(job.graph, list(_random_tokens(job)))
    raise needs_data("to judge its accuracy it")


def _random_tokens(job: Job) -> Iterator[dict[str, Array]]:
    """Yield inputs of an encoder with random tokens, all of them attended to."""
    rng = np.random.default_rng(0)
    tables = [job.bound.tensors[n.inputs[0]] for n in job.bound.nodes if n.op == "gather"]
    vocabulary = max(tensor.static_shape[0] for tensor in tables)
    for length in SAMPLE_TOKENS:
        shape = (1, min(length, job.graph.dims.get("sequence", length)))
        arrays: dict[str, Array] = {}
        for name in job.graph.inputs:
            dtype = job.graph.tensors[name].dtype.numpy
            if name == "input_ids":
                arrays[name] = rng.integers(0, vocabulary, shape).astype(dtype)
            else:
                arrays[name] = np.full(shape, name == "attention_mask", dtype)
        yield arrays
