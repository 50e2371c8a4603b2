"""Layers with weights in generated C: convolutions and dense layers.

Biases, multipliers and shifts lie together, three numbers a channel; weights of convolutions and
dense layers are packed into blocks of channels. Both are described in ``edgekit/kernels.h``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgekit.converters.emitters.c_call import CallSite, CCall, no_kernel
from edgekit.converters.emitters.c_windows import activation_fields, require_int8, window_fields
from edgekit.ops import int8
from edgekit.ops.fully_connected import single_multiplier
from edgekit.ops.spec import OpView

Int8Matrix = npt.NDArray[np.int8]

BLOCK_CHANNELS = 4
DEPTH_STEP = 4
PAIR_ORDER = (0, 2, 1, 3)
"""Places of four of the depth, in the order in which their bytes are stored."""

SIMPLE_LIMIT = 1 << 30
"""Sums below this fit 32 bits when doubled."""


def conv2d(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of a convolution."""
    view = site.view
    require_int8(view, 2)
    weights = _weights(view)
    groups = view.int_attr("groups", 1)
    rows = weights.reshape(weights.shape[0], -1)
    packed = np.concatenate([pack_weights(part) for part in np.split(rows, groups)])
    return _convolution(site, "ek_conv2d_s8", rows, packed, groups)


def depthwise_conv2d(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of a depthwise convolution."""
    view = site.view
    require_int8(view, 2)
    weights = _weights(view)
    rows = weights.reshape(-1, weights.shape[3]).T
    groups = view.input(0).static_shape[3]
    if groups == 1:
        # Every output channel sees the one input channel: a plain convolution.
        return _convolution(site, "ek_conv2d_s8", rows, pack_weights(rows), 1)
    return _convolution(site, "ek_depthwise_conv2d_s8", rows, weights.reshape(-1), groups)


def _convolution(
    site: CallSite, function: str, rows: Int8Matrix, stored: Int8Matrix, groups: int
) -> tuple[CCall, ...]:
    """Return the call; ``rows``: weights of each output channel, ``stored``: as it reads them."""
    view = site.view
    shape = view.input(1).static_shape
    factors = int8.channel_multipliers(view.input(0), view.input(1), view.outputs[0])
    fields = {
        **window_fields(view, (shape[1], shape[2])),
        "input_channels": str(view.input(0).static_shape[3]),
        "output_channels": str(rows.shape[0]),
        "groups": str(groups),
        "input_zero_point": str(int8.zero_point_of(view.input(0))),
        "output_zero_point": str(int8.zero_point_of(view.outputs[0])),
        **activation_fields(view),
        **_channel_fields(site, rows.astype(np.int64), factors),
        "weights": site.pool.array(stored, "int8_t", f"weights of {view.node.name}"),
    }
    arguments = (site.input(0), site.scratch[0], site.output())
    return (CCall(function, "ek_conv2d_s8_params", fields, arguments),)


def fully_connected(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of a dense layer."""
    view = site.view
    require_int8(view, 2)
    rows = _weights(view)
    per_channel = int8.quantization_of(view.input(1)).axis is not None
    zero_point = 0 if per_channel else int8.zero_point_of(view.input(1))
    factors = (
        int8.channel_multipliers(view.input(0), view.input(1), view.outputs[0])
        if per_channel
        else single_multiplier(view)
    )
    fields = {
        "rows": str(view.outputs[0].elements // rows.shape[0]),
        "depth": str(rows.shape[1]),
        "output_channels": str(rows.shape[0]),
        "weights_zero_point": str(zero_point),
        "output_zero_point": str(int8.zero_point_of(view.outputs[0])),
        **activation_fields(view),
        **_channel_fields(site, rows.astype(np.int64) - zero_point, factors),
        "weights": site.pool.array(pack_weights(rows), "int8_t", f"weights of {view.node.name}"),
    }
    name = "ek_fully_connected_s8"
    return (CCall(name, f"{name}_params", fields, (site.input(0), site.output())),)


def pack_weights(rows: Int8Matrix) -> Int8Matrix:
    """Pack a matrix of weights as kernels read it.

    Parameters
    ----------
    rows : array of int8, shape (C_out, depth)

    Returns
    -------
    array of int8, shape (N,)
        Blocks of four channels, the last of two where one or two are left; the depth filled up with
        zeros to a multiple of four.
    """
    channels, depth = rows.shape
    left = channels % BLOCK_CHANNELS
    filled = channels + {0: 0, 1: 1, 2: 0, 3: 1}[left]
    matrix = np.zeros((filled, depth + -depth % DEPTH_STEP), np.int8)
    matrix[:channels, :depth] = rows
    blocks = [
        _packed_block(matrix[first : first + BLOCK_CHANNELS])
        for first in range(0, filled, BLOCK_CHANNELS)
    ]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.int8)


def _packed_block(block: Int8Matrix) -> Int8Matrix:
    """Pack (channels, depth): byte pairs of two channels at places 0 and 2, then at 1 and 3."""
    channels, depth = block.shape
    pairs = block.reshape(channels // 2, 2, depth // DEPTH_STEP, DEPTH_STEP)[..., PAIR_ORDER]
    halves = pairs.reshape(channels // 2, 2, depth // DEPTH_STEP, 2, 2)
    # (step of the depth, half of it, pair of channels, place in the half, channel of the pair)
    return np.ascontiguousarray(halves.transpose(2, 3, 0, 4, 1)).reshape(-1)


def _weights(view: OpView) -> Int8Matrix:
    if not view.input(1).is_constant:
        raise no_kernel(view)
    return view.input(1).data.astype(np.int8)


def _channel_fields(
    site: CallSite, rows: npt.NDArray[np.int64], factors: int8.Multipliers
) -> dict[str, str]:
    """Return biases and factors of the channels, and whether the short rescaling is exact."""
    view = site.view
    zero_point = int8.zero_point_of(view.input(0))
    given = view.optional_input(2)
    if given is not None and not given.is_constant:
        raise no_kernel(view)
    bias = np.zeros(rows.shape[0], np.int64) if given is None else given.data.astype(np.int64)
    folded = bias - zero_point * rows.sum(axis=1)
    shift = np.broadcast_to(factors.shift, bias.shape)
    largest = np.abs(rows).sum(axis=1) * max(128 + zero_point, 127 - zero_point, 128)
    bounded = (np.maximum(np.abs(bias), np.abs(folded)) + largest < SIMPLE_LIMIT).all()
    multiplier = np.broadcast_to(factors.multiplier, bias.shape)
    # Where the folded bias overflows, sums in C wrap, and wrap back.
    table = np.stack([folded, multiplier, shift], axis=1).astype(np.int32)
    return {
        "simple_rescale": str(int(bounded and (shift < 0).all())),
        "channels": site.pool.array(table, "int32_t", f"channels of {view.node.name}"),
    }
