"""Weights fitted to what a layer really reads: least squares against the exact layer.

A layer behind narrow activations reads inputs with errors. Those of one place are correlated with
those beside it and with the values themselves (a clipped range shrinks all large values alike), so
that other weights come nearer to what the layer gave before: with exact inputs X, real inputs X~
(both less their means) and weights W the least squared error has
``V = W X X~' (X~ X~' + d)^-1``. The damping d pulls towards W, the more
the fewer positions the sums are made of.

Source: plain least squares; fitting the layers one after the other on inputs that the layers
before have made inexact is done by Li et al., "GPTAQ: Efficient Finetuning-Free Quantization for
Asymmetric Calibration", ICML 2025, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.converters.quantization.bias_correction import Progress
from edgekit.converters.quantization.narrow_weights import Real
from edgekit.dtypes import Array
from edgekit.graph import Node
from edgekit.ops import int8
from edgekit.ops.spec import OpView
from edgekit.ops.windows import pad_image, patches, window_of

_DAMPING = 0.2
_DAMPING_OF_FEW = 32.0
"""Added to the diagonal of the matrix that is inverted, as a share of its mean: the first always,
the second times the weights of a row to each position that the sums are made of."""
_POSITIONS = 32_768
"""Positions of all samples together that the sums are made of, evenly spread."""
_LEAST_SPREAD = 1e-10
"""Variance over mean square of inputs: what is less is the rounding of sums of constant ones."""


@dataclass(frozen=True, slots=True, eq=False)
class InputMoments:
    """Sums over what a layer reads, less the means, for each group of inputs.

    Parameters
    ----------
    real : array of float64, shape (G, K, K)
        Of the outer products of the inputs that it really gets.
    mixed : array of float64, shape (G, K, K)
        Of the outer products of these (rows) and of those that it would get exactly (columns).
    count : int
        Positions that the sums are made of.
    same : bool
        Whether both are equal in every element.
    """

    real: Real
    mixed: Real
    count: int
    same: bool


def input_moments(twin: Node, exact: Progress, node: Node, rounded: Progress) -> InputMoments:
    """Return the moments of what a layer reads in both of two runs.

    Parameters
    ----------
    twin : Node
        The layer among those of ``exact``.
    exact, rounded : Progress
        Advanced to the layer, on the same samples.
    node : Node
        The layer among those of ``rounded``.
    """
    limit = max(1, _POSITIONS // len(exact))
    count, real, mixed = 0, np.zeros(()), np.zeros(())
    sums: list[Real] = [np.zeros(()), np.zeros(())]
    same = True
    for index in range(len(exact)):
        wanted = _inputs(exact, twin, index, limit)
        got = _inputs(rounded, node, index, limit)
        turned = got.transpose(0, 2, 1)
        count += got.shape[1]
        sums = [sums[0] + wanted.sum(axis=1), sums[1] + got.sum(axis=1)]
        real, mixed = real + turned @ got, mixed + turned @ wanted
        same = same and np.array_equal(wanted, got)
    means, squares = sums[1][:, :, None] / count, np.einsum("gkk->g", real)
    real, mixed = real - means * sums[1][:, None, :], mixed - means * sums[0][:, None, :]
    # Constant inputs tell nothing of the weights: what is left of them would be divided by itself.
    is_constant = np.einsum("gkk->g", real) <= _LEAST_SPREAD * squares
    real[is_constant] = mixed[is_constant] = 0.0
    return InputMoments(real, mixed, count, same)


def fitted(matrices: Real, moments: InputMoments) -> Real:
    """Return the weights with which a layer comes nearest to what it gave on exact inputs.

    Parameters
    ----------
    matrices : array of float64, shape (G, R, K)
        R rows of K weights for each group of inputs.
    moments : InputMoments
    """
    if moments.same:
        return matrices
    mean = np.einsum("gkk->gk", moments.real).mean(axis=1)
    share = _DAMPING + _DAMPING_OF_FEW * matrices.shape[2] / moments.count
    damping = np.maximum(share * mean, np.finfo(np.float64).tiny * 1e6)
    damped = moments.real + damping[:, None, None] * np.eye(matrices.shape[2])
    missed = (moments.mixed - moments.real) @ matrices.transpose(0, 2, 1)
    return matrices + np.linalg.solve(damped, missed).transpose(0, 2, 1)


def as_matrices(weights: Real, view: OpView) -> Real:
    """Return weights as (groups of inputs, rows, weights of a row)."""
    if view.node.op == "fully_connected":
        return weights[None].copy()
    outputs, height, width, channels = weights.shape
    inputs = view.input(0).static_shape[3]
    if view.node.op == "depthwise_conv2d":
        return weights.reshape(height * width, inputs, -1).transpose(1, 2, 0).copy()
    groups = inputs // channels
    return weights.reshape(groups, outputs // groups, -1)


def from_matrices(matrices: Real, view: OpView) -> Real:
    """Return what `as_matrices` makes matrices of."""
    shape = view.input(1).static_shape
    turned = matrices.transpose(2, 0, 1) if view.node.op == "depthwise_conv2d" else matrices
    return turned.reshape(shape)


def _inputs(progress: Progress, node: Node, index: int, limit: int) -> Real:
    """Return the real values that a layer multiplies in one run: (groups, positions, K)."""
    view = OpView.of(progress.graph, node)
    (array, *_) = progress.inputs_of(node, index)
    assert array is not None  # a layer with weights reads an input
    scale = float(int8.scale_of(view.input(0)))
    return _columns(view, int8.centred(array, view.input(0)), limit) * scale


def _columns(view: OpView, x: Array, limit: int) -> Real:
    if view.node.op == "fully_connected":
        return x.reshape(1, -1, view.input(1).static_shape[1]).astype(np.float64)
    _, height, width, channels = view.input(1).static_shape
    window = window_of(view, (height, width))
    size = view.outputs[0].static_shape[1:3]
    found = patches(pad_image(x, window.padding, 0), window, (size[0], size[1]))
    places = np.arange(0, x.shape[0] * size[0] * size[1], max(1, size[0] * size[1] // limit))
    taken = found[np.unravel_index(places, (x.shape[0], *size))]
    groups = x.shape[3] if view.node.op == "depthwise_conv2d" else x.shape[3] // channels
    parts = taken.reshape(len(taken), height * width, groups, -1).transpose(2, 0, 1, 3)
    return parts.reshape(groups, len(taken), -1).astype(np.float64)
