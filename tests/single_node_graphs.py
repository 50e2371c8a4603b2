"""Graphs of one node from the test cases of the operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.graph import Graph, Node, TensorKind
from edgekit.ops import registry
from edgekit.ops.spec import OpCase

Array = np.ndarray[Any, Any]


def float_cases() -> list[tuple[str, OpCase]]:
    """Return operator and case of every case without quantization and state."""
    return [
        (op, case)
        for op, spec in sorted(registry().items())
        for case in spec.cases()
        if all(
            tensor.quantization is None and tensor.kind is not TensorKind.STATE
            for tensor in (*(given[0] for given in case.inputs if given), *case.outputs)
        )
    ]


def graph_of(op: str, case: OpCase) -> tuple[Graph, dict[str, Array]]:
    """Return a case as a graph, and the arrays of its inputs."""
    given = [pair for pair in case.inputs if pair is not None]
    tensors = {tensor.name: tensor for tensor in (*(pair[0] for pair in given), *case.outputs)}
    node = Node(
        "layer",
        op,
        tuple(pair[0].name if pair else "" for pair in case.inputs),
        tuple(tensor.name for tensor in case.outputs),
        case.attrs,
    )
    inputs = {t.name: np.asarray(data) for t, data in given if not t.is_constant}
    return Graph(case.id, tensors, (node,), tuple(inputs), node.outputs), inputs
