"""ONNX models that are quantized already go to phones as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.converters.importers import load_model
from edgekit.converters.passes import simplify
from edgekit.converters.quantization.onnx_static import quantize_onnx_with_gate
from edgekit.zoo import default_model

pytest.importorskip("onnxruntime")


def test_quantized_onnx_is_kept_bit_for_bit(tmp_path: Path) -> None:
    shipped = default_model()
    inputs = {name: array[:4] for name, array in shipped.load_calibration().items()}
    samples = [{name: array[i : i + 1] for name, array in inputs.items()} for i in range(4)]
    graph = simplify(load_model(shipped.path))
    source = tmp_path / "int8.onnx"
    source.write_bytes(quantize_onnx_with_gate(graph, samples).graph.model)
    out = tmp_path / "int8.edgekit"
    conversion = edgekit.convert(source, device="pixel8", out=str(out))
    assert conversion.accuracy["precision"] == "int8"
    assert (out / "model.onnx").read_bytes() == source.read_bytes()
    with edgekit.load(out) as session:
        outputs = session.run(samples[0]).outputs
    assert all(np.isfinite(array).all() for array in outputs.values())
