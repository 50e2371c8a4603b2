"""Weights of four or two bits: scales, and rounding in which one error makes up for another.

Weights get the scale of least squared error for each output channel. With calibration data they
are rounded one after the other, the error of each made up for by those that follow, which
minimizes the squared error of the layer's output instead of that of the weights.

Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", ICLR 2023, section 3 (the closed form is that of Hassibi and Stork, "Second order
derivatives for network pruning: Optimal Brain Surgeon", NeurIPS 1992).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgekit.converters.quantization.parameters import along_axis
from edgekit.dtypes import DType
from edgekit.graph import Quantization, Tensor
from edgekit.ops import int8

Real = npt.NDArray[np.float64]
Scales = npt.NDArray[np.float32]

_SCALE_SHARES = np.linspace(0.4, 1.0, 61)
"""Scales that are tried, as shares of the one that clips nothing."""
_FEW_SCALE_SHARES = np.linspace(0.5, 1.0, 11)
"""Those that are tried where each takes a rounding of second order."""
_DAMPING = 0.01
"""Added to the diagonal of a Hessian, as a share of its mean (GPTQ, section 4)."""


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
    scale = _scales(rows, int8.integer_range(dtype)[1])
    quantization = Quantization(scale, np.zeros(scale.size, np.int32), axis)
    factor, _ = along_axis(quantization, real.ndim)
    return stored_weights(weights.name, real / factor, quantization, dtype)


def stored_weights(name: str, units: Real, quantization: Quantization, dtype: DType) -> Tensor:
    """Return weights given in steps of their scale as a constant.

    Parameters
    ----------
    name : str
    units : array of float64
        Weights by their scale; rounded and clipped symmetrically.
    quantization : Quantization
    dtype : DType
        INT8, INT4 or INT2.
    """
    highest = int8.integer_range(dtype)[1]
    data = np.clip(np.rint(units), -highest, highest).astype(np.int8)
    return replace(Tensor.constant(name, data, quantization), dtype=dtype)


def _scales(rows: Real, highest: int) -> Scales:
    largest = _largest(rows)
    candidates = (_SCALE_SHARES[:, None] * largest / highest)[:, :, None]
    errors: list[Real] = [
        ((rows - np.clip(np.rint(rows / scale), -highest, highest) * scale) ** 2).sum(axis=1)
        for scale in candidates
    ]
    best = np.argmin(np.stack(errors), axis=0)
    chosen: Scales = candidates[best, np.arange(len(rows)), 0].astype(np.float32)
    return chosen


def _largest(rows: Real) -> Real:
    largest: Real = np.abs(rows).max(axis=-1)
    return np.where(largest > 0, largest, 1.0)


def rounded_second_order(matrices: Real, hessians: Real, highest: int) -> tuple[Real, Scales]:
    """Return whole numbers and a scale for each row such that products stay near.

    With fewer than 8 bits several scales are tried for each row; the one with the least squared
    error of the products is taken.

    Parameters
    ----------
    matrices : array of float64, shape (G, R, K)
        R rows of K weights for each of G groups of inputs.
    hessians : array of float64, shape (G, K, K)
        Sums of outer products of the inputs of each group.
    highest : int
        Largest stored magnitude.

    Returns
    -------
    units : array of float64, shape (G, R, K)
    scale : array of float32, shape (G, R)
    """
    shares = _FEW_SCALE_SHARES if highest < int8.integer_range(DType.INT8)[1] else np.ones(1)
    groups, rows, depth = matrices.shape
    scales = (shares[:, None, None] * _largest(matrices) / highest).astype(np.float32)
    steps = scales.astype(np.float64)[..., None]
    # Scales are rows to the rounding, which treats every row alike.
    tried = (matrices / steps).transpose(1, 0, 2, 3).reshape(groups, -1, depth)
    found = round_second_order(tried, hessians, highest)
    units = found.reshape(groups, len(shares), rows, depth).transpose(1, 0, 2, 3)
    missed = units * steps - matrices
    best = ((missed @ hessians) * missed).sum(axis=3).argmin(axis=0)[None]
    chosen: Real = np.take_along_axis(units, best[..., None], axis=0)[0]
    scale: Scales = np.take_along_axis(scales, best, axis=0)[0]
    return chosen, scale


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
    damping = _DAMPING * diagonal.mean(axis=1)
    # Of inputs that never change anything is as near as anything else.
    damping = np.where(damping > 0.0, damping, 1.0)
    damped = hessians + damping[:, None, None] * np.eye(depth)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    left, chosen = matrices.copy(), np.empty_like(matrices)
    for k in range(depth):
        chosen[:, :, k] = np.clip(np.rint(left[:, :, k]), -highest, highest)
        error = (left[:, :, k] - chosen[:, :, k]) / upper[:, k, k][:, None]
        left[:, :, k:] -= error[:, :, None] * upper[:, None, k, k:]
    return chosen
