"""Every float operator's test cases: the same through either layout, and written as ONNX.

onnxruntime runs what is written; nothing here names an operator that has its cases in its file.
"""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.converters.emitters.onnx import emit_onnx
from edgekit.converters.layout import to_layout
from edgekit.ops.evaluate import evaluate
from edgekit.ops.spec import OpCase
from tests.onnx_models import run_onnx
from tests.single_node_graphs import float_cases, graph_of

pytest.importorskip("onnxruntime")

CASES = float_cases()
WRITTEN = [(op, case) for op, case in CASES if case.attrs.get("mode") != "symmetric"]
"""ONNX has no symmetric padding."""


@pytest.mark.parametrize(("op", "case"), CASES, ids=[f"{op}-{case.id}" for op, case in CASES])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_layouts_compute_the_same(op: str, case: OpCase, layout: str) -> None:
    graph, inputs = graph_of(op, case)
    found = evaluate(to_layout(graph, layout), inputs)
    for name, expected in evaluate(graph, inputs).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("op", "case"), WRITTEN, ids=[f"{op}-{case.id}" for op, case in WRITTEN])
def test_onnxruntime_computes_what_the_reference_computes(op: str, case: OpCase) -> None:
    graph, inputs = graph_of(op, case)
    outputs = run_onnx(emit_onnx(graph), inputs)
    tolerance = max(1e-5, case.tolerance)
    for found, expected in zip(outputs, evaluate(graph, inputs).values(), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=tolerance)
