"""Channels of convolutions that give the same output whatever the input.

Training leaves many of them: their weights have all but vanished, so that a tiny scale and a bias
that is huge beside every sum of products are what is stored. Their factors are too small for the
kernels' short rescaling. Here each becomes a channel without weights and with a usual factor that
gives its output, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array
from edgekit.ops import int8
from edgekit.ops.spec import OpView

_LIMIT = 2**31
"""Sums are int32."""
_MULTIPLIER, _SHIFT, _FACTOR = 2**30, -1, 4
"""A factor of a quarter, and its reciprocal."""


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """The output channels of a convolution.

    Parameters
    ----------
    matrix : array of int8, shape (channels, depth)
    bias : array of int64, shape (channels,)
    factors : Multipliers
        One factor, or one for each channel.
    """

    matrix: npt.NDArray[np.int8]
    bias: npt.NDArray[np.int64]
    factors: int8.Multipliers


def settled_channels(
    view: OpView, matrix: npt.NDArray[np.int8], bias: Array | None, factors: int8.Multipliers
) -> Channels:
    """Return the channels of a convolution with the constant ones replaced.

    Parameters
    ----------
    view : OpView
        Of an int8 convolution.
    matrix : array of int8, shape (channels, depth)
    bias : array of int32, shape (channels,), or None
    factors : Multipliers
        One factor, or one for each channel.
    """
    given = np.zeros(len(matrix), np.int64) if bias is None else bias.astype(np.int64)
    low, high = int8.integer_range(view.input(0).dtype)
    zero_point = int8.zero_point_of(view.input(0))
    ends = matrix.astype(np.int64)[:, :, np.newaxis] * (np.array([low, high]) - zero_point)
    least, most = ends.min(axis=2).sum(axis=1) + given, ends.max(axis=2).sum(axis=1) + given
    activation, output = view.str_attr("activation", "none"), view.outputs[0]
    first, last = (int8.store(sums, factors, output, activation) for sums in (least, most))
    # Rescaling never falls where sums rise, so that equal ends mean equal outputs between them;
    # but a shift to the left may lose bits.
    is_monotonic = (factors.shift <= 0) & (least >= -_LIMIT) & (most < _LIMIT)
    constant = (first == last) & is_monotonic
    real = first.astype(np.int64) - int8.zero_point_of(output)
    return Channels(
        matrix=np.where(constant[:, np.newaxis], np.int8(0), matrix),
        bias=np.where(constant, _FACTOR * real, given),
        factors=int8.Multipliers(
            np.where(constant, _MULTIPLIER, factors.multiplier),
            np.where(constant, _SHIFT, factors.shift),
        ),
    )
