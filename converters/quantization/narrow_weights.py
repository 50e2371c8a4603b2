"""Weights of four or two bits, and biases that make up for what narrow numbers lose.

Weights get the scale of least squared error for each output channel. With calibration data they
are rounded one after the other, the error of each made up for by those that follow, which
minimizes the squared error of the layer's output instead of that of the weights.

Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", ICLR 2023, section 3 (the closed form is that of Hassibi and Stork, "Second order
derivatives for network pruning: Optimal Brain Surgeon", NeurIPS 1992). Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", ICCV 2019, appendix D.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgekit.converters.quantization.bias_correction import Progress
from edgekit.converters.quantization.parameters import along_axis, quantized_bias
from edgekit.dtypes import Array, DType
from edgekit.errors import CalibrationError
from edgekit.graph import Graph, Node, Quantization, Tensor
from edgekit.ops import int8, spec_of
from edgekit.ops.spec import OpCall, OpView, QuantRule
from edgekit.ops.windows import pad_image, patches, window_of

Real = npt.NDArray[np.float64]

_SCALE_SHARES = np.linspace(0.4, 1.0, 61)
"""Scales that are tried, as shares of the one that clips nothing."""
_DAMPING = 0.01
"""Added to the diagonal of a Hessian, as a share of its mean (GPTQ, section 4)."""
_PATCHES_PER_SAMPLE = 512
"""Positions of one sample that a Hessian is made of, evenly spread."""


def narrow_weights(weights: Tensor, axis: int, dtype: DType) -> Tensor:
    """Return int8 weights in a narrower type, rounded to nearest.

    Parameters
    ----------
    weights : Tensor
        int8 constant, symmetric.
    axis : int
        Of the output channels; each gets the scale with the least squared error.
    dtype : DType
        INT4 or INT2; the lowest value is not used, as in int8 weights.
    """
    real = int8.real_from_stored(weights.data, weights).astype(np.float64)
    rows = np.moveaxis(real, axis, 0).reshape(real.shape[axis], -1)
    scale = _scales(rows, _highest(dtype))
    quantization = Quantization(scale, np.zeros(scale.size, np.int32), axis)
    factor, _ = along_axis(quantization, real.ndim)
    return _stored(weights.name, real / factor, quantization, dtype)


def _highest(dtype: DType) -> int:
    return int8.integer_range(dtype)[1]


def _scales(rows: Real, highest: int) -> npt.NDArray[np.float32]:
    largest = np.abs(rows).max(axis=1)
    largest = np.where(largest > 0, largest, 1.0)
    candidates = (_SCALE_SHARES[:, None] * largest / highest)[:, :, None]
    errors: list[Real] = [
        ((rows - np.clip(np.rint(rows / scale), -highest, highest) * scale) ** 2).sum(axis=1)
        for scale in candidates
    ]
    best = np.argmin(np.stack(errors), axis=0)
    chosen: npt.NDArray[np.float32] = candidates[best, np.arange(len(rows)), 0].astype(np.float32)
    return chosen


def _stored(name: str, units: Real, quantization: Quantization, dtype: DType) -> Tensor:
    highest = _highest(dtype)
    data = np.clip(np.rint(units), -highest, highest).astype(np.int8)
    return replace(Tensor.constant(name, data, quantization), dtype=dtype)


def refined(
    graph: Graph,
    narrow: Graph,
    samples: Iterable[Mapping[str, Array]],
    *,
    corrects_biases: bool = True,
) -> Graph:
    """Return ``narrow`` with its narrow weights rounded anew and its biases corrected.

    Layer after layer, each on what the layers before it really compute.

    Parameters
    ----------
    graph : Graph
        The int8 graph that ``narrow`` was made from: same names of layers.
    narrow : Graph
    samples : iterable of mapping
        Inputs of both.
    corrects_biases : bool
        Whether biases change at all.

    Raises
    ------
    CalibrationError
        If there is no sample.
    """
    held = [dict(sample) for sample in samples]
    if not held:
        raise CalibrationError("narrow weights need calibration data, and there is no sample")
    exact, rounded = Progress(graph, held), Progress(narrow, held)
    changed: dict[str, Tensor] = {}
    for twin, node in zip(graph.nodes, narrow.nodes, strict=True):
        exact.advance_to(node.name)
        rounded.advance_to(node.name)
        is_weighted = spec_of(node).quantization is QuantRule.WEIGHTED
        if not is_weighted or narrow.tensors[node.inputs[1]].quantization is None:
            continue
        weights = narrow.tensors[node.inputs[1]]
        if weights.dtype.is_packed and weights.name not in changed:
            weights = _second_order(graph, twin, narrow, node, rounded)
            changed[weights.name] = weights
            rounded.override(weights)
        if corrects_biases and len(node.inputs) > 2 and node.inputs[2]:
            bias = _corrected_bias(graph, twin, exact, narrow, node, rounded)
            changed[bias.name] = bias
            rounded.override(bias)
    return narrow.replace(tensors=changed.values())


def _second_order(graph: Graph, twin: Node, narrow: Graph, node: Node, rounded: Progress) -> Tensor:
    """Return the weights of a layer, rounded with the inputs that it really gets."""
    wide, weights = graph.tensors[twin.inputs[1]], narrow.tensors[node.inputs[1]]
    view = OpView.of(narrow, node)
    hessian = sum(
        _hessian(view, int8.centred(array, view.input(0)))
        for index in range(len(rounded))
        if (array := rounded.inputs_of(node, index)[0]) is not None
    )
    quantization = int8.quantization_of(weights)
    factor, _ = along_axis(quantization, len(weights.shape))
    units = int8.real_from_stored(wide.data, wide).astype(np.float64) / factor
    matrices = _matrices(units, view)
    chosen = round_second_order(matrices, np.asarray(hessian), _highest(weights.dtype))
    stored = _from_matrices(chosen, view)
    return _stored(weights.name, stored, quantization, weights.dtype)


def round_second_order(matrices: Real, hessians: Real, highest: int) -> Real:
    """Return integers near ``matrices`` such that products with typical inputs stay near.

    Parameters
    ----------
    matrices : array of float64, shape (G, R, K)
        R rows of K weights for each of G groups of inputs, in steps of their scale.
    hessians : array of float64, shape (G, K, K)
        Sums of outer products of the inputs of each group.
    highest : int
        Largest stored magnitude.

    Returns
    -------
    array of float64, shape (G, R, K)
        Whole numbers.
    """
    depth = matrices.shape[2]
    diagonal = np.einsum("gkk->gk", hessians)
    damping = _DAMPING * diagonal.mean(axis=1) + np.finfo(np.float64).tiny
    damped = hessians + np.maximum(damping, 1e-6)[:, None, None] * np.eye(depth)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    left, chosen = matrices.copy(), np.empty_like(matrices)
    for k in range(depth):
        chosen[:, :, k] = np.clip(np.rint(left[:, :, k]), -highest, highest)
        error = (left[:, :, k] - chosen[:, :, k]) / upper[:, k, k][:, None]
        left[:, :, k:] -= error[:, :, None] * upper[:, None, k, k:]
    return chosen


def _hessian(view: OpView, x: npt.NDArray[np.int32]) -> Real:
    """Return the sums of outer products of a layer's input patches, shape (G, K, K)."""
    if view.node.op == "fully_connected":
        rows: Real = x.reshape(-1, view.input(1).static_shape[1]).astype(np.float64)
        return (rows.T @ rows)[None]
    _, height, width, channels = view.input(1).static_shape
    window = window_of(view, (height, width))
    padded = pad_image(x.astype(np.float64), window.padding, 0)
    size = view.outputs[0].static_shape[1:3]
    found = patches(padded, window, (size[0], size[1]))
    flat = found.reshape(-1, height * width, x.shape[3])
    flat = flat[:: max(1, len(flat) // (_PATCHES_PER_SAMPLE * x.shape[0]))]
    groups = x.shape[3] if view.node.op == "depthwise_conv2d" else x.shape[3] // channels
    parts = flat.reshape(len(flat), height * width, groups, -1).transpose(2, 0, 1, 3)
    columns: Real = parts.reshape(groups, len(flat), -1).astype(np.float64)
    return columns.transpose(0, 2, 1) @ columns


def _matrices(weights: Real, view: OpView) -> Real:
    """Return weights as (groups of inputs, rows, weights of a row)."""
    if view.node.op == "fully_connected":
        return weights[None].copy()
    outputs, height, width, channels = weights.shape
    inputs = view.input(0).static_shape[3]
    if view.node.op == "depthwise_conv2d":
        return weights.reshape(height * width, inputs, -1).transpose(1, 2, 0).copy()
    groups = inputs // channels
    return weights.reshape(groups, outputs // groups, -1)


def _from_matrices(matrices: Real, view: OpView) -> Real:
    shape = view.input(1).static_shape
    turned = matrices.transpose(2, 0, 1) if view.node.op == "depthwise_conv2d" else matrices
    return turned.reshape(shape)


def _corrected_bias(
    graph: Graph, twin: Node, exact: Progress, narrow: Graph, node: Node, rounded: Progress
) -> Tensor:
    """Return the bias with which each channel has the mean that it has in int8."""
    wanted = _channel_means(graph, twin, exact)
    got = _channel_means(narrow, node, rounded)
    bias, x, weights = (narrow.tensors[node.inputs[index]] for index in (2, 0, 1))
    arrays = rounded.inputs_of(node, 0)
    assert arrays[2] is not None  # the caller asks for layers with a bias only
    old = int8.real_from_stored(arrays[2], bias).astype(np.float64)
    quantization = int8.quantization_of(weights)
    scale = np.broadcast_to(quantization.scale, (old.size,)).astype(np.float32)
    per_channel = Quantization(scale, np.zeros(old.size, np.int32), 0)
    return quantized_bias(
        bias.name, old + wanted - got, input_scale=float(int8.scale_of(x)), weights=per_channel
    )


def _channel_means(graph: Graph, node: Node, progress: Progress) -> Real:
    """Return the mean of each output channel before the activation."""
    view = OpView.of(graph, replace(node, attrs={**node.attrs, "activation": "none"}))
    total: Real | float = 0.0
    for index in range(len(progress)):
        stored = progress.inputs_of(node, index)
        real = tuple(
            int8.real_from_stored(array, tensor)
            for array, tensor in zip(stored, view.inputs, strict=True)
            if array is not None and tensor is not None
        )
        (output,) = spec_of(node).reference(OpCall(view, real))
        axes = tuple(range(output.ndim - 1))
        total = total + output.mean(axis=axes, dtype=np.float64) / len(progress)
    return np.asarray(total, np.float64)
