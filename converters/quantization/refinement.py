"""Calibration data make up for fewer bits: weights fitted and rounded anew, biases corrected.

Layer after layer, each on what the layers before it really compute: its weights are fitted to its
inexact inputs (:mod:`edgekit.converters.quantization.weight_fit`), rounded so that one error makes
up for another (:mod:`edgekit.converters.quantization.narrow_weights`), and its bias takes the mean
error of each channel back out (:mod:`edgekit.converters.quantization.bias_correction`). It costs
nothing at run time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from edgekit.converters.quantization.bias_correction import Progress, corrected_bias
from edgekit.converters.quantization.narrow_weights import rounded_second_order, stored_weights
from edgekit.converters.quantization.parameters import quantized_bias
from edgekit.converters.quantization.weight_fit import (
    InputMoments,
    as_matrices,
    fitted,
    from_matrices,
    input_moments,
)
from edgekit.dtypes import Array
from edgekit.errors import CalibrationError
from edgekit.graph import Graph, Node, Quantization, Tensor
from edgekit.ops import int8, spec_of
from edgekit.ops.spec import OpView, QuantRule

_FITTED = frozenset({"conv2d", "depthwise_conv2d", "fully_connected"})
_DEEPEST = 8192
"""Weights of a row that are fitted: memory grows with the square, time with the cube. Longer rows
stay as they were rounded to nearest, and their bias alone makes up for it."""


def refined(graph: Graph, narrow: Graph, samples: Iterable[Mapping[str, Array]]) -> Graph:
    """Return ``narrow`` with weights and biases that bring it nearer to the int8 graph.

    Layers that read what they read in int8, with int8 weights, stay as they are, and so do
    weights that several layers share. Of rows of more than 8,192 weights only the bias changes.

    Parameters
    ----------
    graph : Graph
        The int8 graph that ``narrow`` was made from: same names of layers.
    narrow : Graph
    samples : iterable of mapping
        Inputs of both, held in memory together with the live tensors of each.

    Raises
    ------
    CalibrationError
        If there is no sample.
    """
    held = [dict(sample) for sample in samples]
    if not held:
        raise CalibrationError(
            "fewer bits need calibration data to make up for them, and there is no sample"
        )
    exact, rounded = Progress(graph, held), Progress(narrow, held)
    readers = narrow.consumers()
    for twin, node in zip(graph.nodes, narrow.nodes, strict=True):
        exact.advance_to(node.name)
        rounded.advance_to(node.name)
        own = all(len(readers[name]) == 1 for name in node.inputs[1:] if name)
        if not own or not _has_stored_weights(narrow, node):
            continue
        if _depth(narrow, node) <= _DEEPEST:
            moments = input_moments(twin, exact, node, rounded)
            if moments.same and not narrow.tensors[node.inputs[1]].dtype.is_packed:
                continue
            for constant in _fitted_constants(twin, exact, node, rounded, moments):
                rounded.override(constant)
        if len(node.inputs) > 2 and node.inputs[2]:
            rounded.override(corrected_bias(twin, exact, node, rounded))
    return rounded.graph


def _has_stored_weights(narrow: Graph, node: Node) -> bool:
    is_weighted = spec_of(node).quantization is QuantRule.WEIGHTED and node.op in _FITTED
    if not is_weighted:
        return False
    weights = narrow.tensors[node.inputs[1]]
    return weights.is_constant and weights.quantization is not None


def _depth(narrow: Graph, node: Node) -> int:
    """Return the weights of a row."""
    shape = narrow.tensors[node.inputs[1]].static_shape
    return math.prod(shape[1:3] if node.op == "depthwise_conv2d" else shape[1:])


def _fitted_constants(
    twin: Node, exact: Progress, node: Node, rounded: Progress, moments: InputMoments
) -> list[Tensor]:
    """Return weights for the inputs that a layer really gets, and its bias in their scale."""
    wide, weights = exact.graph.tensors[twin.inputs[1]], rounded.graph.tensors[node.inputs[1]]
    view = OpView.of(rounded.graph, node)
    real = int8.real_from_stored(wide.data, wide).astype(np.float64)
    matrices = fitted(as_matrices(real, view), moments)
    highest = int8.integer_range(weights.dtype)[1]
    units, scale = rounded_second_order(matrices, moments.real, highest)
    axis = spec_of(node).channel_axis % len(weights.shape)
    quantization = Quantization(scale.ravel(), np.zeros(scale.size, np.int32), axis)
    stored = from_matrices(units, view)
    changed = [stored_weights(weights.name, stored, quantization, weights.dtype)]
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = rounded.graph.tensors[node.inputs[2]]
        value = int8.real_from_stored(bias.data, bias).astype(np.float64)
        input_scale = float(int8.scale_of(view.input(0)))
        changed.append(
            quantized_bias(bias.name, value, input_scale=input_scale, weights=quantization)
        )
    return changed
